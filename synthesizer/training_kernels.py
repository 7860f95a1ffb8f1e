"""What a training step of the decoder does to single numbers, compiled by numba: one pass over memory instead of one for each
operation.

Shapes: B utterances, T characters, A size of the attention, E channels of what it reads, K taps of each location filter.
Arrays are float32; those called rounded may be bfloat16 instead, as their 16 bits (uint16), where products are made in it.
"""
# numba derives the types from the calls
# ruff: noqa: ANN001, ANN201

import numpy as np
from numba import njit, types
from numba.extending import overload

from utils.bf16 import OPTIONS, f32, from_bf16, i32, to_bf16

SUMS = {**OPTIONS, "fastmath": {"contract", "reassoc"}}  # sums in any order, as vector code needs; NaN still passes through
LOG2_E, LN_2 = f32(1.4426950408889634), f32(0.6931471805599453)
ROUNDER = f32(1.5 * 2**23)  # a sum with it has no digits behind the point left, and its lowest bits are those of the integer
LARGEST = f32(40)  # from where exp is as good as 0 or infinite here: the sigmoid and tanh of more are 1 in float32


@njit(inline="always", **OPTIONS)
def exp(x):
    """Of numbers within +-LARGEST, and of others as of the nearest of these; relative error under 1e-6."""
    x = LARGEST if x > LARGEST else x
    x = -LARGEST if x < -LARGEST else x
    rounded = f32(x * LOG2_E + ROUNDER)
    r = x - (rounded - ROUNDER) * LN_2  # x is r plus n times ln 2, |r| < 0.35
    series = f32(1 / 6) + r * (f32(1 / 24) + r * (f32(1 / 120) + r * f32(1 / 720)))
    two_to_the_n = i32((rounded.view(np.int32) << i32(23)) + i32(127 << 23)).view(np.float32)
    return two_to_the_n * (f32(1) + r * (f32(1) + r * (f32(0.5) + r * series)))


@njit(inline="always", **OPTIONS)
def sigmoid(x):
    """Within 1e-6."""
    return f32(1) / (f32(1) + exp(-x))


@njit(inline="always", **OPTIONS)
def tanh(x):
    """Within 1e-6."""
    return f32(1) - f32(2) / (f32(1) + exp(f32(2) * x))


def load(x):
    """A number of a rounded array as float32."""


def rounded(x, like):
    """A float32 as a number of the rounded array that `like` is from."""


@overload(load, inline="always")
def _load(x):
    return (lambda x: from_bf16(x)) if x == types.uint16 else (lambda x: x)


@overload(rounded, inline="always")
def _rounded(x, like):
    return (lambda x, like: to_bf16(x)) if like == types.uint16 else (lambda x, like: x)


@njit(**OPTIONS)
def cell_forward(query, of_context, of_hidden, gates, new_recurrent, before, after):
    """A GRU's step: query (B, 3 A) of the frame, and the products of context and hidden state, (B, 3 A) both rounded, ->
    gates (B, 3 A) after sigmoids and tanh (reset, update, new), what the reset gate lets through (B, A), and the next
    state (B, A)."""
    B, A = before.shape
    for b in range(B):
        reset, update, new = gates[b, :A], gates[b, A : 2 * A], gates[b, 2 * A :]
        reset_q, update_q, new_q = query[b, :A], query[b, A : 2 * A], query[b, 2 * A :]
        reset_c, update_c, new_c = of_context[b, :A], of_context[b, A : 2 * A], of_context[b, 2 * A :]
        reset_h, update_h, new_h = of_hidden[b, :A], of_hidden[b, A : 2 * A], of_hidden[b, 2 * A :]
        last, state, kept = before[b], after[b], new_recurrent[b]
        for j in range(A):
            r = sigmoid(reset_q[j] + load(reset_c[j]) + load(reset_h[j]))
            z = sigmoid(update_q[j] + load(update_c[j]) + load(update_h[j]))
            n = tanh(new_q[j] + load(new_c[j]) + r * load(new_h[j]))
            state[j] = n + z * (last[j] - n)
            kept[j] = load(new_h[j])
            reset[j], update[j], new[j] = r, z, n


@njit(**OPTIONS)
def cell_backward(gates, new_recurrent, before, above, through, d_state, d_input, d_recurrent):
    """The gradients of cell_forward: above (B, A) of the next state from what uses it, through (B, A) from the attention's
    query, rounded, d_state (B, A) from the step after, which is moved a step back but for the product with the state's weights
    -> d_input (B, 3 A) of query and the context's product, d_recurrent (B, 3 A) of the state's product."""
    B, A = d_state.shape
    for b in range(B):
        for j in range(A):
            r, z, n = j, A + j, 2 * A + j
            reset, update, new = gates[b, r], gates[b, z], gates[b, n]
            d = d_state[b, j] + above[b, j] + load(through[b, j])
            d_new = d * (f32(1) - update) * (f32(1) - new * new)
            d_update = d * (before[b, j] - new) * update * (f32(1) - update)
            d_reset = d_new * new_recurrent[b, j] * reset * (f32(1) - reset)
            d_state[b, j] = d * update
            d_input[b, r], d_input[b, z], d_input[b, n] = d_reset, d_update, d_new
            d_recurrent[b, r], d_recurrent[b, z], d_recurrent[b, n] = d_reset, d_update, d_new * reset


