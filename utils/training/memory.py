"""The error for running out of GPU memory, which names a batch size that fits."""

import contextlib
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from utils.errors import UserError

if TYPE_CHECKING:
    from utils.training.run import Run

TO_SPARE = 0.1  # of the memory, as batches differ in length, and pieces of memory do not fit together


@contextlib.contextmanager
def within_memory(
    run: "Run", batch: Any, loss_of: Callable[[Any], Tensor], hparams: Callable[[int], str], least: int = 1
) -> Iterator[None]:
    """Around a step. If the GPU's memory does not suffice, UserError with the `hparams` of a batch for which it does.

    batch: a NamedTuple of tensors, whose first axis is the items; loss_of: such a batch -> the loss of a step. least: items
    that a batch must have.
    """
    try:
        yield
        return
    except torch.OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)  # they hold the tensors of the step
    run.abandon_step()
    n = len(batch[0])
    fits = n // 2  # with several ranks none can try alone
    if run.world_size == 1:
        fits = largest_batch(
            lambda items: peak_on(run.device, partial(_try, run, batch, loss_of, items)), n, memory_of(run.device)
        )
    what = f"step {run.step}: the GPU's memory does not suffice for a batch of {n}"
    how = (
        f"it should for {fits}: --hparams {hparams(fits)}" if fits >= least else "nor for a smaller one: make the model smaller"
    )
    raise UserError(f"{what}; {how}; {run.held}")


def _try(run: "Run", batch: Any, loss_of: Callable[[Any], Tensor], n_items: int) -> None:
    try:
        with run.autocast():
            loss = loss_of(type(batch)(*(each[:n_items] for each in batch)))
        loss.backward()
    finally:
        run.abandon_step()


def largest_batch(peak_of: Callable[[int], int], n: int, available: int) -> int:
    """The most items, fewer than n, for which the memory suffices; 0 if it does not for one.

    peak_of: a step with a number of items -> bytes at its peak; raises torch.OutOfMemoryError if they are too many. As memory
    grows with the items evenly, two sizes tell.
    """
    peaks: dict[int, int] = {}
    too_many, size = n, n
    while size > 1 and len(peaks) < 2:
        size //= 2
        try:
            peaks[size] = peak_of(size)
        except torch.OutOfMemoryError:
            too_many = size
    if len(peaks) < 2:
        return max(peaks, default=0)
    (large, most), (small, least) = peaks.items()
    left, item = (1 - TO_SPARE) * available - most, (most - least) / (large - small)
    return min(too_many - 1, large + max(0, int(left / max(item, 1))))


def peak_on(device: torch.device, step: Callable[[], object]) -> int:
    """Bytes in use on a GPU at the peak of a step."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return torch.cuda.max_memory_allocated(device)


def memory_of(device: torch.device) -> int:
    """Bytes on a GPU that this process has or could have."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device)
