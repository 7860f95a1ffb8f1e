"""The decoder's plain loop on a CUDA GPU: several steps are recorded as a graph and launched as one."""

import torch
from torch import Tensor

from synthesizer.attention import AttentionState, Memory
from synthesizer.decoder import Attended, Decoder, DecoderState
from synthesizer.generation import TorchLoop
from utils.cuda_graph import record


class GraphLoop(TorchLoop):
    """TorchLoop whose steps are launched together: one by one, a step's thirty small operations wait for the host."""

    def __init__(self, decoder: Decoder, r: int, dtype: torch.dtype) -> None:
        super().__init__(decoder, r, dtype)
        self._n_recorded = 0

    def start(self, memory: Memory) -> None:
        """Another batch, another graph: recording takes about as long as two launches, step by step."""
        super().start(memory)
        self._n_recorded = 0

    def steps(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        if n != self._n_recorded:
            self._record(n)
        self._replay()
        return tuple(each.clone() for each in self._answer)

    def _record(self, n: int) -> None:
        held = [each.clone() for each in self._carried]
        before = [each.clone() for each in held]
        self._answer = ()

        def work() -> None:
            self._carried = held
            answer = TorchLoop.steps(self, n)
            for each, after in zip(held, self._carried, strict=True):
                each.copy_(after)
            self._answer = self._answer or tuple(torch.empty_like(each) for each in answer)
            for each, made in zip(self._answer, answer, strict=True):
                each.copy_(made)

        self._replay, self._n_recorded = record(work), n
        for each, begin in zip(held, before, strict=True):
            each.copy_(begin)
        self._carried = held

    @property
    def _carried(self) -> list[Tensor]:
        """What goes from step to step."""
        attended = self._state.attended
        lstms = *self._state.lstm1, *self._state.lstm2
        return [self._frame, attended.hidden, attended.context, *attended.attention, *lstms]

    @_carried.setter
    def _carried(self, tensors: list[Tensor]) -> None:
        self._frame, hidden, context, weights, cumulative, *lstms = tensors
        attended = Attended(hidden, context, AttentionState(weights, cumulative))
        self._state = DecoderState(attended, tuple(lstms[:2]), tuple(lstms[2:]))
