"""The decoder's loop as numba compiles it: several steps in one call that holds no lock. Threads share out the rows of small
products and the columns of large ones, so that all cores read the LSTMs' weights.

B utterances (rows), T characters, A attention_size, E encoder channels, C decoder_size, K inputs of a product; arrays are
C-contiguous, and float32 unless said otherwise.
"""
# numba derives the types from the calls
# ruff: noqa: ANN001, ANN201

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit

from utils.cpu import threads, vectors
from utils.cpu.threads import meet
from utils.cpu.vectors import COLUMNS, exp, gru_step, keep, multiply_panel, put, sigmoid, tanh, text_of

# Without "nnan", so that NaN passes through: a broken model must not sound like speech.
_vectorised = njit(nogil=True, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")
UNITS = COLUMNS // 4  # LSTM units in a panel, with their four gates side by side
ZERO = np.float32(0)


class Weights(NamedTuple):
    """Packed matrices (panels, K, COLUMNS), see utils.cpu.vectors.pack, and vectors."""

    prenet1: np.ndarray
    prenet1_bias: np.ndarray
    prenet2: np.ndarray
    prenet2_bias: np.ndarray
    query: np.ndarray  # pre-net and context -> the GRU's gates (3 A)
    query_bias: np.ndarray
    query_hidden: np.ndarray  # the GRU's hidden state -> gates (3 A)
    query_hidden_bias: np.ndarray
    attention_query: np.ndarray
    attention_query_bias: np.ndarray
    location: np.ndarray  # (1 or 2 kinds of weights seen, kernel, A)
    score: np.ndarray  # (A,)
    join: np.ndarray  # context and hidden -> C
    join_bias: np.ndarray
    lstm1: np.ndarray  # input and hidden (2 C) -> gates, in panels of UNITS units
    lstm1_bias: np.ndarray
    lstm2: np.ndarray
    lstm2_bias: np.ndarray
    frames: np.ndarray  # C -> r n_mels
    stop: np.ndarray  # (C + E,)
    stop_bias: np.ndarray  # (1,)


class Text(NamedTuple):
    """What the attention reads."""

    keys: np.ndarray  # (B, T, A)
    values: np.ndarray  # (B, T, E)
    lengths: np.ndarray  # (B,) int64


class Buffers(NamedTuple):
    """State that passes from step to step, and scratch space. Each LSTM has two inputs, x and hidden state side by side: a step
    reads one while it writes the next hidden state into the other."""

    frame: np.ndarray  # (B, n_mels)
    prenet: np.ndarray  # (B, sizes[0])
    query_in: np.ndarray  # (B, sizes[1] + E)
    hidden: np.ndarray  # (B, A) of the GRU
    context: np.ndarray  # (B, E)
    seen: np.ndarray  # (1 or 2, B, T + kernel - 1): cumulative weights, after the last step's if it sees both; zero-padded
    energies: np.ndarray  # (B, A), of one character at a time
    join_in: np.ndarray  # (B, K)
    x: np.ndarray  # (B, C filled up to whole panels)
    lstm1_in: np.ndarray  # (2, B, K)
    lstm2_in: np.ndarray
    cell1: np.ndarray  # (B, as x)
    cell2: np.ndarray
    frames_in: np.ndarray  # (B, C)
    sums1: np.ndarray  # (B, columns of the widest small product)
    sums2: np.ndarray
    gates: np.ndarray  # (B, columns of an LSTM)


class Outputs(NamedTuple):
    """Of n steps."""

    mel: np.ndarray  # (n, B, r n_mels)
    stop: np.ndarray  # (n, B)
    attention: np.ndarray  # (n, B, T)


@_vectorised
def _speak(weights, text, buffers, noise, outputs, first_step, thread, n_threads, met):
    """len(noise) steps from `first_step` on. All n_threads threads call it with the same arguments but their own `thread`.
    noise (n, B, both layers): factors of the pre-net's dropout. met: (1,) int64, 0, see utils.cpu.threads.meet."""
    w, b = weights, buffers
    B, n_meetings = len(b.x), 0
    first, last = thread * B // n_threads, (thread + 1) * B // n_threads
    for step in range(len(noise)):
        now = (first_step + step) % 2
        if last > first:
            query_step(w, b, noise[step], first, last)
            for row in range(first, last):
                attend(w, text, b, outputs.attention[step, row], row)
        n_meetings = meet(met, n_meetings, n_threads)
        join(w, b, now, thread, n_threads)
        n_meetings = meet(met, n_meetings, n_threads)
        lstm(w.lstm1, w.lstm1_bias, b, b.cell1, b.lstm1_in, now, b.lstm2_in[now], thread, n_threads)
        n_meetings = meet(met, n_meetings, n_threads)
        lstm(w.lstm2, w.lstm2_bias, b, b.cell2, b.lstm2_in, now, b.frames_in, thread, n_threads)
        n_meetings = meet(met, n_meetings, n_threads)
        if last > first:
            frames(w, b, outputs.mel[step], outputs.stop[step], first, last)


@_vectorised
def multiply_rows(a, b, c, first, last):
    """c[first:last] = a[first:last] @ b"""
    for panel in range(b.shape[0]):
        multiply_panel(a, b, panel, c, first, last)


@_vectorised
def query_step(weights, buffers, noise, first, last):
    """The pre-net and the GRU that queries the attention."""
    n1, n2, A = len(weights.prenet1_bias), len(weights.prenet2_bias), buffers.hidden.shape[1]
    multiply_rows(buffers.frame, weights.prenet1, buffers.sums1, first, last)
    for row in range(first, last):
        dropout(buffers.sums1[row], weights.prenet1_bias, noise[row, :n1], buffers.prenet[row])
    multiply_rows(buffers.prenet, weights.prenet2, buffers.sums1, first, last)
    for row in range(first, last):
        dropout(buffers.sums1[row], weights.prenet2_bias, noise[row, n1:], buffers.query_in[row])
        buffers.query_in[row, n2:] = buffers.context[row]
    multiply_rows(buffers.query_in, weights.query, buffers.sums1, first, last)
    multiply_rows(buffers.hidden, weights.query_hidden, buffers.sums2, first, last)
    for row in range(first, last):
        for j in range(3 * A):
            buffers.sums1[row, j] += weights.query_bias[j]
        gru_step(buffers.sums1[row], buffers.sums2[row], weights.query_hidden_bias, buffers.hidden[row])
        for j in range(A):
            put(buffers.join_in, row, buffers.context.shape[1] + j, buffers.hidden[row, j])
    multiply_rows(buffers.hidden, weights.attention_query, buffers.sums1, first, last)


@_vectorised
def dropout(sums, bias, noise, to):
    """to = ReLU(sums + bias) with dropout"""
    for j in range(len(bias)):
        to[j] = max(sums[j] + bias[j], ZERO) * noise[j]


@_vectorised
def attend(weights, text, buffers, attention, row):
    """Location-sensitive attention of one row: writes its weights `attention` (T,) and its context."""
    A, T = len(weights.score), text.lengths[row]
    query, energies, seen = buffers.sums1[row], buffers.energies[row], buffers.seen[:, row]
    for j in range(A):
        query[j] += weights.attention_query_bias[j]
    for t in range(T):
        attention[t] = score(weights, text.keys[row, t], query, seen, t, energies)
    softmax(attention[:T])
    attention[T:] = 0
    around, n_seen = weights.location.shape[1] // 2, len(seen)
    for t in range(T):
        seen[n_seen - 1, around + t] += attention[t]
    if n_seen == 2:
        seen[0, around : around + T] = attention[:T]
    context = buffers.context[row]
    context[:] = 0
    for t in range(T):
        value, weight = text.values[row, t], attention[t]
        for j in range(len(context)):
            context[j] += weight * value[j]
    for j in range(len(context)):
        put(buffers.join_in, row, j, context[j])


@_vectorised
def score(weights, key, query, seen, t, energies):
    """The score of character t."""
    A = len(energies)
    for j in range(A):
        energies[j] = key[j] + query[j]
    for i in range(weights.location.shape[0]):
        for k in range(weights.location.shape[1]):
            weight = seen[i, t + k]
            if weight != 0:  # most of the text has not been attended to yet
                filtered = weights.location[i, k]
                for j in range(A):
                    energies[j] += weight * filtered[j]
    for j in range(A):
        energies[j] = tanh(energies[j])
    total = ZERO
    for j in range(A):
        total += weights.score[j] * energies[j]
    return total


@_vectorised
def softmax(scores):
    highest, total = scores[0], ZERO
    for t in range(len(scores)):
        highest = max(highest, scores[t])
    for t in range(len(scores)):
        scores[t] = exp(scores[t] - highest)
    for t in range(len(scores)):
        total += scores[t]
    for t in range(len(scores)):
        scores[t] /= total


@_vectorised
def join(weights, buffers, now, thread, n_threads):
    """x from the context and the GRU's hidden state: this thread's share of the columns."""
    n_panels, C = len(weights.join), len(weights.join_bias)
    for panel in range(thread * n_panels // n_threads, (thread + 1) * n_panels // n_threads):
        multiply_panel(buffers.join_in, weights.join, panel, buffers.gates, 0, len(buffers.x))
        for row in range(len(buffers.x)):
            for j in range(panel * COLUMNS, min((panel + 1) * COLUMNS, C)):
                value = buffers.gates[row, j] + weights.join_bias[j]
                buffers.x[row, j] = value
                put(buffers.lstm1_in[now], row, j, value)


@_vectorised
def lstm(packed, bias, buffers, cells, inputs, now, to, thread, n_threads):
    """x += LSTM(x), written to `to` as well, and the next hidden state: this thread's share of the units."""
    n_panels, C = len(packed), buffers.frames_in.shape[1]
    following = inputs[1 - now]
    for panel in range(thread * n_panels // n_threads, (thread + 1) * n_panels // n_threads):
        multiply_panel(inputs[now], packed, panel, buffers.gates, 0, len(buffers.x))
        columns, units = slice(panel * COLUMNS, (panel + 1) * COLUMNS), slice(panel * UNITS, (panel + 1) * UNITS)
        n = min(UNITS, C - panel * UNITS)
        for row in range(len(buffers.x)):
            gates, x = buffers.gates[row, columns], buffers.x[row, units]
            lstm_step(gates, bias[columns], cells[row, units])
            for j in range(n):
                x[j] += gates[j]
                put(following, row, C + panel * UNITS + j, gates[j])
                put(to, row, panel * UNITS + j, x[j])


@_vectorised
def lstm_step(gates, bias, cell):
    """cell (UNITS,) becomes the next cell, gates[:UNITS] the hidden state. Gates (COLUMNS,): input, forget, cell, output."""
    for j in range(COLUMNS):
        gates[j] += bias[j]
    for j in range(UNITS):
        i, f, g, o = gates[j], gates[UNITS + j], gates[2 * UNITS + j], gates[3 * UNITS + j]
        c = sigmoid(f) * cell[j] + sigmoid(i) * tanh(g)
        cell[j] = c
        gates[j] = sigmoid(o) * tanh(c)


@_vectorised
def frames(weights, buffers, mel, stop, first, last):
    """The step's frames and stop logits. The next step sees the last frame."""
    C, n_mels = len(weights.join_bias), buffers.frame.shape[1]
    multiply_rows(buffers.frames_in, weights.frames, buffers.sums1, first, last)
    for row in range(first, last):
        mel[row] = buffers.sums1[row, : mel.shape[1]]
        buffers.frame[row] = mel[row, mel.shape[1] - n_mels :]
        x, context, logit = buffers.x[row], buffers.context[row], weights.stop_bias[0]
        for j in range(C):
            logit += weights.stop[j] * x[j]
        for j in range(len(context)):
            logit += weights.stop[C + j] * context[j]
        stop[row] = logit


def _cached() -> Callable[..., None]:
    version = text_of(vectors, threads)  # numba compiles anew when those files have changed

    def speak(weights, text, buffers, noise, outputs, first_step, thread, n_threads, met):
        if version:
            _speak(weights, text, buffers, noise, outputs, first_step, thread, n_threads, met)

    return keep(speak)


speak = _cached()
