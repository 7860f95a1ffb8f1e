"""What is said when a text is read aloud: pieces in order, and how they are joined."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from synthesizer.text.sentences import Pause


class Said(NamedTuple):
    """One piece of a text."""

    text: str  # as it was read; sounds in braces
    mel: np.ndarray  # float32 (n_mels, T), without the silence at its end
    alignment: np.ndarray  # float32 (decoder steps, symbols)
    pause: Pause  # what follows
    missed: tuple[str, ...]  # words, as written, that were skipped, repeated or not reached, after all tries
    stopped: bool  # False where the model was cut at its cap


def at_speed(mel: np.ndarray, speed: float) -> np.ndarray:
    """The mel (n_mels, T) said `speed` times as fast: frames are interpolated, so that the pitch stays."""
    if speed == 1:
        return mel
    n_frames = mel.shape[1]
    at = np.linspace(0, n_frames - 1, max(1, round(n_frames / speed)))
    before = np.minimum(at.astype(int), max(0, n_frames - 2))
    after, weight = np.minimum(before + 1, n_frames - 1), (at - before).astype(np.float32)
    return mel[:, before] * (1 - weight) + mel[:, after] * weight


def batches_in_order(lengths: Sequence[int], batch_size: int, n_batches: int = 4) -> list[list[int]]:
    """Indices of pieces in batches: the first one alone, then pieces of like length out of the next n_batches batches' worth.

    The batches of such a window are ordered by the first piece in them.
    """
    found = [[0]] if lengths else []
    window = batch_size * n_batches
    for start in range(1, len(lengths), window):
        order = sorted(range(start, min(start + window, len(lengths))), key=lambda i: (lengths[i], i))
        found += sorted((sorted(order[i : i + batch_size]) for i in range(0, len(order), batch_size)), key=min)
    return found
