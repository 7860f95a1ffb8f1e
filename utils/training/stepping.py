"""One step of an optimizer, and the numbers of it, without the host ever waiting for the device.

A host that waits, for a loss to print or for a norm to compare, leaves the GPU without work until it has answered. So what a
step must decide is decided on the device, and what is to be shown is read when it has arrived.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator

import torch
from torch import Tensor, nn

STEPS_BEHIND = 32  # the most that shown numbers lag behind; it also bounds what is queued on the device


class Stepper:
    """Backward, clip, step. A loss or gradient that is not finite changes nothing: weights, moments and buffers stay."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, loss_is_alike: bool
    ) -> None:
        """The optimizer must be fused, as only those can leave a step out on the device. `loss_is_alike` tells that all ranks
        compute the same loss; else its being finite decides nothing, as they must all decide alike."""
        self.model, self.optimizer, self._scaler, self._loss_is_alike = model, optimizer, scaler, loss_is_alike
        self._buffers = list(model.buffers())
        self._before: list[Tensor] = []
        device = next(model.parameters()).device
        self.skipped = torch.zeros((), device=device)  # steps without an update
        self.skipped_in_a_row = torch.zeros((), device=device)

    def remember(self) -> None:
        """To be called before the forward pass, which may change the running statistics."""
        self._before = [buffer.clone() for buffer in self._buffers]

    def step(
        self,
        loss: Tensor,
        clip: float,
        scale_gradients: Callable[[], None] | None = None,
        clipped_apart: Collection[nn.Parameter] = (),
    ) -> Tensor:
        """Norm of the gradient before clipping (), nan if the step was left out."""
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self.optimizer)
        if scale_gradients:
            scale_gradients()
        norm = self._clip(clip, set(clipped_apart))
        is_good = torch.isfinite(norm)
        if self._loss_is_alike:
            is_good = is_good & torch.isfinite(loss.detach())
        self._update(is_good)
        for buffer, before in zip(self._buffers, self._before, strict=True):
            buffer.copy_(torch.where(is_good, buffer, before))
        self.skipped += ~is_good
        self.skipped_in_a_row.add_(1).mul_(~is_good)
        self.optimizer.zero_grad(set_to_none=True)
        return torch.where(is_good, norm, torch.nan)

    def _clip(self, clip: float, apart: set[nn.Parameter]) -> Tensor:
        together = [parameter for parameter in self.model.parameters() if parameter not in apart]
        norms = [nn.utils.clip_grad_norm_(group, clip) for group in (together, list(apart)) if group]
        return norms[0] if len(norms) == 1 else torch.hypot(*norms)

    def _update(self, is_good: Tensor) -> None:
        if self._scaler.is_enabled():  # it has looked at the gradients itself
            self._scaler.step(self.optimizer)
            self._scaler.update()
            return
        self.optimizer.grad_scale, self.optimizer.found_inf = None, (~is_good).float()
        self.optimizer.step()
        del self.optimizer.grad_scale, self.optimizer.found_inf


class Readback:
    """Numbers on their way from the device to the host, in the order in which they were put in."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, dict[str, float | Tensor], Tensor | None, torch.cuda.Event | None]] = deque()

    def put(self, step: int, values: dict[str, float | Tensor]) -> None:
        """Start copying the tensors among the values, each a single number."""
        tensors = [value.detach().double() for value in values.values() if isinstance(value, Tensor)]
        packed = torch.stack(tensors) if tensors else None
        arrived = None
        if packed is not None and packed.is_cuda:
            packed = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=True).copy_(packed, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        self._waiting.append((step, values, packed, arrived))

    def take(self, all_of_them: bool = False) -> Iterator[tuple[int, dict[str, float]]]:
        """(step, its numbers) of those that have arrived; waits where too many are on their way, or for `all_of_them`."""
        while self._waiting:
            step, values, packed, arrived = self._waiting[0]
            if arrived is not None and not arrived.query():
                if not all_of_them and len(self._waiting) <= STEPS_BEHIND:
                    return
                arrived.synchronize()
            self._waiting.popleft()
            read = iter([] if packed is None else packed.tolist())
            yield step, {name: next(read) if isinstance(value, Tensor) else float(value) for name, value in values.items()}
