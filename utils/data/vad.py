"""Cut pauses out of speech with the WebRTC voice activity detector."""

from collections.abc import Callable
from itertools import repeat

import numpy as np

from utils.data.audio import SAMPLE_RATE, to_int16

WINDOW = 480  # samples: 30 ms, the longest window that the detector takes
AVERAGE = 8  # windows over which the decisions are smoothed
MAX_PAUSE = 6  # windows of silence that may stay between two voiced regions
BLOCK = 512  # windows converted at a time, which saves memory and stays in the cache
AGGRESSIVENESS = 3  # 0-3; at 3 the least audio counts as speech
LOUDEST_SPEECH, SOFTEST_SPEECH = 95, 25.0  # percentile of the level of speech; dB under it, at which pauses begin

Detect = Callable[[np.ndarray], np.ndarray]  # float32 (n_windows * 480,) -> bool (n_windows,): which windows are voiced


def trim_silences(wav: np.ndarray, detect: Detect | None = None) -> np.ndarray:
    """Speech only: float32 (n,) at 16 kHz -> (m,), m <= n a multiple of 480; empty if nothing is voiced.

    A window is kept if more than half of the 8 windows around it are voiced, or if it is within 3 windows of one that is.
    Samples at the end that do not fill a window are dropped. detect: by default WebRTC's detector.
    """
    n_windows = len(wav) // WINDOW
    whole = wav[: n_windows * WINDOW]
    keep = voiced_windows(whole, detect)
    return whole.reshape(n_windows, WINDOW).compress(keep, axis=0).reshape(-1)


def voiced_windows(wav: np.ndarray, detect: Detect | None = None) -> np.ndarray:
    """bool (n_windows,): which 30 ms windows of float32 (n_windows * 480,) are kept."""
    voiced = _count_around((detect or _speech_flags)(wav), (AVERAGE - 1) // 2, AVERAGE // 2) > AVERAGE // 2  # a tie is silence
    return _count_around(voiced, MAX_PAUSE // 2, MAX_PAUSE // 2) > 0


def loud_windows(wav: np.ndarray) -> np.ndarray:
    """In place of WebRTC's detector where it is not installed: the windows that are not much softer than the speech is."""
    level = 10 * np.log10(np.square(wav.reshape(-1, WINDOW)).mean(axis=1) + 1e-10)
    return level > max(np.percentile(level, LOUDEST_SPEECH) - SOFTEST_SPEECH, -60) if len(level) else level > 0


def _count_around(flags: np.ndarray, before: int, after: int) -> np.ndarray:
    """bool (n,) -> int (n,): how many flags are set from `before` places before each place to `after` places after it."""
    padded = np.zeros(before + 1 + len(flags) + after, dtype=np.int64)
    padded[before + 1 : before + 1 + len(flags)] = flags
    sums = np.cumsum(padded)
    return sums[before + 1 + after :] - sums[: len(flags)]


def _speech_flags(wav: np.ndarray) -> np.ndarray:
    """bool (n_windows,): the detector's decision for each window, which depends on those before."""
    import webrtcvad

    detector = webrtcvad.Vad(mode=AGGRESSIVENESS)
    flags = np.zeros(len(wav) // WINDOW, dtype=bool)
    for first in range(0, len(flags), BLOCK):
        pcm = to_int16(wav[first * WINDOW : (first + BLOCK) * WINDOW])
        windows = pcm.view(f"V{pcm.itemsize * WINDOW}").tolist()  # bytes are what the detector takes fastest
        flags[first : first + BLOCK] = [*map(detector.is_speech, windows, repeat(SAMPLE_RATE), repeat(WINDOW))]
    return flags
