"""Recurrent cells, for models whose products with input and hidden state are made apart, and what their loops read. Plain
torch."""

import torch
from torch import Tensor


def gru_cell(x_gates: Tensor, h_gates: Tensor, hidden: Tensor) -> Tensor:
    """What input and hidden state add to the gates (reset, update, new), (B, 3 C) each, and hidden (B, C) -> next hidden"""
    C = hidden.size(1)
    reset, update = (x_gates[:, : 2 * C] + h_gates[:, : 2 * C]).sigmoid().chunk(2, dim=1)
    new = torch.addcmul(x_gates[:, 2 * C :], reset, h_gates[:, 2 * C :]).tanh()
    return torch.lerp(new, hidden, update)


def lstm_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Gates (input, forget, cell, output) before their nonlinearities (B, 4 C), and cell (B, C) -> next hidden, next cell"""
    i, f, g, o = gates.chunk(4, dim=1)
    cell = torch.addcmul(f.sigmoid() * cell, i.sigmoid(), g.tanh())
    return o.sigmoid() * cell.tanh(), cell


def as_autocast(tensor: Tensor) -> Tensor:
    """In autocast's precision, if it is on. It converts weights that are trained once, but anything else at every step."""
    device = tensor.device.type
    return tensor.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else tensor
