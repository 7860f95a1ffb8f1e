"""Sampling compiled for this CPU by numba. One call makes a mel frame of samples and holds no lock, so rows are shared out
among threads.

R rows of a thread, n of them still busy, S frames of the tables, H rnn_dims, K inputs of a product, C outputs of the
distribution. Arrays are C-contiguous and float32.
"""
# numba derives the types from the calls
# ruff: noqa: ANN001

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from utils.cpu import vectors
from utils.cpu.vectors import HAS_BF16, exp, gru_step, keep, multiply, put, text_of
from vocoder.model import WaveRNN
from vocoder.tables import Matrices, filter_taps, prepare, split

__all__ = ["HAS_BF16", "CompiledSampler"]

_vectorised = njit(nogil=True, fastmath=True, error_model="numpy")  # numpy: no check for zero, which would be a branch
BLOCK = 16  # classes whose probabilities are summed before the drawn one is searched
MIN_LOG_SCALE = np.float32(np.log(1e-14))


class Weights(NamedTuple):
    """Packed matrices (panels, inputs, COLUMNS), see vectors.pack, and vectors in float32."""

    h1_to_gates: np.ndarray
    x_to_gates2: np.ndarray
    h2_to_gates: np.ndarray
    to_hidden1: np.ndarray
    to_hidden2: np.ndarray
    to_output: np.ndarray
    h1_bias: np.ndarray  # (3 H,)
    h2_bias: np.ndarray
    output_bias: np.ndarray  # (C,)
    from_level: np.ndarray  # (4 H,): to x, and to the gates of the first GRU


class Tables(NamedTuple):
    """As vocoder.tables.Tables, all windows below each other: (R S, .)"""

    mel: np.ndarray
    first: np.ndarray
    gates2: np.ndarray
    hidden1: np.ndarray
    hidden2: np.ndarray
    taps: np.ndarray


class Buffers(NamedTuple):
    """A thread's rows: their state, and space for a step."""

    level: np.ndarray  # (R,)
    h1: np.ndarray  # (R, H)
    h2: np.ndarray
    x: np.ndarray
    h1_in: np.ndarray  # (R, K), as the products read it
    h2_in: np.ndarray
    x_in: np.ndarray
    hidden1_in: np.ndarray
    hidden2_in: np.ndarray
    gates: np.ndarray  # (R, columns of 3 H)
    state_gates: np.ndarray
    hidden: np.ndarray  # (R, columns of fc_dims)
    outputs: np.ndarray  # (R, columns of C)
    masses: np.ndarray  # (C + BLOCK,)


