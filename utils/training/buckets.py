"""A few fixed shapes for batches: a CUDA graph is recorded once for each, and takes no other."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from utils.report_lines import say_once
from utils.training.batching import EpochPlan

AT_MOST = 8
FRAMES, SYMBOLS = 20, 8  # shapes are multiples of these


class Bucket(NamedTuple):
    """The shape to which a batch is padded."""

    n_frames: int
    n_symbols: int


class Buckets(NamedTuple):
    shapes: list[Bucket]  # growing
    padding: float  # share of the frames that are padding, in the batches they were chosen for

    def holding(self, n_frames: int, n_symbols: int) -> Bucket | None:
        """The smallest that holds a batch of this size; None if none does."""
        return next((shape for shape in self.shapes if n_frames <= shape.n_frames and n_symbols <= shape.n_symbols), None)

    def __str__(self) -> str:
        shapes = ", ".join(f"{n_frames} x {n_symbols}" for n_frames, n_symbols in self.shapes)
        return f"batches are padded to {shapes} (frames x symbols); {self.padding:.0%} of their frames are padding"


def choose_buckets(n_frames: Sequence[int], n_symbols: Sequence[int], batch_size: int) -> Buckets:
    """The shapes, AT_MOST or fewer, with the least padding in an epoch. The last one holds every utterance.

    n_frames, n_symbols: the length of each utterance to train on; batch_size: of a rank.
    """
    n_frames, n_symbols = np.asarray(n_frames), np.asarray(n_symbols)
    batches = np.array(EpochPlan(n_frames, batch_size, seed=0).epoch(0))  # (n, B) numbers of utterances
    longest = np.stack([n_frames[batches].max(1), n_symbols[batches].max(1)], axis=1)
    units = -(-longest[:, 0] // FRAMES)
    used = np.unique(units)  # the candidates
    ends = _least_padding(used, np.array([(units == unit).sum() for unit in used]))
    shapes, below = [], 0
    for end in ends:
        inside = (units > below) & (units <= end)
        shapes.append(Bucket(int(end) * FRAMES, _up(longest[inside, 1].max(), SYMBOLS)))
        below = end
    shapes[-1] = Bucket(_up(n_frames.max(), FRAMES), _up(n_symbols.max(), SYMBOLS))
    shapes = [Bucket(shape.n_frames, max(each.n_symbols for each in shapes[: k + 1])) for k, shape in enumerate(shapes)]
    n_padded = batches.shape[1] * FRAMES * ends[np.searchsorted(ends, units)].sum()
    return Buckets(shapes, 1 - n_frames[batches].sum() / n_padded)


class PaddedSteps:
    """Training steps on batches of few shapes. A batch larger than all shapes is taken as it is."""

    def __init__(self, step: Callable, recorded: Callable, buckets_of: Callable[[int], Buckets]) -> None:
        """step, recorded: take a batch, and whatever else they are called with; recorded sees padded batches alone.

        A batch has its `size` (n_frames, n_symbols) and `padded` to another. buckets_of: the shapes for a batch size.
        """
        self._step, self._recorded, self._buckets_of = step, recorded, buckets_of
        self._n_items = 0

    def __call__(self, batch: Any, *rest: Any) -> Any:
        if len(batch[0]) != self._n_items:
            self._n_items = len(batch[0])
            self._buckets = self._buckets_of(self._n_items)
            say_once(self._buckets)
        bucket = self._buckets.holding(*batch.size)
        return self._recorded(batch.padded(*bucket), *rest) if bucket else self._step(batch, *rest)


def _up(number: int, multiple: int) -> int:
    return math.ceil(number / multiple) * multiple


def _least_padding(sizes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """AT_MOST of the growing sizes (the largest among them), so that counts[k] batches of sizes[k], each padded to the next
    chosen size, are the smallest in total."""
    n = len(sizes)
    before = np.concatenate([[0], np.cumsum(counts)])
    cost, choices = np.full(n + 1, np.inf), []
    cost[0] = 0
    for _ in range(min(AT_MOST, n)):
        # cost of the first j sizes if the last bucket begins after the first i
        table = [
            [cost[i] + (before[j] - before[i]) * sizes[j - 1] if i < j else np.inf for i in range(n)] for j in range(1, n + 1)
        ]
        choices.append(np.argmin(table, axis=1))
        cost = np.concatenate([[np.inf], np.min(table, axis=1)])
    ends, j = [], n
    for choice in reversed(choices):
        ends.append(sizes[j - 1])
        j = choice[j - 1]
    return np.array(ends[::-1])
