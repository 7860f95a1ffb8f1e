"""The residual LSTM of Tacotron's decoder, with zoneout.

Shapes: B utterances, S steps, C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.product import Product


class ResidualLSTM(nn.Module):
    """x + LSTM(x). In training a share of the hidden state is zoned out: it keeps its value of the step before (1606.01305)."""

    def __init__(self, size: int, zoneout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(size, size, batch_first=True)
        self.zoneout = zoneout

    def forward(self, x: Tensor) -> Tensor:
        """All steps: (B, S, C) -> (B, S, C)"""
        if not (self.training and self.zoneout):
            return x + self.lstm(x)[0]
        w = self.lstm
        kept = torch.rand(x.shape, device=x.device) < self.zoneout
        inputs = F.linear(x, w.weight_ih_l0, w.bias_ih_l0 + w.bias_hh_l0)  # (B, S, 4 C)
        return x + ZoneoutRecurrence.apply(inputs, w.weight_hh_l0.to(inputs.dtype), kept)

    def fused(self, n_rows: int, dtype: torch.dtype = torch.float32) -> "Product":
        """The product of `step`, for n_rows utterances. In bf16 there is half as much to read: on a CPU, that is what a step of
        few utterances waits for."""
        w = self.lstm
        weight, bias = torch.cat([w.weight_ih_l0, w.weight_hh_l0], dim=1), w.bias_ih_l0 + w.bias_hh_l0
        return Product(weight.to(dtype), n_rows, bias.to(dtype))

    @staticmethod
    def step(x: Tensor, state: tuple[Tensor, Tensor], product: "Product") -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One step, nothing zoned out: (B, C), (hidden, cell), (B, C) each, and fused(B) -> (B, C) and the next state"""
        hidden, cell = state
        enter, forget, new, leave = product(torch.cat([x, hidden], dim=1)).float().chunk(4, dim=1)
        cell = torch.addcmul(forget.sigmoid() * cell, enter.sigmoid(), new.tanh())
        hidden = leave.sigmoid() * cell.tanh()
        return x + hidden, (hidden, cell)


class ZoneoutRecurrence(torch.autograd.Function):
    """LSTM over inputs that are multiplied by their weights already: (B, S, 4 C), weight (4 C, C), kept (B, S, C) -> (B, S, C)

    Its own backward, because the weight's gradient is then one product over all steps instead of a sum of one per step,
    which would take most of a training step on a CPU.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, inputs: Tensor, weight: Tensor, kept: Tensor) -> Tensor:
        B, S, _ = inputs.size()
        hidden = inputs.new_zeros(S + 1, B, weight.size(1))  # of every step, zeros first
        cell = inputs.new_zeros(hidden.shape, dtype=torch.float32)
        gates = inputs.new_empty(S, B, weight.size(0), dtype=torch.float32)
        product = Product(weight, B)
        for s in range(S):
            enter, forget, new, leave = torch.add(inputs[:, s], product(hidden[s])).float().chunk(4, dim=1)
            enter, forget, new, leave = enter.sigmoid(), forget.sigmoid(), new.tanh(), leave.sigmoid()
            torch.cat([enter, forget, new, leave], dim=1, out=gates[s])
            torch.addcmul(forget * cell[s], enter, new, out=cell[s + 1])
            hidden[s + 1] = torch.where(kept[:, s], hidden[s], leave * cell[s + 1].tanh())
        ctx.save_for_backward(weight, kept, hidden, cell, gates)
        return hidden[1:].transpose(0, 1)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        weight, kept, hidden, cell, gates = ctx.saved_tensors
        d_gates = torch.empty_like(gates, dtype=weight.dtype)  # before their sigmoids and tanh
        d_hidden = torch.zeros_like(cell[0])
        d_cell = torch.zeros_like(cell[0])
        product = Product(weight.t(), kept.size(0))
        for s in reversed(range(len(gates))):
            enter, forget, new, leave = gates[s].chunk(4, dim=1)
            d_hidden = d_hidden + grad[:, s]
            d_new_hidden = d_hidden.masked_fill(kept[:, s], 0)
            out = cell[s + 1].tanh()
            d_cell = d_cell + d_new_hidden * leave * (1 - out * out)
            d_enter = d_cell * new * enter * (1 - enter)
            d_forget = d_cell * cell[s] * forget * (1 - forget)
            d_new = d_cell * enter * (1 - new * new)
            d_leave = d_new_hidden * out * leave * (1 - leave)
            d_gates[s] = torch.cat([d_enter, d_forget, d_new, d_leave], dim=1)
            d_cell = d_cell * forget
            d_hidden = (d_hidden - d_new_hidden) + product(d_gates[s])
        d_weight = d_gates.flatten(0, 1).t() @ hidden[:-1].flatten(0, 1)  # (4 C, C)
        return d_gates.transpose(0, 1), d_weight, None
