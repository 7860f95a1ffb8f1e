"""The GRU cell, for models whose products with input and hidden state are made apart. Plain torch."""

import torch
from torch import Tensor


def gru_cell(x_gates: Tensor, h_gates: Tensor, hidden: Tensor) -> Tensor:
    """What input and hidden state add to the gates (reset, update, new), (B, 3 C) each, and hidden (B, C) -> next hidden"""
    C = hidden.size(1)
    reset, update = (x_gates[:, : 2 * C] + h_gates[:, : 2 * C]).sigmoid().chunk(2, dim=1)
    new = torch.addcmul(x_gates[:, 2 * C :], reset, h_gates[:, 2 * C :]).tanh()
    return torch.lerp(new, hidden, update)
