"""Faults of attention-based speech, found in the alignment and the wave: stop misses, repeats and gaps."""

import numpy as np

from demo.spoken import Spoken

LONGEST_GAP = 1.2  # s; the pause after a paragraph is shorter
SILENT = 35.0  # dB under the loud parts
FRAME, HOP = 0.02, 0.01  # s
HELD = 0.1  # s that the attention must stay on a symbol to count; shorter visits are not heard
FAR = 6  # symbols, about a word


def faults(spoken: Spoken) -> list[str]:
    """Faults in speech: "stop" (cut at the cap, or ended before the last word), "repeat", "gap", "words" (Spoken.missed)."""
    parts = list(zip(spoken.texts, spoken.mels, spoken.alignments, strict=True))
    found = {
        "stop": bool(spoken.unfinished) or any(_ended_early(*part, spoken) for part in parts),
        "repeat": any(way_back(alignment, _n_held(mel, alignment, spoken)) >= FAR for _, mel, alignment in parts),
        "gap": longest_gap(spoken.wav, spoken.sample_rate) > LONGEST_GAP,
        "words": bool(spoken.missed),
    }
    return [name for name, is_there in found.items() if is_there]


def _ended_early(text: str, mel: np.ndarray, alignment: np.ndarray, spoken: Spoken) -> bool:
    last_letter = max((i for i, symbol in enumerate(text) if symbol.isalnum()), default=0)
    return furthest(alignment, _n_held(mel, alignment, spoken)) < last_letter - FAR


def _n_held(mel: np.ndarray, alignment: np.ndarray, spoken: Spoken) -> int:
    """HELD in decoder steps"""
    return max(1, round(HELD * spoken.sample_rate * len(alignment) / (mel.shape[1] * spoken.hop_length)))


def furthest(alignment: np.ndarray, n_held: int) -> int:
    """Alignment (S, T) -> the last symbol on which the attention stayed for n_held steps."""
    return int(_held(alignment, n_held).min(axis=1).max())


def way_back(alignment: np.ndarray, n_held: int) -> int:
    """Alignment (S, T) -> the largest number of symbols that the attention goes back, staying n_held steps before and after:
    the length of what is spoken twice."""
    windows = _held(alignment, n_held)
    reached = np.maximum.accumulate(windows.min(axis=1))
    return int((reached - windows.max(axis=1)).max())


def _held(alignment: np.ndarray, n_held: int) -> np.ndarray:
    """Windows of n_held steps over the symbols with the largest weight, (S - n_held + 1, n_held)"""
    peaks = alignment.argmax(axis=1)
    return np.lib.stride_tricks.sliding_window_view(peaks, min(n_held, len(peaks)))


def longest_gap(wav: np.ndarray, sample_rate: int) -> float:
    """Seconds of the longest silence within speech (n,), without those at its beginning and end."""
    frame, hop = int(FRAME * sample_rate), int(HOP * sample_rate)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wav, (0, max(0, frame - len(wav)))), frame)[::hop]
    level = 20 * np.log10(np.maximum(1e-6, np.sqrt(np.square(frames, dtype=np.float64).mean(axis=1))))
    loud = np.flatnonzero(level > np.percentile(level, 95) - SILENT)
    n_silent = int(np.diff(loud).max(initial=1)) - 1  # frames in a row without a loud sample
    return ((n_silent - 1) * hop + frame) / sample_rate if n_silent else 0.0
