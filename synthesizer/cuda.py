"""Speaking on a CUDA GPU: several decoder steps are recorded as a CUDA graph and launched as one."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from synthesizer.attention import Memory
from synthesizer.generation import TorchLoop
from utils.cuda_graph import record


class GraphLoop(TorchLoop):
    """TorchLoop with all steps of a span in one launch: one by one, a step's thirty small operations wait for the host."""

    def start(self, memory: Memory) -> None:
        """Each batch gets a graph of its own; recording takes about as long as running the span twice without one."""
        super().start(memory)
        self._n_recorded = 0

    def steps(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        if n != self._n_recorded:
            self._record(n)
        self._replay()
        return tuple(each.clone() for each in self._outputs)

    def _record(self, n: int) -> None:
        # A graph reads and writes the same memory every time, so the state and the outputs get a fixed place.
        held = [each.clone() for each in _tensors((self._frame, self._state))]
        before = [each.clone() for each in held]
        self._outputs = ()

        def work() -> None:
            self._frame, self._state = _rebuilt((self._frame, self._state), iter(held))
            outputs = TorchLoop.steps(self, n)
            for each, after in zip(held, _tensors((self._frame, self._state)), strict=True):
                each.copy_(after)
            self._outputs = self._outputs or tuple(torch.empty_like(each) for each in outputs)
            for each, made in zip(self._outputs, outputs, strict=True):
                each.copy_(made)

        self._replay, self._n_recorded = record(work), n
        for each, first in zip(held, before, strict=True):  # recording has run the steps once
            each.copy_(first)
        self._frame, self._state = _rebuilt((self._frame, self._state), iter(held))


def _tensors(state: Any) -> Iterator[Tensor]:
    """The tensors of nested tuples, in order."""
    if isinstance(state, Tensor):
        yield state
    else:
        for each in state:
            yield from _tensors(each)


def _rebuilt(state: Any, tensors: Iterator[Tensor]) -> Any:
    """Nested tuples of the same types with other tensors."""
    if isinstance(state, Tensor):
        return next(tensors)
    parts = [_rebuilt(each, tensors) for each in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
