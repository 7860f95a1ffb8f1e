"""The scores of location-sensitive attention as one Triton kernel, and their gradients as two; see attention.location_scores.

B utterances, T characters, A size of the attention, C weights that are seen (one or two), K their neighbours that count. All in
float32, with products in TF32 on a GPU. Sums are made in a fixed order, so that a run can be repeated.
"""
# triton derives the types from the calls
# ruff: noqa: ANN001

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from utils.cuda_kernels import tanh

TILE, LEAST_SIZE = 16, 16  # characters of a program; of the attention


@triton.jit
def _window(seen, t, k, T, K):
    """seen (T,) -> (TILE, SIZE): the neighbours k of each character t, zeros beyond the ends"""
    at = t[:, None] + k[None, :] - K // 2
    return tl.load(seen + at, (at >= 0) & (at < T) & (k < K)[None, :], other=0.0)


@triton.jit
def _energies(keys, query, seen, location, b, t, B, T, A: tl.constexpr, C: tl.constexpr, K, SIZE: tl.constexpr):
    """What tanh is taken of: (TILE, A)"""
    a, k = tl.arange(0, A), tl.arange(0, SIZE)
    energies = tl.load(keys + (b * T + t)[:, None] * A + a[None, :], (t < T)[:, None], other=0.0).to(tl.float32)
    energies += tl.load(query + b * A + a).to(tl.float32)[None, :]
    for c in tl.static_range(C):
        filters = tl.load(location + a[None, :] * C * K + c * K + k[:, None], (k < K)[:, None], other=0.0).to(tl.float32)
        energies = tl.dot(_window(seen + (c * B + b) * T, t, k, T, K), filters, energies)
    return energies


@triton.jit
def _scores(
    keys, query, seen, location, score, scores, B, T, A: tl.constexpr, C: tl.constexpr, K, SIZE: tl.constexpr,
    TILE: tl.constexpr
):  # fmt: skip
    b, t, a = tl.program_id(0), tl.program_id(1) * TILE + tl.arange(0, TILE), tl.arange(0, A)
    energies = _energies(keys, query, seen, location, b, t, B, T, A, C, K, SIZE)
    tl.store(scores + b * T + t, tl.sum(tanh(energies) * tl.load(score + a).to(tl.float32)[None, :], 1), t < T)


@triton.jit
def _gradients(
    keys, query, seen, location, score, d_scores, d_keys, d_query, d_location, d_score, d_windows, B, T, A: tl.constexpr,
    C: tl.constexpr, K, SIZE: tl.constexpr, TILE: tl.constexpr
):  # fmt: skip
    """d_keys (B, T, A); of each program: d_query (B, n, A), d_location (B, n, A, C K), d_score (B, n, A); d_windows
    (C, B, T, K)"""
    b, tile, n = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    t, a, k = tile * TILE + tl.arange(0, TILE), tl.arange(0, A), tl.arange(0, SIZE)
    lively = tanh(_energies(keys, query, seen, location, b, t, B, T, A, C, K, SIZE))
    d_scores = tl.load(d_scores + b * T + t, t < T, other=0.0)[:, None]
    d_energies = d_scores * tl.load(score + a).to(tl.float32)[None, :] * (1 - lively * lively)
    tl.store(d_keys + (b * T + t)[:, None] * A + a[None, :], d_energies, (t < T)[:, None])
    tl.store(d_query + (b * n + tile) * A + a, tl.sum(d_energies, 0))
    tl.store(d_score + (b * n + tile) * A + a, tl.sum(d_scores * lively, 0))
    for c in tl.static_range(C):
        near = (k < K)[None, :]
        filters = tl.load(location + a[:, None] * C * K + c * K + k[None, :], near, other=0.0).to(tl.float32)
        window = _window(seen + (c * B + b) * T, t, k, T, K)
        at = d_location + ((b * n + tile) * A + a)[:, None] * C * K + c * K + k[None, :]
        tl.store(at, tl.dot(tl.trans(d_energies), window), near)
        at = d_windows + ((c * B + b) * T + t)[:, None] * K + k[None, :]
        tl.store(at, tl.dot(d_energies, filters), (t < T)[:, None] & near)


@triton.jit
def _gather(d_windows, d_seen, T, K, SIZE: tl.constexpr, TILE: tl.constexpr):
    """d_windows (C B, T, K) -> d_seen (C B, T): what each character is to its neighbours"""
    row, t, k = tl.program_id(0), tl.program_id(1) * TILE + tl.arange(0, TILE), tl.arange(0, SIZE)
    of = t[:, None] - k[None, :] + K // 2
    d_windows += (row * T + of) * K + k[None, :]
    tl.store(d_seen + row * T + t, tl.sum(tl.load(d_windows, (of >= 0) & (of < T) & (k < K)[None, :], other=0.0), 1), t < T)


class _LocationScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keys: Tensor, query: Tensor, seen: Tensor, location: Tensor, score: Tensor) -> Tensor:
        given = tuple(each.contiguous() for each in (keys, query, seen, location, score))
        ctx.save_for_backward(*given)
        (n_rows, n_characters, size), n_seen = keys.shape, len(seen)
        scores = torch.empty(n_rows, n_characters, device=keys.device)
        with torch.cuda.device_of(keys):
            _scores[_grid(keys)](*given, scores, *_sizes(n_rows, n_characters, size, n_seen, location))
        return scores

    @staticmethod
    def backward(ctx: Any, d_scores: Tensor) -> tuple[Tensor, ...]:
        given = ctx.saved_tensors
        keys, _, seen, location, _ = given
        (n_rows, n_characters, size), n_seen, grid = keys.shape, len(seen), _grid(keys)
        sizes = _sizes(n_rows, n_characters, size, n_seen, location)
        d_keys, d_seen = torch.empty(keys.shape, device=keys.device), torch.empty_like(seen)
        d_query, d_score = (keys.new_empty(*grid, size, dtype=torch.float32) for _ in range(2))
        d_location = keys.new_empty(*grid, *location.shape, dtype=torch.float32)
        d_windows = seen.new_empty(*seen.shape, location.size(1) // n_seen)
        with torch.cuda.device_of(keys):
            _gradients[grid](*given, d_scores.contiguous(), d_keys, d_query, d_location, d_score, d_windows, *sizes)
            _gather[n_seen * n_rows, grid[1]](d_windows, d_seen, n_characters, *sizes[-3:])
        gradients = d_keys, d_query.sum(1), d_seen, d_location.sum((0, 1)), d_score.sum((0, 1))[None]
        return tuple(one.to(other.dtype) for one, other in zip(gradients, given, strict=True))


def _grid(keys: Tensor) -> tuple[int, int]:
    return keys.size(0), triton.cdiv(keys.size(1), TILE)


def _sizes(n_rows: int, n_characters: int, size: int, n_seen: int, location: Tensor) -> tuple[int, ...]:
    """The kernels' last arguments, of which _gather has the last three."""
    n_near = location.size(1) // n_seen
    return n_rows, n_characters, size, n_seen, n_near, max(16, triton.next_power_of_2(n_near)), TILE


def location_scores(keys: Tensor, query: Tensor, seen: tuple[Tensor, ...], location: Tensor, score: Tensor) -> Tensor:
    """See synthesizer.attention. The attention's size must be a power of two, at least LEAST_SIZE."""
    return _LocationScores.apply(keys, query, torch.stack(seen), location, score)
