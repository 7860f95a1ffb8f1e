"""One optimizer step, and the numbers of it, without the host ever waiting for the device.

A host that waits, to print a loss or to compare a norm, leaves the GPU idle meanwhile. So whether to skip an update is
decided on the device, and numbers to show are read once they have arrived.
"""

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from utils.training.ranks import average_gradients

STEPS_BEHIND = 32  # the most that the numbers shown lag behind; it also bounds what is queued on the device
MAIN = ""  # the name of a run's first model, whose checkpoint entries stand at the top level


class Trained(NamedTuple):
    """A model and its optimizer, which must be fused: only those can skip an update on the device."""

    model: nn.Module
    optimizer: torch.optim.Optimizer


class Stepper:
    """Backward, clip, step. A loss or gradient that is not finite changes nothing: weights, moments and buffers stay."""

    def __init__(
        self,
        trained: dict[str, Trained],
        scaler: torch.amp.GradScaler,
        same_loss_on_all_ranks: bool,
        averages_gradients: bool = False,
    ) -> None:
        """Unless all ranks compute the same loss, only the gradient decides about skipping, as all ranks must decide alike.

        averages_gradients: over ranks, where no DistributedDataParallel does.
        """
        self._trained, self._scaler, self._same_loss = trained, scaler, same_loss_on_all_ranks
        self._averages_gradients = averages_gradients
        self._buffers = [buffer for model, _ in trained.values() for buffer in model.buffers()]
        self._before = [buffer.clone() for buffer in self._buffers]  # at a fixed place, as a CUDA graph reads it
        device = next(trained[MAIN].model.parameters()).device
        self.skipped = torch.zeros((), device=device)  # updates, of all optimizers
        self._in_a_row = {name: torch.zeros((), device=device) for name in trained}

    @property
    def skipped_in_a_row(self) -> Tensor:
        """Updates skipped in a row, of the optimizer with the most; ()."""
        return torch.stack([*self._in_a_row.values()]).max()

    def remember(self) -> None:
        """To be called before the forward pass, which may change running statistics."""
        if self._buffers:
            torch._foreach_copy_(self._before, self._buffers)

    def step(
        self,
        loss: Tensor,
        clip: float,
        scale_gradients: Callable[[], None] | None = None,
        clipped_apart: Collection[nn.Parameter] = (),
        name: str = MAIN,
    ) -> Tensor:
        """Norm of the gradient before clipping (), nan if the update was skipped."""
        model, optimizer = self._trained[name]
        self._scaler.scale(loss).backward()
        if self._averages_gradients:
            average_gradients(model)
        self._scaler.unscale_(optimizer)
        if scale_gradients:
            scale_gradients()
        norm = _clip(model, clip, clipped_apart)
        is_overflow = ~torch.isfinite(norm)
        is_good = ~is_overflow
        if self._same_loss:
            loss_is_finite = torch.isfinite(loss.detach())
            is_good, is_overflow = is_good & loss_is_finite, is_overflow & loss_is_finite
        self._update(optimizer, is_good, is_overflow)
        self._restore_buffers(~is_good)
        self.skipped += ~is_good
        self._in_a_row[name].add_(1).mul_(~is_good)
        for each in self._trained.values():  # a loss through several models leaves gradients in all of them
            each.optimizer.zero_grad(set_to_none=True)
        return torch.where(is_good, norm, torch.nan)

    def abandon(self) -> None:
        """Forget a step that was broken off between its parts."""
        if self._scaler.is_enabled():
            self._scaler._per_optimizer_states.clear()  # which of its parts have been taken; torch has no other way
        for each in self._trained.values():
            each.optimizer.zero_grad(set_to_none=True)

    def _update(self, optimizer: torch.optim.Optimizer, is_good: Tensor, is_overflow: Tensor) -> None:
        """is_overflow: of the gradients, so the loss is to be scaled less."""
        if self._scaler.is_enabled():
            for step, skips in ((partial(self._scaler.step, optimizer), ~is_good), (self._scaler.update, is_overflow)):
                for found in self._scaler._found_inf_per_device(optimizer).values():  # torch looks at the gradients alone
                    found.copy_(skips)
                step()
            return
        optimizer.grad_scale, optimizer.found_inf = None, (~is_good).float()
        optimizer.step()
        del optimizer.grad_scale, optimizer.found_inf

    @torch.no_grad()
    def _restore_buffers(self, wanted: Tensor) -> None:
        """Undo what the forward pass changed, where wanted (); few operations, however many buffers."""
        pairs = zip(self._buffers, self._before, strict=True)
        for _, same_dtype in itertools.groupby(sorted(pairs, key=_dtype_name), key=_dtype_name):
            buffers, before = zip(*same_dtype, strict=True)
            now = [buffer.data for buffer in buffers]  # another model's backward pass may still hold the buffer itself
            sizes = [buffer.numel() for buffer in now]
            kept = torch.where(wanted, _flat(before), _flat(now)).split(sizes)
            torch._foreach_copy_(now, [part.view_as(each) for part, each in zip(kept, now, strict=True)])


def _dtype_name(pair: tuple[Tensor, Tensor]) -> str:
    return str(pair[0].dtype)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _clip(model: nn.Module, clip: float, apart: Collection[nn.Parameter]) -> Tensor:
    apart = set(apart)
    # Both in the model's order: that of a set follows addresses in memory, so a norm would be rounded otherwise in every run.
    groups = ([each for each in model.parameters() if (each in apart) is is_apart] for is_apart in (False, True))
    norms = [nn.utils.clip_grad_norm_(group, clip) for group in groups if group]
    return norms[0] if len(norms) == 1 else torch.hypot(*norms)


class Readback:
    """Numbers on their way from the device to the host, in the order in which they were put in."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, dict[str, float | Tensor], Tensor | None, torch.cuda.Event | None]] = deque()

    def put(self, step: int, values: dict[str, float | Tensor]) -> None:
        """Start copying the values that are tensors, of a single number each."""
        values = {name: value.detach() if isinstance(value, Tensor) else value for name, value in values.items()}
        tensors = [value.double() for value in values.values() if isinstance(value, Tensor)]
        packed = torch.stack(tensors) if tensors else None
        arrived = None
        if packed is not None and packed.is_cuda:
            packed = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=True).copy_(packed, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        self._waiting.append((step, values, packed, arrived))

    def take(self, wait: bool = False) -> Iterator[tuple[int, dict[str, float]]]:
        """(step, its numbers) for every step whose numbers have arrived, waiting if too many are on their way. With `wait`,
        for every step."""
        while self._waiting:
            step, values, packed, arrived = self._waiting[0]
            if arrived is not None and not arrived.query():
                if not wait and len(self._waiting) <= STEPS_BEHIND:
                    return
                arrived.synchronize()
            self._waiting.popleft()
            read = iter([] if packed is None else packed.tolist())
            yield step, {name: next(read) if isinstance(value, Tensor) else float(value) for name, value in values.items()}
