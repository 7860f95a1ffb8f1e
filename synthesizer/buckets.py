"""A few fixed shapes for batches: a CUDA graph is recorded once for each, and takes no other."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from synthesizer.dataset import Batch, Utterances
from utils.data.mel_format import MelFormat
from utils.training.batching import EpochPlan

AT_MOST = 8
FRAMES, SYMBOLS = 20, 8  # shapes are multiples of these
N_READ = 1000  # utterances


class Bucket(NamedTuple):
    """The shape to which a batch is padded."""

    n_frames: int
    n_symbols: int


class Buckets(NamedTuple):
    shapes: list[Bucket]  # growing
    padding: float  # share of the frames that are padding, in the batches they were chosen for

    def of(self, batch: Batch) -> Bucket | None:
        """The smallest that holds the batch; None if none does."""
        n_frames, n_symbols = batch.mels.size(1), batch.text.size(1)
        return next((shape for shape in self.shapes if n_frames <= shape.n_frames and n_symbols <= shape.n_symbols), None)

    def __str__(self) -> str:
        shapes = ", ".join(f"{n_frames} x {n_symbols}" for n_frames, n_symbols in self.shapes)
        return f"batches are padded to {shapes} (frames x symbols); {self.padding:.0%} of their frames are padding"


def choose_buckets(n_frames: Sequence[int], n_symbols: Sequence[int], batch_size: int) -> Buckets:
    """The shapes, AT_MOST or fewer, with the least padding in an epoch. The last one holds every utterance.

    n_frames, n_symbols: the length of each utterance to train on; batch_size: of all ranks together.
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

    def __init__(self, step: Callable, recorded: Callable, training: Utterances) -> None:
        """step, recorded: take a batch, and whatever else they are called with; recorded sees padded batches alone."""
        self._step, self._recorded, self._training = step, recorded, training
        self._n_utterances = 0

    def __call__(self, batch: Batch, *rest: Any) -> dict[str, Tensor]:
        if len(batch.text) != self._n_utterances:
            self._n_utterances = len(batch.text)
            self._buckets = buckets_of(self._training, self._n_utterances)
            print(self._buckets)
        bucket = self._buckets.of(batch)
        return self._recorded(padded(batch, bucket), *rest) if bucket else self._step(batch, *rest)


def buckets_of(training: Utterances, batch_size: int) -> Buckets:
    """Reading every text would take long: how many symbols a character becomes is known from some."""
    rows = training.rows
    some = rows[:: max(1, len(rows) // N_READ)]
    growth = np.quantile([training.n_symbols(row) / (len(row.text) + 1) for row in some], 0.9)
    n_symbols = [math.ceil(growth * (len(row.text) + 1)) for row in rows]
    return choose_buckets([row.n_frames for row in rows], n_symbols, batch_size)


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


def padded(batch: Batch, bucket: Bucket) -> Batch:
    """With the shape of the bucket. The model and its losses ignore the padding."""
    right = bucket.n_symbols - batch.text.size(1)
    below = bucket.n_frames - batch.mels.size(1)
    return batch._replace(
        text=F.pad(batch.text, (0, right)),
        ends=F.pad(batch.ends, (0, right), value=math.inf),
        mels=F.pad(batch.mels, (0, 0, 0, below), value=-MelFormat.max_abs),
    )
