"""Recurrent cells and products, for models whose products with input and hidden state are made apart. Plain torch."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def gru_cell(x_gates: Tensor, h_gates: Tensor, hidden: Tensor) -> Tensor:
    """What input and hidden state add to the gates (reset, update, new), (B, 3 C) each, and hidden (B, C) -> next hidden;
    computed in float32"""
    C, x_gates, h_gates = hidden.size(1), x_gates.float(), h_gates.float()
    reset, update = (x_gates[:, : 2 * C] + h_gates[:, : 2 * C]).sigmoid().chunk(2, dim=1)
    new = torch.addcmul(x_gates[:, 2 * C :], reset, h_gates[:, 2 * C :]).tanh()
    return torch.lerp(new, hidden, update)


def lstm_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Gates (input, forget, cell, output) before their nonlinearities (B, 4 C), and cell (B, C) -> next hidden, next cell;
    computed in float32"""
    i, f, g, o = gates.float().chunk(4, dim=1)
    cell = torch.addcmul(f.sigmoid() * cell, i.sigmoid(), g.tanh())
    return o.sigmoid() * cell.tanh(), cell


class LoopProduct:
    """added[:, s] + input @ weight.T at step s of a loop, one call for each step, in autocast's precision.

    The gradient of the weight is one product after the loop instead of a product and a sum at every step. It has no gradient
    itself.
    """

    def __init__(self, weight: Tensor, added: Tensor) -> None:
        """weight (G, C), added (B, S, G)"""
        self._inputs: list[Tensor] = []
        self._weight = as_autocast(weight.detach()).t()
        self._added = iter(_WeightAfterLoop.apply(as_autocast(added), weight, self._inputs).unbind(1))

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C) -> (B, G)"""
        x = x.to(self._weight.dtype)
        self._inputs.append(x.detach())
        return torch.addmm(next(self._added), x, self._weight)


class _WeightAfterLoop(torch.autograd.Function):
    """Returns `added`, whose gradient is that of the products too."""

    @staticmethod
    def forward(ctx: Any, added: Tensor, weight: Tensor, inputs: list[Tensor]) -> Tensor:
        ctx.inputs, ctx.dtype = inputs, weight.dtype
        return added.view_as(added)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_added: Tensor) -> tuple[Tensor, Tensor | None, None]:
        d_weight = None
        if ctx.needs_input_grad[1]:
            d_weight = d_added.flatten(0, 1).t() @ torch.stack(ctx.inputs, dim=1).flatten(0, 1)
        return d_added, None if d_weight is None else d_weight.to(ctx.dtype), None


def as_autocast(tensor: Tensor) -> Tensor:
    """In autocast's precision, if it is on. It converts weights that are trained once, but anything else at every step."""
    device = tensor.device.type
    return tensor.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else tensor
