"""Long speech as many short folds that are generated side by side, and back to one wave.

fold 0  |-------------------------------------|
fold 1                               |------------------------------ ...
                                     | warm-up | join |

The end of a fold is generated twice. In the first two thirds of what is shared the state of the new fold, which knows
nothing of the past, settles; in the last third the wave goes over from one to the other, where that is heard least.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

TARGET = 8000  # samples of a fold unless told otherwise, and what it shares with the next
OVERLAP = 600
FIRST = 6  # frames of the folds that a stream begins with, so that it is heard at once
PACE = 0.3  # steps that are made while a sample is played: what a group may take while the one before is heard
LONGEST_FADE = 80  # samples


class Fold(NamedTuple):
    """Frames [start, stop) are generated; the first `overlap` of them by the fold before as well."""

    start: int
    stop: int
    overlap: int


def plan(loudness: np.ndarray, target: int, overlap: int, width: int) -> list[list[Fold]]:
    """Groups of up to `width` folds, generated side by side, one group after another, for a mel of loudness (T,).

    The first group is small and its folds are short; from group to group they grow, to about `target` frames. They share
    up to `overlap` frames with the one before, and are cut a little sooner or later than even parts would be, where the
    speech is quiet.
    """
    edges, lengths, group_sizes = [0], [], []
    for n_folds, n_frames in _groups(len(loudness), target, overlap, width):
        start = edges[-1]
        edges += [start + n_frames * (k + 1) // n_folds for k in range(n_folds)]
        lengths += [n_frames // n_folds] * n_folds
        group_sizes.append(n_folds)
    overlaps = [0] + [min(overlap, (min(pair) + 1) // 2) for pair in itertools.pairwise(lengths)] + [0]
    for k in range(1, len(lengths)):
        edges[k] = _quietest(loudness, edges[k], overlaps[k], slack=min(lengths[k - 1 : k + 1]) // 16)
        overlaps[k] = min(overlaps[k], len(loudness) - edges[k])
    folds = iter([Fold(edges[k], edges[k + 1] + overlaps[k + 1], overlaps[k]) for k in range(len(lengths))])
    return [[next(folds) for _ in range(size)] for size in group_sizes]


def _groups(n_frames: int, target: int, overlap: int, width: int) -> Iterator[tuple[int, int]]:
    """Folds, and frames that they are for, of each group."""
    shortest = length = min(FIRST, target)
    n_folds = max(1, width // 2)  # fewer rows, faster steps
    while n_frames:
        n_left = max(1, round(n_frames / (n_folds * length)))
        taken = -(-n_frames // n_left) if length == target or n_left == 1 else n_folds * length
        yield min(n_folds, -(-taken // shortest)), taken
        n_frames -= taken
        n_folds, length = width, min(target, max(length, int(PACE * taken) - overlap))


def _quietest(loudness: np.ndarray, edge: int, overlap: int, slack: int) -> int:
    """The edge within `slack` frames whose fold would be joined where it is quietest."""
    candidates = range(max(1, edge - slack), min(len(loudness) - 1, edge + slack) + 1)
    heard = [loudness[at + warm_up(overlap) : at + max(overlap, 1)].mean() for at in candidates]
    return candidates[int(np.argmin(heard))] if heard else edge


def warm_up(overlap: int) -> int:
    """How much of what two folds share (frames or samples) is the new one's warm-up; at least one is left for the join."""
    return overlap * 2 // 3


def join(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Two versions (n,) of the same stretch, of which `new` is warming up at first, -> one (n,).

    What follows is searched for the few milliseconds in which the two differ least: where it is quiet, or where the
    waves happen to agree. Gains follow from how far they agree, so that the power stays what it is.
    """
    settled = warm_up(len(old))
    fade = min(LONGEST_FADE, len(old) - settled)
    if fade < 2:
        return old.copy()
    difference = np.concatenate([[0], np.cumsum(np.square(old[settled:] - new[settled:], dtype=np.float64))])
    at = settled + int(np.argmin(difference[fade:] - difference[:-fade]))
    a, b = old[at : at + fade], new[at : at + fade]
    ramp = (np.arange(fade) + 0.5) / fade
    agreement = np.clip(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12), -0.5, 1)
    gain = 1 / np.sqrt(ramp**2 + (1 - ramp) ** 2 + 2 * agreement * ramp * (1 - ramp))
    middle = gain * (ramp * b + (1 - ramp) * a)
    return np.concatenate([old[:at], middle, new[at + fade :]]).astype(np.float32)


class Joiner:
    """Joins folds as they come, and keeps the end of each back until its successor is there."""

    def __init__(self) -> None:
        self._end = np.zeros(0, np.float32)

    def add(self, wave: np.ndarray, kept: int) -> np.ndarray:
        """The wave of the next fold, the last `kept` samples of which the one after it repeats -> what is settled."""
        shared = len(self._end)
        whole = np.concatenate([join(self._end, wave[:shared]), wave[shared:]])
        self._end = whole[len(whole) - kept :]
        return whole[: len(whole) - kept]
