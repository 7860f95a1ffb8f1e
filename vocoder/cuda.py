"""On a CUDA GPU: sampling, with all steps of a mel frame as one CUDA graph, and training, with both GRUs at once."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from utils.cuda_cells import PLAIN, cells_for, sequence_for, where_on_gpu
from utils.cuda_graph import record
from vocoder.distribution import MuLaw
from vocoder.model import State as GRUStates
from vocoder.model import WaveRNN, in_turn
from vocoder.tables import filter_taps, prepare, split


class Inputs(NamedTuple):
    """A frame's conditioning and random numbers, row by row."""

    first: Tensor  # (hop, R, 4 H), for each sample; the next three are the same for all samples of the frame
    gates2: Tensor  # (R, 3 H)
    hidden1: Tensor  # (R, fc_dims)
    hidden2: Tensor  # (R, fc_dims)
    uniform: Tensor  # (hop, 2, R)


SIZES = (4, 24, 48, 96)  # rows of a graph; a launch takes about as long for all of them
ROW_DIMENSIONS = Inputs(first=1, gates2=0, hidden1=0, hidden2=0, uniform=2)


class State(NamedTuple):
    """What one sample passes to the next."""

    level: Tensor  # (R,), the sample before
    h1: Tensor  # (R, H)
    h2: Tensor


class Recorded(NamedTuple):
    """The tensors that a graph reads and writes in place."""

    inputs: Inputs
    state: State
    levels: Tensor  # (hop, R)
    replay: Callable[[], None]


