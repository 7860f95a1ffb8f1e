"""The sampling loop compiled for this CPU (numba): a frame of samples in one call that holds no lock, so that threads run
side by side. Imported by vocoder.compiled alone, where it is used: numba need not be installed.

R rows (folds side by side), n of them still busy, H rnn_dims, K inputs of a product, C outputs; arrays C-contiguous, float32.
"""
# numba derives the types from the calls
# ruff: noqa: ANN001, ANN201

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit

from utils.cpu import vectors
from utils.cpu.vectors import exp, keep, multiply, put, sigmoid, tanh, text_of

_vectorised = njit(nogil=True, fastmath=True, error_model="numpy")  # numpy: dividing raises nothing, which would be a branch
BLOCK = 16  # classes whose probabilities are summed before the drawn one is searched
MIN_LOG_SCALE = np.float32(np.log(1e-14))


class Weights(NamedTuple):
    """Packed matrices (panels, inputs, COLUMNS), see `pack`, and vectors float32."""

    h1_to_gates: np.ndarray
    x_to_gates2: np.ndarray
    h2_to_gates: np.ndarray
    to_hidden1: np.ndarray
    to_hidden2: np.ndarray
    to_output: np.ndarray
    h1_bias: np.ndarray  # (3 H,)
    h2_bias: np.ndarray
    output_bias: np.ndarray  # (C,)
    from_level: np.ndarray  # (4 H,): to x, to the gates of the first GRU


class Tables(NamedTuple):
    """As vocoder.loop.Tables."""

    mel: np.ndarray
    first: np.ndarray
    gates2: np.ndarray
    hidden1: np.ndarray
    hidden2: np.ndarray
    taps: np.ndarray


class Buffers(NamedTuple):
    """What a thread's rows carry from step to step, and room for what they do not."""

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


@_vectorised
def _frame(weights, tables, buffers, at, uniform, levels, n_mixtures):
    """One mel frame: at (n,) its row of the tables, uniform (n, hop, 2) in (0, 1] -> levels (n, hop), written in place.
    n_mixtures: 0 for classes."""
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
    """x and the first GRU's input product: what the conditioning gives to sample i of the frame, and the previous level."""
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
    """values (R, .) += table[at], as wide as the table."""
    for row in range(len(at)):
        more, to = table[at[row]], values[row]
        for j in range(len(more)):
            to[j] += more[j]


@_vectorised
def gru(buffers, h, h_in, bias, n):
    """The next state h from the products of input and state (gates in the order reset, update, new), and x += h.

    One short loop after another, each on few arrays: so the compiler makes vector code of them.
    """
    n_h = h.shape[1]
    for row in range(n):
        gates, more = buffers.gates[row, : 2 * n_h], buffers.state_gates[row, : 2 * n_h]
        for j in range(2 * n_h):
            gates[j] = sigmoid(gates[j] + more[j] + bias[j])
        new, state_new = buffers.gates[row, 2 * n_h :], buffers.state_gates[row, 2 * n_h :]
        for j in range(n_h):
            state_new[j] = gates[j] * (state_new[j] + bias[2 * n_h + j])
        for j in range(n_h):
            new[j] = tanh(new[j] + state_new[j])
        state, update, x = h[row], gates[n_h:], buffers.x[row]
        for j in range(n_h):
            state[j] = new[j] + update[j] * (state[j] - new[j])
        for j in range(n_h):
            x[j] += state[j]
        for j in range(n_h):
            put(h_in, row, j, state[j])
        for j in range(n_h):
            put(buffers.x_in, row, j, x[j])


@_vectorised
def rectify(hidden, table, at, to):
    """to = relu(hidden + table[at]), as wide as the table."""
    for row in range(len(at)):
        more, values = table[at[row]], hidden[row]
        for j in range(len(more)):
            put(to, row, j, max(values[j] + more[j], np.float32(0)))


@_vectorised
def draw(logits, uniform, masses):
    """The class where the cumulative probabilities pass `uniform`; masses has room for them and for BLOCK more."""
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
    return last  # by rounding, something may be left after the last class that has a probability


@_vectorised
def draw_logistic(outputs, uniform, masses, n_mixtures):
    """A level from a mixture of logistics: as LogisticMixture.sample."""
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
