"""Lines that preprocessing and training print and log."""

import os

import numpy as np


def say_once(line: object) -> None:
    """Print what all ranks of a run would say, on the first of them alone."""
    if int(os.environ.get("RANK", 0)) == 0:  # torchrun sets it
        print(line)


def statistics_line(values: np.ndarray) -> str:
    figures = {"min": np.min, "mean": np.mean, "median": np.median, "max": np.max, "std": np.std}
    return "    " + "   ".join(f"{name} {function(values):.2f}" for name, function in figures.items())


def print_some(lines: list[str], about: str) -> None:
    """How many lines `about` what there are, and the first of them, if any."""
    if lines:
        print(f"{len(lines)} {about}:", *indented(lines), sep="\n")


def indented(lines: list[str], n_shown: int = 10) -> list[str]:
    """The first n_shown lines, indented, and how many more there are."""
    more = [f"    ... and {len(lines) - n_shown} more"] if len(lines) > n_shown else []
    return [*(f"    {line}" for line in lines[:n_shown]), *more]