class GraphSampler:
    """See vocoder.sampling.Sampler. Rows that have ended are computed until all have, and thrown away."""

    width = SIZES[-1]

    def __init__(self, model: WaveRNN):
        self._model, device = model, model.output.weight.device
        self._cell = cells_for(device).gru
        self._sample = _fused_draw(model, device) or model.distribution.sample
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None  # one graph is replayed at a time
        self._matrices, self._taps = split(model), filter_taps(model)
        self._recorded: dict[int, Recorded] = {}  # for each of SIZES

    @torch.inference_mode()
    def start(self, n_rows: int) -> None:
        size = next(size for size in (*SIZES, n_rows) if size >= n_rows)
        if size not in self._recorded:
            self._recorded[size] = self._record(size)
        self._now = self._recorded[size]
        for tensor in self._now.state:
            tensor.zero_()

    @torch.inference_mode()
    def load(self, windows: np.ndarray) -> None:
        windows = torch.as_tensor(windows, device=self._taps.device)
        self._tables = prepare(self._model, self._matrices, self._taps, windows)

    @torch.inference_mode()
    def frames(self, place: int, uniform: np.ndarray) -> np.ndarray:
        noise = self._noise(uniform).split(len(self._taps))
        levels = [self._frame(place + k, part) for k, part in enumerate(noise)]  # the host is a few frames ahead of the GPU
        return torch.cat(levels).t().cpu().numpy()

    def _frame(self, place: int, noise: Tensor) -> Tensor:
        n_rows = noise.size(2)
        for held, given, dim in zip(self._now.inputs, self._inputs(place, noise), ROW_DIMENSIONS, strict=True):
            held.narrow(dim, 0, n_rows).copy_(given)
        self._now.replay()
        return self._now.levels[:, :n_rows].clone()  # the next frame overwrites them

    def _noise(self, uniform: np.ndarray) -> Tensor:
        return torch.from_numpy(uniform).to(self._taps.device).permute(1, 2, 0)  # (samples, 2, n)

    def _inputs(self, place: int, noise: Tensor) -> Inputs:
        t, n = self._tables, noise.size(2)
        mel = t.mel[:n, place : place + t.taps.size(1)]  # (n, n_taps, 4 H)
        first = t.first[:n, place] + torch.einsum("ik,rkg->irg", t.taps, mel)
        return Inputs(first, t.gates2[:n, place], t.hidden1[:n, place], t.hidden2[:n, place], noise)

    def teacher_forced(self, levels: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inputs, (_, h1, h2) = self._inputs(0, self._noise(uniform)), (tensor[: len(levels)] for tensor in self._now.state)
        outputs, drawn = [], []
        for i, level in enumerate(torch.from_numpy(levels).to(h1).t()):
            each, h1, h2 = self._step(inputs.first[i], inputs, State(level, h1, h2))
            outputs.append(each)
            drawn.append(self._sample(each, inputs.uniform[i]))
        return torch.stack(outputs, dim=1).cpu().numpy(), torch.stack(drawn, dim=1).cpu().numpy()

    def _record(self, n: int) -> Recorded:
        m, hop, zeros = self._matrices, len(self._taps), self._matrices.level_to_first.new_zeros
        hidden1, hidden2 = (zeros(n, len(bias)) for bias in (m.hidden1_bias, m.hidden2_bias))
        inputs = Inputs(zeros(hop, n, len(m.first_bias)), zeros(n, len(m.gates2_bias)), hidden1, hidden2, zeros(hop, 2, n))
        state = State(zeros(n), zeros(n, len(m.h1_to_gates)), zeros(n, len(m.h1_to_gates)))
        levels = zeros(hop, n)

        def work() -> None:
            now, drawn = state, []
            for first, uniform in zip(inputs.first, inputs.uniform, strict=True):
                outputs, h1, h2 = self._step(first, inputs, now)
                now = State(self._sample(outputs, uniform), h1, h2)
                drawn.append(now.level)
            levels.copy_(torch.stack(drawn))
            for held, after in zip(state, now, strict=True):
                held.copy_(after)

        return Recorded(inputs, state, levels, record(work, zeros(0).device, self._pool))

    def _step(self, first: Tensor, frame: Inputs, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """first (R, 4 H) of this sample -> outputs (R, C), h1, h2"""
        m = self._matrices
        x, gates1 = torch.addcmul(first, state.level.unsqueeze(-1), m.level_to_first).tensor_split([state.h1.size(1)], dim=-1)
        h1 = self._cell(gates1, torch.addmm(m.h1_bias, state.h1, m.h1_to_gates), state.h1)
        x = x + h1
        h2 = self._cell(torch.addmm(frame.gates2, x, m.x_to_gates2), torch.addmm(m.h2_bias, state.h2, m.h2_to_gates), state.h2)
        x = x + h2
        x = torch.addmm(frame.hidden1, x, m.to_hidden1).relu_()
        x = torch.addmm(frame.hidden2, x, m.to_hidden2).relu_()
        return torch.addmm(m.output_bias, x, m.to_output), h1, h2


def _fused_draw(model: WaveRNN, device: torch.device) -> Callable[[Tensor, Tensor], Tensor] | None:
    """The distribution's `sample` as one kernel, for classes, if it draws the same; it may miss one by rounding."""
    if type(model.distribution) is not MuLaw or cells_for(device) is PLAIN:
        return None
    from utils.cuda_kernels import draw

    own, n = torch.Generator(device).manual_seed(0), model.distribution.n_outputs
    logits = 4 * torch.randn(500, n, generator=own, device=device)
    uniform = 1 - torch.rand(2, 500, generator=own, device=device)
    off = (draw(logits, uniform[0]) - model.distribution.sample(logits, uniform)).abs()
    fits = off.max() <= 2.5 / (n - 1) and (off < 1e-6).float().mean() > 0.99
    return (lambda outputs, uniform: draw(outputs, uniform[0])) if fits else None


# ---- training


PIECES = 8  # of the samples; with more, the two GRUs wait less for each other, and the GPU starts more kernels


def fuse(model: WaveRNN) -> None:
    """Let each GRU be one kernel, or both work at the same time. A recurrence that somebody has changed stays."""
    if model.recurrence is in_turn:
        sequence = sequence_for(model.output.weight.device, model.config.rnn_dims)
        model.recurrence = where_on_gpu(functools.partial(fused, sequence) if sequence else overlapped, in_turn)


def fused(
    sequence: Callable, gru1: nn.GRU, gru2: nn.GRU, x: Tensor, aux: Tensor, state: GRUStates | None
) -> tuple[Tensor, GRUStates]:
    """in_turn, with utils.cuda_gru.run for each GRU; in float32 `overlapped`."""
    if not torch.is_autocast_enabled(x.device.type):
        return overlapped(gru1, gru2, x, aux, state)
    return in_turn(functools.partial(sequence, gru1), functools.partial(sequence, gru2), x, aux, state)


def overlapped(gru1: nn.GRU, gru2: nn.GRU, x: Tensor, aux: Tensor, state: GRUStates | None) -> tuple[Tensor, GRUStates]:
    """in_turn, on two streams: the second GRU reads a piece of the samples while the first one writes the next."""
    (h1, h2), streams, outputs = state or (None, None), TwoStreams(x.device), []
    for piece, context in zip(x.chunk(PIECES), aux.chunk(PIECES), strict=True):
        residual, h1 = gru1(piece, h1)
        piece = piece + residual
        with streams.second(piece, context):
            residual, h2 = gru2(torch.cat([piece, context], dim=-1), h2)
            outputs.append(piece + residual)
    streams.join(*outputs, h2)
    return torch.cat(outputs), (h1, h2)


class TwoStreams:
    """The current stream of a device and another one. Memory that one reads is not given away while the other writes it."""

    def __init__(self, device: torch.device) -> None:
        self._first, self._second = torch.cuda.current_stream(device), _stream_beside(device)

    @contextlib.contextmanager
    def second(self, *read: Tensor) -> Iterator[None]:
        """Work on the second stream, which reads what the first has written until now."""
        self._second.wait_stream(self._first)
        for each in read:
            each.record_stream(self._second)
        with torch.cuda.stream(self._second):
            yield

    def join(self, *written: Tensor) -> None:
        """Let the first stream wait for what the second has written."""
        self._first.wait_stream(self._second)
        for each in written:
            each.record_stream(self._first)


@functools.cache
def _stream_beside(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
