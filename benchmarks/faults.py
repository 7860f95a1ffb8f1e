"""What attention-based speech is known to get wrong, found in the alignment and in the wave: no end, repeats, gaps."""

import numpy as np

from demo.spoken import Spoken

LONGEST_GAP = 0.7  # s; a pause at a comma is shorter
SILENT = 35.0  # dB under the loud parts
FRAME, HOP = 0.02, 0.01  # s
HELD = 0.1  # s that the attention stays where it is taken to be: a flicker is not heard
FAR = 6  # symbols, about a word


def faults(spoken: Spoken) -> list[str]:
    """Of speech of one text, some of: "stop" (cut, as it did not end, or ended before its last word), "repeat", "gap"."""
    (text,), (mel,), (alignment,) = spoken.texts, spoken.mels, spoken.alignments
    n_held = max(1, round(HELD * spoken.sample_rate * len(alignment) / (mel.shape[1] * spoken.hop_length)))
    last_letter = max(i for i, symbol in enumerate(text) if symbol.isalnum())
    ended_early = furthest(alignment, n_held) < last_letter - FAR
    found = {
        "stop": bool(spoken.unfinished) or ended_early,
        "repeat": way_back(alignment, n_held) >= FAR,
        "gap": longest_gap(spoken.wav, spoken.sample_rate) > LONGEST_GAP,
    }
    return [name for name, is_there in found.items() if is_there]


def furthest(alignment: np.ndarray, n_held: int) -> int:
    """Alignment (S, T) -> the last symbol that the attention reached for n_held steps in a row."""
    return int(_held(alignment, n_held).min(axis=1).max())


def way_back(alignment: np.ndarray, n_held: int) -> int:
    """Alignment (S, T) -> symbols that the attention goes back, at most, from where it was for n_held steps to where it is for
    as many: those of the words that are spoken twice."""
    windows = _held(alignment, n_held)
    reached = np.maximum.accumulate(windows.min(axis=1))
    return int((reached - windows.max(axis=1)).max())


def _held(alignment: np.ndarray, n_held: int) -> np.ndarray:
    """The symbol of the largest weight at every step and the ones after it, (S - n_held + 1, n_held)."""
    peaks = alignment.argmax(axis=1)
    return np.lib.stride_tricks.sliding_window_view(peaks, min(n_held, len(peaks)))


def longest_gap(wav: np.ndarray, sample_rate: int) -> float:
    """Seconds of the longest silence inside of speech (n,), neither before its beginning nor after its end."""
    frame, hop = int(FRAME * sample_rate), int(HOP * sample_rate)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wav, (0, max(0, frame - len(wav)))), frame)[::hop]
    level = 20 * np.log10(np.maximum(1e-6, np.sqrt(np.square(frames, dtype=np.float64).mean(axis=1))))
    loud = np.flatnonzero(level > np.percentile(level, 95) - SILENT)
    n_silent = int(np.diff(loud).max(initial=1)) - 1  # frames in a row without a loud sample
    return ((n_silent - 1) * hop + frame) / sample_rate if n_silent else 0.0
