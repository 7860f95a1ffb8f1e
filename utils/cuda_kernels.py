"""Elementwise chains of recurrent models as one Triton kernel each; a GPU spends longer on starting a kernel than on these.

All computed in float32, the cells with gradients. B rows, C units or classes.
"""
# triton derives the types from the calls
# ruff: noqa: ANN001, ANN201

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 256  # units of a program


@triton.jit
def tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def _unit(C, BLOCK: tl.constexpr):
    """Row and unit of each element of this program, and which are real."""
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    return tl.program_id(0), j, j < C


@triton.jit
def _load(at, real):
    return tl.load(at, real).to(tl.float32)


@triton.jit
def _lstm(gates, cell, hidden, next_cell, C, BLOCK: tl.constexpr):
    row, j, real = _unit(C, BLOCK)
    at = gates + row * 4 * C + j
    i, f = tl.sigmoid(_load(at, real)), tl.sigmoid(_load(at + C, real))
    g, o = tanh(_load(at + 2 * C, real)), tl.sigmoid(_load(at + 3 * C, real))
    c = f * _load(cell + row * C + j, real) + i * g
    tl.store(next_cell + row * C + j, c, real)
    tl.store(hidden + row * C + j, o * tanh(c), real)


@triton.jit
def _lstm_backward(gates, cell, d_hidden, d_next_cell, d_gates, d_cell, C, BLOCK: tl.constexpr):
    row, j, real = _unit(C, BLOCK)
    at, to, own = gates + row * 4 * C + j, d_gates + row * 4 * C + j, row * C + j
    i, f = tl.sigmoid(_load(at, real)), tl.sigmoid(_load(at + C, real))
    g, o = tanh(_load(at + 2 * C, real)), tl.sigmoid(_load(at + 3 * C, real))
    before = _load(cell + own, real)
    c = tanh(f * before + i * g)
    dh = _load(d_hidden + own, real)
    dc = _load(d_next_cell + own, real) + dh * o * (1 - c * c)
    tl.store(to, dc * g * i * (1 - i), real)
    tl.store(to + C, dc * before * f * (1 - f), real)
    tl.store(to + 2 * C, dc * i * (1 - g * g), real)
    tl.store(to + 3 * C, dh * c * o * (1 - o), real)
    tl.store(d_cell + own, dc * f, real)


@triton.jit
def _gru(x_gates, x_stride, h_gates, hidden, following, C, BLOCK: tl.constexpr):
    row, j, real = _unit(C, BLOCK)
    x, h = x_gates + row * x_stride + j, h_gates + row * 3 * C + j
    reset = tl.sigmoid(_load(x, real) + _load(h, real))
    update = tl.sigmoid(_load(x + C, real) + _load(h + C, real))
    new = tanh(_load(x + 2 * C, real) + reset * _load(h + 2 * C, real))
    tl.store(following + row * C + j, new + update * (_load(hidden + row * C + j, real) - new), real)


@triton.jit
def _gru_backward(x_gates, x_stride, h_gates, hidden, d_following, d_x, d_h, d_hidden, C, BLOCK: tl.constexpr):
    row, j, real = _unit(C, BLOCK)
    x, h, own, to = x_gates + row * x_stride + j, h_gates + row * 3 * C + j, row * C + j, row * 3 * C + j
    reset = tl.sigmoid(_load(x, real) + _load(h, real))
    update = tl.sigmoid(_load(x + C, real) + _load(h + C, real))
    h_new = _load(h + 2 * C, real)
    new = tanh(_load(x + 2 * C, real) + reset * h_new)
    d = _load(d_following + own, real)
    d_new = d * (1 - update) * (1 - new * new)
    d_update = d * (_load(hidden + own, real) - new) * update * (1 - update)
    d_reset = d_new * h_new * reset * (1 - reset)
    tl.store(d_x + to, d_reset, real)
    tl.store(d_x + to + C, d_update, real)
    tl.store(d_x + to + 2 * C, d_new, real)
    tl.store(d_h + to, d_reset, real)
    tl.store(d_h + to + C, d_update, real)
    tl.store(d_h + to + 2 * C, d_new * reset, real)
    tl.store(d_hidden + own, d * update, real)


@triton.jit
def _draw(logits, uniform, levels, scale, C: tl.constexpr, SIZE: tl.constexpr):
    row, c = tl.program_id(0), tl.arange(0, SIZE)
    values = tl.load(logits + row * C + c, c < C, other=-float("inf"))
    cumulative = tl.cumsum(tl.exp(values - tl.max(values, 0)), 0)
    below = cumulative < tl.load(uniform + row) * tl.max(cumulative, 0)
    tl.store(levels + row, tl.sum(below.to(tl.float32), 0) * scale - 1)


class _LSTMCell(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        gates, cell = gates.contiguous(), cell.contiguous()
        hidden, next_cell = torch.empty_like(cell), torch.empty_like(cell)
        _launch(_lstm, cell, gates, cell, hidden, next_cell)
        ctx.save_for_backward(gates, cell)
        return hidden, next_cell

    @staticmethod
    def backward(ctx: Any, d_hidden: Tensor, d_next_cell: Tensor) -> tuple[Tensor, Tensor]:
        gates, cell = ctx.saved_tensors
        d_gates, d_cell = torch.empty_like(gates), torch.empty_like(cell)
        _launch(_lstm_backward, cell, gates, cell, d_hidden.contiguous(), d_next_cell.contiguous(), d_gates, d_cell)
        return d_gates, d_cell


class _GRUCell(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_gates: Tensor, h_gates: Tensor, hidden: Tensor) -> Tensor:
        x_gates = x_gates if x_gates.stride(1) == 1 else x_gates.contiguous()
        h_gates, hidden = h_gates.contiguous(), hidden.contiguous()
        following = torch.empty_like(hidden)
        _launch(_gru, hidden, x_gates, x_gates.stride(0), h_gates, hidden, following)
        ctx.save_for_backward(x_gates, h_gates, hidden)
        return following

    @staticmethod
    def backward(ctx: Any, d_following: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x_gates, h_gates, hidden = ctx.saved_tensors
        d_x, d_h = (torch.empty_like(h_gates, dtype=each.dtype) for each in (x_gates, h_gates))
        d_hidden = torch.empty_like(hidden)
        given = x_gates, x_gates.stride(0), h_gates, hidden, d_following.contiguous()
        _launch(_gru_backward, hidden, *given, d_x, d_h, d_hidden)
        return d_x, d_h, d_hidden


gru_cell, lstm_cell = _GRUCell.apply, _LSTMCell.apply  # see utils.models.recurrent


def _launch(kernel: Any, state: Tensor, *arguments: Any) -> None:
    """Over the rows and blocks of units of a state (B, C)."""
    n_rows, size = state.shape
    with torch.cuda.device_of(state):
        kernel[(n_rows, triton.cdiv(size, BLOCK))](*arguments, size, BLOCK)


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Classes drawn from softmax(logits (B, C)) with uniform numbers (B,) in (0, 1] -> (B,), -1 for the first class, 1 for
    the last"""
    n_rows, n_classes = logits.shape
    levels, size = torch.empty_like(uniform), triton.next_power_of_2(n_classes)
    with torch.cuda.device_of(logits):
        _draw[(n_rows,)](logits.contiguous(), uniform.contiguous(), levels, 2 / (n_classes - 1), n_classes, size)
    return levels
