"""How fast somebody speaks, estimated from the loudness of the vowels in a mel spectrogram."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy.signal

from utils.data.audio import mel_frequencies
from utils.data.mel_format import MelFormat

VOWELS = (300, 1000)  # Hz, where vowels are loud, and consonants and vocoders' noise are not
SMOOTH = 0.025  # s over which the loudness is averaged
SPEECH = 25.0  # dB under the loud parts; softer parts have no syllables
PAUSE = 0.2  # s; softer parts that are shorter belong to the speech
RISE = 1.5  # dB that the loudness rises to a syllable and falls after it
APART = 0.0625  # s between two syllables, at least
FOUND = 0.97  # share of the syllables that are found in recordings (docs/text.md)
UNSURE = 2.0  # s of speech as fast as wanted that are added to what was said, as one sentence says little


class Pace(NamedTuple):
    """Of speech, or of several pieces together: Pace + Pace."""

    syllables: float = 0.0
    seconds: float = 0.0  # without pauses

    def __add__(self, other: "Pace") -> "Pace":
        return Pace(self.syllables + other.syllables, self.seconds + other.seconds)

    @property
    def rate(self) -> float:
        """Syllables a second."""
        return self.syllables / max(self.seconds, 1e-9)

    def speed_for(self, rate: float) -> float:
        """How many times as fast speech of this pace has to be for `rate` syllables a second."""
        return rate / (self + Pace(UNSURE * rate, UNSURE)).rate


def pace_of(mel: np.ndarray, mel_format: MelFormat) -> Pace:
    """A mel (n_mels, T) -> about how many syllables are spoken in it, in how many seconds."""
    frame = mel_format.hop_length / mel_format.sample_rate
    level = _smooth(_level(mel, mel_format), max(1, round(SMOOTH / 2 / frame)))
    floor = np.percentile(level, 95) - SPEECH
    peaks, _ = scipy.signal.find_peaks(np.maximum(level, floor), prominence=RISE, distance=round(APART / frame))
    steps = np.diff(np.flatnonzero(level > floor)) * frame
    return Pace(len(peaks) / FOUND, float(steps[steps < PAUSE].sum()))


def _level(mel: np.ndarray, f: MelFormat) -> np.ndarray:
    """(n_mels, T) -> (T,) dB of the vowels."""
    db = (mel[_vowels(f)].astype(np.float32) + f.max_abs) * -f.min_db / (2 * f.max_abs)
    return 10 * np.log10((10 ** (db / 10)).mean(axis=0))


def _smooth(level: np.ndarray, n: int) -> np.ndarray:
    """The mean over n frames on either side, of which near ones count more."""
    window = np.hanning(2 * n + 3)[1:-1]
    return np.convolve(np.pad(level, n, mode="edge"), window / window.sum(), mode="valid")


@lru_cache
def _vowels(f: MelFormat) -> np.ndarray:
    """Which bands have them."""
    centres = mel_frequencies(f.n_mels + 2, f.fmin, f.fmax)[1:-1]
    return (centres >= VOWELS[0]) & (centres <= VOWELS[1])
