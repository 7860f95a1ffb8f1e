"""The decoder on a CUDA GPU: fused cells, and speaking, for which several steps are recorded as a CUDA graph."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from synthesizer.attention import Memory, location_scores
from synthesizer.decoder import Decoder
from synthesizer.generation import TorchLoop
from utils.cuda_cells import cells_for, difference, random_inputs, where_on_gpu
from utils.cuda_graph import record
from utils.models.recurrent import gru_cell, lstm_cell
from utils.report_lines import say_once

KEPT = 16  # graphs
SCORES_TOLERANCE = 1e-2  # relative; products in TF32 differ by 1e-3
CHARACTERS = 32  # texts are padded to multiples of this, and batches to powers of two, so that one graph fits many


def fuse(decoder: Decoder) -> None:
    """Let the decoder's cells and its attention's scores be one kernel each. What somebody has changed stays."""
    device = decoder.stop.weight.device
    cells = cells_for(device)
    for module, name, plain, fused in (
        (decoder, "cell", gru_cell, cells.gru),
        (decoder.lstm1, "cell", lstm_cell, cells.lstm),
        (decoder.lstm2, "cell", lstm_cell, cells.lstm),
        (decoder.attention, "scores", location_scores, scores_for(device, decoder.query_hidden.in_features)),
    ):
        if getattr(module, name, None) is plain:
            setattr(module, name, fused)


@functools.cache
def scores_for(device: torch.device, size: int) -> Callable:
    """location_scores as one kernel, for an attention of this size, if it agrees with plain torch, gradients included; else a
    line says why not."""
    try:
        from synthesizer import cuda_attention

        if size < cuda_attention.LEAST_SIZE or size & (size - 1):
            raise ValueError(f"its size is {size}, not {cuda_attention.LEAST_SIZE} or another power of two")
        fused, shapes = cuda_attention.location_scores, ((3, 37, size), (3, size), (2, 3, 37), (size, 62), (1, size))
        off = difference(*(_of_stacked(each) for each in (fused, location_scores)), random_inputs(device, *shapes))
        problem = "" if off <= SCORES_TOLERANCE else f"its results are off by {off:.1g}"
    except Exception as error:  # whatever Triton, its compiler or the driver raises
        problem = f"{type(error).__name__}: {error}".partition("\n")[0]
    if problem:
        say_once(f"attention in one kernel is not available, so training and speaking are slower: {problem}")
    return location_scores if problem else where_on_gpu(fused, location_scores)


def _of_stacked(scores: Callable) -> Callable:
    """location_scores of weights (2, B, T) in one tensor, and filters small enough to leave tanh its slope."""
    return lambda keys, query, seen, location, score: scores(keys, query, tuple(seen.unbind()), location / 8, score)


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
