"""What a dashboard is to a board, and how boards speak to the user."""

import collections
import sys
from typing import Any

import numpy as np


class Sink:
    """A dashboard. Methods for what it does not show do nothing; any method may fail."""

    label = ""

    def __init__(self) -> None:
        self.failures: collections.Counter[str] = collections.Counter()  # in a row, by method

    def text(self, name: str, text: str) -> None: ...

    def scalars(self, step: int, values: dict[str, float], group: str) -> None:
        """group: of tags, TRAIN or EVAL (measures.py)."""

    def figure(self, step: int, name: str, figure: Any) -> None: ...

    def audio(self, step: int, name: str, wav: np.ndarray, sample_rate: int) -> None: ...

    def close(self) -> None: ...


def short(error: Exception) -> str:
    """The first line of an error."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:120]


def say(line: str) -> None:
    """Print to stderr without breaking a progress bar."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)
