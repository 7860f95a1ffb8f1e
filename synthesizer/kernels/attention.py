"""What a training step does to the attention, compiled by numba: one pass over memory instead of one for each operation.

Shapes: B utterances, T characters, A size of the attention, E channels of what it reads, K taps of each of N location filters.
Arrays are float32; those called rounded may be of either kind (synthesizer.kernels.arithmetic).
"""
# numba derives the types from the calls
# ruff: noqa: ANN001, ANN201

import numpy as np
from numba import njit

from synthesizer.kernels.arithmetic import SUMS, load, rounded
from utils.cpu.bf16 import OPTIONS, f32
from utils.cpu.vectors import exp, tanh


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
