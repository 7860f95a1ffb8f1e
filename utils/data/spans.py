"""Parts of recordings, such as the utterances of a long one."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from utils.data import audio
from utils.data.audio import SAMPLE_RATE, AudioError


def load(path: Path, span: tuple[float, float] | None, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """What lies within `span` (start and end in s) of an audio file, or all of it: float32 (n,). AudioError as audio.load."""
    if span is None:
        return audio.load(path, sample_rate)
    first, past = (round(seconds * sample_rate) for seconds in span)
    part = _whole(path, sample_rate)[max(0, first) : past].copy()
    if not len(part):
        raise AudioError(f"{path}: holds nothing from {span[0]:g} to {span[1]:g} s")
    return part


@lru_cache(maxsize=1)  # the parts of a file follow each other
def _whole(path: Path, sample_rate: int) -> np.ndarray:
    return audio.load(path, sample_rate)
