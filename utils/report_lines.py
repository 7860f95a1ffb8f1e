"""Lines for the reports that preprocessing prints and logs."""

import numpy as np


def statistics_line(values: np.ndarray) -> str:
    figures = {"min": np.min, "mean": np.mean, "median": np.median, "max": np.max, "std": np.std}
    return "    " + "   ".join(f"{name} {function(values):.2f}" for name, function in figures.items())


def indented(lines: list[str], n_shown: int = 10) -> list[str]:
    """The first n_shown lines, indented, and how many more there are."""
    more = [f"    ... and {len(lines) - n_shown} more"] if len(lines) > n_shown else []
    return [*(f"    {line}" for line in lines[:n_shown]), *more]