class CompiledSampler:
    """See vocoder.sampling.Sampler.

    bf16: weights and inputs of the recurrent products are bfloat16, which HAS_BF16 must allow. Sums, states, gates and the
    conditioning are float32 all the same.
    """

    def __init__(self, model: WaveRNN, bf16: bool):
        self._model = model
        self._n_threads = torch.get_num_threads()
        self.width = vectors.TILE_ROWS * max(2, self._n_threads)
        self._matrices, self._taps = split(model), filter_taps(model)
        self._weights = _pack(self._matrices, bf16)
        self._n_mixtures = 0 if model.config.mode == "RAW" else model.config.n_mixtures

    def start(self, n_rows: int) -> None:
        self._threads = [slice(i, n_rows, self._n_threads) for i in range(min(n_rows, self._n_threads))]
        self._buffers = [_buffers(self._weights, len(range(n_rows)[rows])) for rows in self._threads]

    @torch.inference_mode()
    def load(self, windows: np.ndarray) -> None:
        *tables, taps = prepare(self._model, self._matrices, self._taps, torch.as_tensor(windows))
        self._stride = tables[0].size(1)
        self._tables = Tables(*(_array(table.flatten(0, 1)) for table in tables), _array(taps))

    def frames(self, place: int, uniform: np.ndarray) -> np.ndarray:
        levels = np.empty(uniform.shape[:2], np.float32)
        at, hop = np.arange(len(levels)) * self._stride + place, len(self._tables.taps)

        def work(thread: int) -> None:
            rows = self._threads[thread]
            if len(at[rows]):
                for k in range(uniform.shape[1] // hop):
                    samples = slice(k * hop, (k + 1) * hop)
                    levels[rows, samples] = self._frame(thread, at[rows] + k, np.ascontiguousarray(uniform[rows, samples]))

        if len(self._threads) == 1:
            work(0)
        else:
            with ThreadPoolExecutor(len(self._threads)) as pool:
                list(pool.map(work, range(len(self._threads))))
        return levels

    def _frame(self, thread: int, at: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        levels = np.empty(uniform.shape[:2], np.float32)
        frame(self._weights, self._tables, self._buffers[thread], at, uniform, levels, self._n_mixtures)
        return levels

    def teacher_forced(self, levels: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tables, n_outputs = self._tables, len(self._weights.output_bias)
        outputs, drawn = np.empty((*levels.shape, n_outputs), np.float32), np.empty_like(levels)
        for i in range(levels.shape[1]):
            for rows, buffers in zip(self._threads, self._buffers, strict=True):
                buffers.level[:] = levels[rows, i]
            self._tables = tables._replace(taps=tables.taps[i : i + 1])  # as if a frame had this sample alone
            drawn[:, i : i + 1] = self.frames(0, uniform[:, i : i + 1])
            for rows, buffers in zip(self._threads, self._buffers, strict=True):
                outputs[rows, i] = buffers.outputs[:, :n_outputs]
        self._tables = tables
        return outputs, drawn


def _pack(m: Matrices, bf16: bool) -> Weights:
    matrices = (m.h1_to_gates, m.x_to_gates2, m.h2_to_gates, m.to_hidden1, m.to_hidden2, m.to_output)
    packed = (vectors.pack(_array(matrix), bf16) for matrix in matrices)
    return Weights(*packed, *map(_array, (m.h1_bias, m.h2_bias, m.output_bias, m.level_to_first)))


def _buffers(w: Weights, n: int) -> Buffers:
    """Fresh buffers for n rows of one thread."""

    def inputs_of(packed: np.ndarray) -> np.ndarray:
        return np.zeros((n, packed.shape[1]), packed.dtype)

    def outputs_of(packed: np.ndarray) -> np.ndarray:
        return np.zeros((n, packed.shape[0] * packed.shape[2]), np.float32)

    h1, h2, x = (np.zeros((n, len(w.h1_bias) // 3), np.float32) for _ in range(3))
    return Buffers(
        level=np.zeros(n, np.float32),
        h1=h1,
        h2=h2,
        x=x,
        h1_in=inputs_of(w.h1_to_gates),
        h2_in=inputs_of(w.h2_to_gates),
        x_in=inputs_of(w.x_to_gates2),
        hidden1_in=inputs_of(w.to_hidden2),
        hidden2_in=inputs_of(w.to_output),
        gates=outputs_of(w.x_to_gates2),
        state_gates=outputs_of(w.h1_to_gates),
        hidden=max((outputs_of(w.to_hidden1), outputs_of(w.to_hidden2)), key=np.size),
        outputs=outputs_of(w.to_output),
        masses=np.zeros(len(w.output_bias) + BLOCK, np.float32),
    )


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy(), dtype=np.float32)


# ---- compiled


@_vectorised
def _frame(weights, tables, buffers, at, uniform, levels, n_mixtures):
    """One mel frame: its row in the tables at (n,), uniform (n, hop, 2) in (0, 1] -> levels (n, hop), written in place.
    n_mixtures is 0 for classes."""
    n = len(at)
    for i in range(levels.shape[1]):
        input_layer(weights, tables, buffers, at, i)
        multiply(buffers.h1_in, weights.h1_to_gates, buffers.state_gates, n)
        gru(buffers, buffers.h1, buffers.h1_in, weights.h1_bias, n)
        multiply(buffers.x_in, weights.x_to_gates2, buffers.gates, n)
        multiply(buffers.h2_in, weights.h2_to_gates, buffers.state_gates, n)
        add(buffers.gates, tables.gates2, at)
        gru(buffers, buffers.h2, buffers.h2_in, weights.h2_bias, n)
        multiply(buffers.x_in, weights.to_hidden1, buffers.hidden, n)
        rectify(buffers.hidden, tables.hidden1, at, buffers.hidden1_in)
        multiply(buffers.hidden1_in, weights.to_hidden2, buffers.hidden, n)
        rectify(buffers.hidden, tables.hidden2, at, buffers.hidden2_in)
        multiply(buffers.hidden2_in, weights.to_output, buffers.outputs, n)
        for row in range(n):
            outputs = buffers.outputs[row, : len(weights.output_bias)]
            for c in range(len(outputs)):
                outputs[c] += weights.output_bias[c]
            if n_mixtures:
                level = draw_logistic(outputs, uniform[row, i], buffers.masses, n_mixtures)
            else:
                level = np.float32(draw(outputs, uniform[row, i, 0], buffers.masses)) * np.float32(2 / (len(outputs) - 1)) - 1
            levels[row, i] = level
            buffers.level[row] = level


@_vectorised
def input_layer(weights, tables, buffers, at, i):
    """x and the first GRU's input gates for sample i of the frame: the conditioning, and the previous level."""
    n_x = buffers.x.shape[1]
    for row in range(len(at)):
        level = buffers.level[row]
        first, x, gates = tables.first[at[row]], buffers.x[row], buffers.gates[row]
        for j in range(n_x):
            x[j] = first[j] + level * weights.from_level[j]
        for j in range(3 * n_x):
            gates[j] = first[n_x + j] + level * weights.from_level[n_x + j]
        for k in range(tables.taps.shape[1]):
            tap = tables.taps[i, k]
            if tap != 0:
                mel = tables.mel[at[row] + k]
                for j in range(n_x):
                    x[j] += tap * mel[j]
                for j in range(3 * n_x):
                    gates[j] += tap * mel[n_x + j]


@_vectorised
def add(values, table, at):
    """values (R, .) += table[at]; values may be wider than the table."""
    for row in range(len(at)):
        more, to = table[at[row]], values[row]
        for j in range(len(more)):
            to[j] += more[j]


@_vectorised
def gru(buffers, h, h_in, bias, n):
    """The next state h from the gates' products with input and state (reset, update, new), and x += h."""
    for row in range(n):
        state, x = h[row], buffers.x[row]
        gru_step(buffers.gates[row], buffers.state_gates[row], bias, state)
        for j in range(len(state)):
            x[j] += state[j]
        for j in range(len(state)):
            put(h_in, row, j, state[j])
        for j in range(len(state)):
            put(buffers.x_in, row, j, x[j])


@_vectorised
def rectify(hidden, table, at, to):
    """to = relu(hidden + table[at]); hidden may be wider than the table."""
    for row in range(len(at)):
        more, values = table[at[row]], hidden[row]
        for j in range(len(more)):
            put(to, row, j, max(values[j] + more[j], np.float32(0)))


@_vectorised
def draw(logits, uniform, masses):
    """The class where the cumulative probability passes `uniform`; masses (C + BLOCK,) is space for the probabilities."""
    n_classes = len(logits)
    highest = logits[0]
    for c in range(n_classes):
        highest = max(highest, logits[c])
    for c in range(n_classes):
        masses[c] = exp(logits[c] - highest)
    for c in range(n_classes, n_classes + BLOCK):
        masses[c] = 0
    total = np.float32(0)
    for c in range(n_classes):
        total += masses[c]
    left, start = uniform * total, 0
    while start + BLOCK < n_classes:
        block = np.float32(0)
        for c in range(start, start + BLOCK):
            block += masses[c]
        if block >= left:
            break
        left -= block
        start += BLOCK
    chosen, last = start, start
    while chosen < n_classes:
        if masses[chosen] > 0:
            last = chosen
            left -= masses[chosen]
            if left <= 0:
                break
        chosen += 1
    return last  # rounding may leave something over after the last class with a probability


@_vectorised
def draw_logistic(outputs, uniform, masses, n_mixtures):
    """A level drawn from a mixture of logistics, as LogisticMixture.sample does."""
    chosen = draw(outputs[:n_mixtures], uniform[0], masses)
    log_scale = max(outputs[2 * n_mixtures + chosen], MIN_LOG_SCALE)
    spread = min(max(uniform[1], np.float32(1e-5)), np.float32(1 - 1e-5))
    level = outputs[n_mixtures + chosen] + np.exp(log_scale) * np.log(spread / (1 - spread))
    return np.float32(min(max(level, np.float32(-1)), np.float32(1)))


def _kept() -> Callable[..., None]:
    version = text_of(vectors)

    def frame(weights, tables, buffers, at, uniform, levels, n_mixtures):
        if version:
            _frame(weights, tables, buffers, at, uniform, levels, n_mixtures)

    return keep(frame)


frame = _kept()