@njit(**SUMS)
def attend_forward(location, keys, query, score, lengths, values, energies, weights, seen, context):
    """Location-sensitive attention from the product of its filters on, location (B, T, A): with keys (B, T, A) and query (B, A)
    -> energies (B, T, A) after their tanh; all four rounded, as values (B, T, E) are.

    score (A,) gives the weights (B, T) of the first lengths (B,) characters, and these the context (B, E). seen (1, B, T), the
    sum of all weights so far, or (2, B, T), the last weights and that sum, is moved on.
    """
    B, _, A = energies.shape
    asked = np.empty(A, np.float32)
    for b in range(B):
        for j in range(A):
            asked[j] = load(query[b, j])
        highest = f32(-np.inf)
        for t in range(lengths[b]):
            of_location, key, row = location[b, t], keys[b, t], energies[b, t]
            total = f32(0)
            for j in range(A):
                energy = tanh(load(of_location[j]) + load(key[j]) + asked[j])
                row[j] = rounded(energy, row[j])
                total += energy * score[j]
            weights[b, t] = total
            highest = max(highest, total)
        normalize(weights[b], lengths[b], highest)
        if len(seen) == 2:
            seen[0, b] = weights[b]
        seen[-1, b] += weights[b]
        context[b] = 0
        for t in range(lengths[b]):
            add_scaled(context[b], weights[b, t], values[b, t])


@njit(inline="always", **SUMS)
def normalize(weights, length, highest):
    """Scores (T,), the highest of which is given, -> their softmax over the first `length`, in place."""
    total = f32(0)
    for t in range(length):
        weights[t] = exp(weights[t] - highest)
        total += weights[t]
    for t in range(length):
        weights[t] /= total
    weights[length:] = 0


@njit(inline="always", **SUMS)
def add_scaled(total, factor, row):
    """total += factor * row, which is rounded"""
    for j in range(len(total)):
        total[j] += factor * load(row[j])


@njit(**SUMS)
def attend_backward(energies, weights, values, score, lengths, above, d_seen, d_context, d_keys, d_score, d_query):
    """The gradients of attend_forward: energies (B, T, A) as it left them -> their gradient before the tanh, in place, rounded
    as values (B, T, E) are.

    above (B, T) is the gradient of the weights from what uses them, d_seen (1 or 2, B, T) that of what the next step sees,
    d_context (B, E) that of the context. d_keys (B, T, A) and d_score (A,) are added to, d_query (B, A) is written.
    """
    B, T, A = energies.shape
    d_weights = np.empty(T, np.float32)
    for b in range(B):
        mean = f32(0)
        for t in range(lengths[b]):
            d_weights[t] = above[b, t] + d_seen[-1, b, t] + dot(d_context[b], values[b, t])
            if len(d_seen) == 2:
                d_weights[t] += d_seen[0, b, t]
            mean += d_weights[t] * weights[b, t]
        if len(d_seen) == 2:
            d_seen[0, b] = 0  # only the next step sees the last weights, but all of them see their sum
        d_query[b] = 0
        for t in range(lengths[b]):
            d = weights[b, t] * (d_weights[t] - mean)
            row, of_key = energies[b, t], d_keys[b, t]
            for j in range(A):
                energy = load(row[j])
                d_energy = d * score[j] * (f32(1) - energy * energy)
                d_score[j] += d * energy
                of_key[j] += d_energy
                d_query[b, j] += d_energy
                row[j] = rounded(d_energy, row[j])
        energies[b, lengths[b] :] = 0


@njit(inline="always", **SUMS)
def dot(whole, row):
    """The sum of whole * row, which is rounded"""
    total = f32(0)
    for j in range(len(whole)):
        total += whole[j] * load(row[j])
    return total


@njit(**OPTIONS)
def unfold(seen, around):
    """(N, B, T) -> rounded (B, T, N, K): each character with its neighbours, 0 past the ends"""
    B, T, N, K = around.shape
    for b in range(B):
        for t in range(T):
            first = t - K // 2
            for i in range(N):
                row, of = around[b, t, i], seen[i, b]
                for k in range(K):
                    at = first + k
                    row[k] = rounded(of[at] if 0 <= at < T else f32(0), row[k])


@njit(**OPTIONS)
def fold(d_around, d_seen):
    """The gradient of unfold: rounded (B, T, N, K) is added to (N, B, T)"""
    B, T, N, K = d_around.shape
    padded = np.empty(T + K - 1, np.float32)
    for b in range(B):
        for i in range(N):
            padded[:] = 0
            for t in range(T):
                row, total = d_around[b, t, i], padded[t : t + K]
                for k in range(K):
                    total[k] += load(row[k])
            d_seen[i, b] += padded[K // 2 : K // 2 + T]
