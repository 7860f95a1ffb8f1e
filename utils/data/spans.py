"""Parts of recordings, such as the utterances of a long one."""

from functools import lru_cache
from pathlib import Path

from utils.data import decoding
from utils.data.decoding import MAX_SECONDS, AudioError, Recording
from utils.data.mel_format import SAMPLE_RATE


def read(
    path: Path, span: tuple[float, float] | None, sample_rate: int = SAMPLE_RATE, max_seconds: float = MAX_SECONDS
) -> Recording:
    """What lies within `span` (start and end in s) of an audio file of up to max_seconds, or all of it. AudioError as
    decoding.read."""
    if span is None:
        return decoding.read(path, sample_rate, max_seconds)
    first, past = (round(seconds * sample_rate) for seconds in span)
    whole = _whole(path, sample_rate, max_seconds)
    part = whole.wav[max(0, first) : past].copy()
    if not len(part):
        raise AudioError(f"{path}: holds nothing from {span[0]:g} to {span[1]:g} s")
    return Recording(part, whole.notes)


@lru_cache(maxsize=1)  # the parts of a file follow each other
def _whole(path: Path, sample_rate: int, max_seconds: float) -> Recording:
    return decoding.read(path, sample_rate, max_seconds)
