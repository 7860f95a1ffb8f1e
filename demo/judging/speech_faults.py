"""Faults of cloned speech: what synthesizer.reading.faults found in the alignments, and gaps in the wave."""

import numpy as np

from demo.spoken import Spoken

LONGEST_GAP = 1.2  # s; the pause after a paragraph is shorter
SILENT = 35.0  # dB under the loud parts
FRAME, HOP = 0.02, 0.01  # s


def faults(spoken: Spoken) -> list[str]:
    """Faults in speech: "stop" (cut at the cap), "words" (Spoken.missed), "gap" (a long silence)."""
    gap = longest_gap(spoken.wav, spoken.sample_rate)
    found = {"stop": bool(spoken.unfinished), "words": bool(spoken.missed), "gap": gap > LONGEST_GAP}
    return [name for name, is_there in found.items() if is_there]


def longest_gap(wav: np.ndarray, sample_rate: int) -> float:
    """Seconds of the longest silence within speech (n,), without those at its beginning and end."""
    frame, hop = int(FRAME * sample_rate), int(HOP * sample_rate)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wav, (0, max(0, frame - len(wav)))), frame)[::hop]
    level = 20 * np.log10(np.maximum(1e-6, np.sqrt(np.square(frames, dtype=np.float64).mean(axis=1))))
    loud = np.flatnonzero(level > np.percentile(level, 95) - SILENT)
    n_silent = int(np.diff(loud).max(initial=1)) - 1  # frames in a row without a loud sample
    return ((n_silent - 1) * hop + frame) / sample_rate if n_silent else 0.0
