"""The decoder on a CUDA GPU: fused cells, and speaking, for which several steps are recorded as a CUDA graph."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from synthesizer.attention import Memory
from synthesizer.decoder import Decoder
from synthesizer.generation import TorchLoop
from utils.cuda_cells import cells_for
from utils.cuda_graph import record
from utils.models.recurrent import gru_cell, lstm_cell

KEPT = 16  # graphs
CHARACTERS = 32  # texts are padded to multiples of this, and batches to powers of two, so that one graph fits many


def fuse(decoder: Decoder) -> None:
    """Let the decoder's cells be one kernel each. A cell that somebody has changed stays."""
    cells = cells_for(decoder.stop.weight.device)
    for module, plain, fused in (
        (decoder, gru_cell, cells.gru),
        (decoder.lstm1, lstm_cell, cells.lstm),
        (decoder.lstm2, lstm_cell, cells.lstm),
    ):
        if getattr(module, "cell", None) is plain:
            module.cell = fused


class Recorded(NamedTuple):
    """The tensors that a graph reads and writes in place."""

    memory: Memory
    state: tuple  # the frame and the decoder's state
    outputs: tuple[Tensor, Tensor, Tensor]
    replay: Callable[[], None]


class GraphLoop(TorchLoop):
    """TorchLoop with all steps of a span in one launch: one by one, a step's thirty small operations wait for the host.

    The graphs of the last few shapes (sentences, characters, steps) are kept.
    """

    def __init__(self, decoder: Decoder, r: int) -> None:
        super().__init__(decoder, r)
        self._graphs: dict[tuple, Recorded] = {}

    def start(self, memory: Memory) -> None:
        self._n_rows, self._n_characters = memory.padding.shape
        super().start(_padded(memory))
        self._now: Recorded | None = None

    def steps(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        key = (*(each.shape for each in self._memory), n)
        if key not in self._graphs:
            while len(self._graphs) >= KEPT:
                del self._graphs[next(iter(self._graphs))]
            self._graphs[key] = self._record(n)
        graph = self._graphs[key]
        if graph is not self._now:
            _copy(graph.memory, self._memory)
            _copy(graph.state, self._now.state if self._now else (self._frame, self._state))
            self._now = graph
        graph.replay()
        mels, stops, attention = (each[:, : self._n_rows].clone() for each in graph.outputs)
        return mels, stops, attention[:, :, : self._n_characters]

    def _record(self, n: int) -> Recorded:
        memory, state = (
            _rebuilt(each, map(torch.clone, _tensors(each))) for each in (self._memory, (self._frame, self._state))
        )
        loop, outputs = TorchLoop(self._decoder, self.r), []

        def work() -> None:
            loop._memory, (loop._frame, loop._state) = memory, state
            made = loop.steps(n)
            _copy(state, (loop._frame, loop._state))
            if not outputs:
                outputs.extend(map(torch.empty_like, made))
            _copy(outputs, made)

        replay = record(work, memory.values.device)
        return Recorded(memory, state, tuple(outputs), replay)


def _padded(memory: Memory) -> Memory:
    n_rows, n_characters = memory.padding.shape
    rows, right = (1 << (n_rows - 1).bit_length()) - n_rows, -n_characters % CHARACTERS
    keys, values = (F.pad(each, (0, 0, 0, right, 0, rows)) if each.numel() else each for each in (memory.keys, memory.values))
    padding = F.pad(F.pad(memory.padding, (0, right), value=True), (0, 0, 0, rows))  # a row that is all padding would be NaN
    return memory._replace(values=values, keys=keys, padding=padding)


def _copy(to: Any, of: Any) -> None:
    for one, other in zip(_tensors(to), _tensors(of), strict=True):
        one.copy_(other)


def _tensors(state: Any) -> Iterator[Tensor]:
    """The tensors of nested tuples and lists, in order."""
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
