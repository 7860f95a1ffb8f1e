"""More voices out of the same speech: a wave resampled to another length has another speed, pitch and formants."""

import hashlib

import numpy as np

from synthesizer.corpus.segment import Segment

LOWEST, HIGHEST = 0.88, 1.14  # of the speed; beyond them speech sounds like a machine


def factors(name: str, n: int) -> list[float]:
    """How much faster each of n copies of the utterance is: spread over the range, and the same in every run."""
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    places = (np.arange(n) + digest / 2**64) / n  # one in each n-th of the range
    slowest, fastest = np.log(LOWEST), np.log(HIGHEST)
    return [round(float(np.exp(slowest + place * (fastest - slowest))), 3) for place in places]


def faster(wav: np.ndarray, factor: float) -> np.ndarray:
    """float32 (n,) -> (n / factor,), played `factor` times as fast, which makes it higher as well."""
    import soxr

    return soxr.resample(wav, factor, 1.0)


def faster_segment(segment: Segment, factor: float) -> Segment:
    """Its word times, as they are in the faster wave."""
    return segment._replace(
        start=segment.start / factor, end=segment.end / factor, ends=tuple(end / factor for end in segment.ends)
    )
