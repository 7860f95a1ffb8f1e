"""Batch norm over the real positions alone, with the ReLU before it and the max-pooling after it, compiled by numba.

Shapes: B sequences, C channels, T positions. Sequences x and y, and their gradients, are rounded
(synthesizer.kernels.arithmetic), the rest float32. Each function does the channels `first` to `last`, so that threads can
share them.
"""
# numba derives the types from the calls
# ruff: noqa: ANN001, ANN201

import numpy as np
from numba import njit

from synthesizer.kernels.arithmetic import SUMS, load, rounded
from utils.cpu.bf16 import f32


@njit(inline="always", **SUMS)
def _read(x, relu, n, row):
    """row (T,) = x (T,), after a ReLU if asked, at its first n positions"""
    for t in range(n):
        value = load(x[t])
        row[t] = f32(0) if relu and value < f32(0) else value


@njit(**SUMS)
def moments(x, lengths, relu, mean, variance, first, last):
    """x (B, C, T) and lengths (B,) -> mean and variance (C,)"""
    B, _, T = x.shape
    row, n = np.empty(T, np.float32), lengths.sum()
    for c in range(first, last):
        sum_of_rows = 0.0
        for b in range(B):
            _read(x[b, c], relu, lengths[b], row)
            total = f32(0)
            for t in range(lengths[b]):
                total += row[t]
            sum_of_rows += total
        mean[c] = sum_of_rows / n
        sum_of_rows = 0.0
        for b in range(B):
            _read(x[b, c], relu, lengths[b], row)
            total = f32(0)
            for t in range(lengths[b]):
                total += (row[t] - mean[c]) ** 2
            sum_of_rows += total
        variance[c] = sum_of_rows / n


@njit(**SUMS)
def normalize(x, lengths, relu, pool, mean, scale, bias, y, offset, first, last):
    """Writes y (B, channels, T) from channel `offset` on; 0 at the padding. pool: each position becomes the larger of itself
    and the one before it."""
    B, _, T = x.shape
    row = np.empty(T, np.float32)
    for c in range(first, last):
        for b in range(B):
            n, out = lengths[b], y[b, offset + c]
            _read(x[b, c], relu, n, row)
            for t in range(n):
                row[t] = (row[t] - mean[c]) * scale[c] + bias[c]
            if n > 0:
                out[0] = rounded(row[0], out[0])
            for t in range(1, n):
                value = max(row[t - 1], row[t]) if pool else row[t]
                out[t] = rounded(value, out[t])
            out[n:] = 0


@njit(inline="always", **SUMS)
def _read_gradient(d_y, row, scale, pool, n, d_row):
    """d_row (T,) = d_y (T,), which the pooling hands to the larger one; row (T,) as _read left it"""
    for t in range(n):
        d_row[t] = load(d_y[t])
    if pool:
        for t in range(n - 1):
            mine = d_row[t] if t == 0 or row[t] * scale > row[t - 1] * scale else f32(0)
            later = f32(0) if row[t + 1] * scale > row[t] * scale else load(d_y[t + 1])
            d_row[t] = mine + later
        if n > 1 and not row[n - 1] * scale > row[n - 2] * scale:
            d_row[n - 1] = 0


@njit(**SUMS)
def gradients(d_y, x, lengths, relu, pool, mean, rstd, weight, d_x, d_weight, d_bias, offset, first, last):
    """d_y (B, channels, T) from channel `offset` on -> d_x (B, C, T), 0 at the padding, d_weight and d_bias (C,)"""
    B, _, T = x.shape
    row, d_row, total = np.empty(T, np.float32), np.empty(T, np.float32), lengths.sum()
    for c in range(first, last):
        scale = weight[c] * rstd[c]
        sum_of_bias, sum_of_weight = 0.0, 0.0
        for b in range(B):
            n = lengths[b]
            _read(x[b, c], relu, n, row)
            _read_gradient(d_y[b, offset + c], row, scale, pool, n, d_row)
            of_bias, of_weight = f32(0), f32(0)
            for t in range(n):
                of_bias += d_row[t]
                of_weight += d_row[t] * (row[t] - mean[c])
            sum_of_bias += of_bias
            sum_of_weight += of_weight
        d_bias[c], d_weight[c] = sum_of_bias, sum_of_weight * rstd[c]
        shift, slope = f32(sum_of_bias / total), f32(sum_of_weight * rstd[c] * rstd[c] / total)
        for b in range(B):
            n, out = lengths[b], d_x[b, c]
            _read(x[b, c], relu, n, row)
            _read_gradient(d_y[b, offset + c], row, scale, pool, n, d_row)
            for t in range(n):
                d = scale * (d_row[t] - shift - (row[t] - mean[c]) * slope)
                out[t] = rounded(f32(0) if relu and row[t] <= f32(0) else d, out[t])
            out[n:] = 0
