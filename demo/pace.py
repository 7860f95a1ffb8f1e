"""How fast somebody speaks, estimated from the loudness of the wave alone."""

from functools import lru_cache

import numpy as np
import scipy.signal

VOWELS = (300, 1000)  # Hz, where vowels are loud, and consonants and vocoders' noise are not
FASTEST = 12  # Hz, changes of loudness that are faster are no syllables
HOP = 0.005  # s between values of the envelope
SPEECH = 25.0  # dB under the loud parts; softer parts have no syllables
PAUSE = 0.2  # s; softer parts that are shorter belong to the speech
RISE = 1.5  # dB that the envelope rises to a syllable and falls after it
APART = 0.07  # s between two syllables, at least
FOUND = 0.91  # share of the syllables that are found in recordings (docs/text.md)


def syllables(wav: np.ndarray, sample_rate: int) -> tuple[float, float]:
    """A wave (n,) -> about how many syllables are spoken in it, and seconds of speech without pauses."""
    if len(wav) < APART * sample_rate:
        return 0.0, len(wav) / sample_rate
    band, smooth = _filters(sample_rate)
    vowels = np.abs(scipy.signal.sosfilt(band, wav))
    envelope = scipy.signal.sosfiltfilt(smooth, vowels)[:: round(HOP * sample_rate)]
    level = 20 * np.log10(np.maximum(envelope, 1e-6))
    floor = max(np.percentile(level, 95) - SPEECH, -100)
    peaks, _ = scipy.signal.find_peaks(np.maximum(level, floor), prominence=RISE, distance=round(APART / HOP))
    steps = np.diff(np.flatnonzero(level > floor)) * HOP
    return len(peaks) / FOUND, float(steps[steps < PAUSE].sum())


@lru_cache
def _filters(sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    band = scipy.signal.butter(2, VOWELS, "band", fs=sample_rate, output="sos")
    return band, scipy.signal.butter(2, FASTEST, fs=sample_rate, output="sos")
