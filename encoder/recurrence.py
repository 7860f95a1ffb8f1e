"""The encoder's LSTM, trained in bfloat16 on a CPU without waiting for memory.

Shapes: T steps, B sequences, C inputs, H units. torch's own LSTM takes several passes over memory for each step and sums the
weights' gradients step by step; here a step is one product and one pass (encoder.kernels), and so are all weights' gradients.
"""

import functools
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from utils.models.device import autocasts_to_bf16_on_cpu, bits

PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # of a layer, as nn.LSTM calls them


class LSTM(nn.LSTM):
    """nn.LSTM, batch first, that returns the outputs alone and is fast where it can be; the parameters are the same."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, H)"""
        if not (autocasts_to_bf16_on_cpu(x) and torch.is_grad_enabled()) or self.proj_size or _kernels() is None:
            return super().forward(x)[0]
        x = x.transpose(0, 1)  # (T, B, C)
        for layer in range(self.num_layers):
            of_input, of_hidden, *biases = (getattr(self, f"{name}_l{layer}") for name in PARAMETERS)
            weights = torch.cat([of_input, of_hidden], dim=1)  # (4 H, C + H)
            x = LSTMLayer.apply(x.to(torch.bfloat16), weights.to(torch.bfloat16), sum(biases))
        return x.transpose(0, 1)


class LSTMLayer(torch.autograd.Function):
    """(T, B, C) and weights of input and hidden state side by side (4 H, C + H), both bfloat16 on a CPU, bias (4 H,) -> outputs
    (T, B, H); starts from zeros."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
        T, B, C = x.shape
        H = len(bias) // 4
        both = x.new_empty(T + 1, B, C + H)  # what enters each step: its input, and the output of the step before
        both[:T, :, :C] = x
        both[0, :, C:] = 0
        gates, cell = x.new_empty(T, B, 4 * H), torch.empty(T + 1, B, H)
        cell[0] = 0
        step, offsets, transposed = _kernels().lstm_forward, bias.detach().numpy(), weights.t()
        both_bits, gate_bits, cells = bits(both), bits(gates), cell.numpy()
        for t in range(T):
            torch.mm(both[t], transposed, out=gates[t])
            step(gate_bits[t], offsets, cells[t], cells[t + 1], both_bits[t + 1])
        ctx.save_for_backward(weights, both, gates, cell)
        return both[1:, :, C:]

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, d_output: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        weights, both, gates, cell = ctx.saved_tensors
        T, B, H = cell[1:].shape
        of_input, of_hidden = (part.contiguous() for part in weights.split([weights.shape[1] - H, H], dim=1))
        d_output, d_gates = d_output.contiguous(), torch.empty_like(gates)
        d_hidden, d_cell = gates.new_zeros(B, H), np.zeros((B, H), dtype=np.float32)
        step = _kernels().lstm_backward
        gate_bits, cells, d_output_bits, d_gate_bits = bits(gates), cell.numpy(), bits(d_output), bits(d_gates)
        d_hidden_bits = bits(d_hidden)
        for t in reversed(range(T)):
            if t + 1 < T:
                torch.mm(d_gates[t + 1], of_hidden, out=d_hidden)
            step(gate_bits[t], cells[t], cells[t + 1], d_output_bits[t], d_hidden_bits, d_cell, d_gate_bits[t])
        flat = d_gates.flatten(0, 1)  # (T * B, 4 H)
        d_x = (flat @ of_input).view(T, B, -1) if ctx.needs_input_grad[0] else None
        return d_x, flat.t() @ both[:-1].flatten(0, 1), flat.sum(dim=0).float()


@functools.cache
def _kernels() -> ModuleType | None:
    """None where numba is missing or cannot run, as with a numpy newer than it knows: torch's own LSTM is used then."""
    try:
        from encoder import kernels
    except Exception:  # whatever it is, it costs speed alone
        return None
    return kernels
