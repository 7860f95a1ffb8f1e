"""The encoder's LSTM, trained in bfloat16 on a CPU without waiting for memory.

Shapes: T steps, B sequences, C inputs, H units. torch's own LSTM takes several passes over memory for each step and sums the
weights' gradients step by step; here a step is one product and one pass (encoder.kernels), and the products that do not
depend on the step before are done for all steps at once.
"""

import functools
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn


class LSTM(nn.LSTM):
    """nn.LSTM, batch first, that returns the outputs alone and is fast where it can be; the parameters are the same."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, H)"""
        if not _is_trained_in_bf16_on_cpu(x) or self.proj_size or _kernels() is None:
            return super().forward(x)[0]
        x = x.transpose(0, 1)  # (T, B, C)
        for layer in range(self.num_layers):
            names = (f"weight_ih_l{layer}", f"weight_hh_l{layer}", f"bias_ih_l{layer}", f"bias_hh_l{layer}")
            of_input, of_hidden, *biases = (getattr(self, name) for name in names)
            half = (t.to(torch.bfloat16) for t in (x, of_input, of_hidden, sum(biases)))
            x = LSTMLayer.apply(*half)
        return x.transpose(0, 1)


class LSTMLayer(torch.autograd.Function):
    """(T, B, C), weights (4 H, C) and (4 H, H), bias (4 H,), bfloat16 on a CPU -> outputs (T, B, H); starts from zeros."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, x: Tensor, of_input: Tensor, of_hidden: Tensor, bias: Tensor
    ) -> Tensor:
        T, B, _ = x.shape
        H = of_hidden.shape[1]
        x = x.contiguous()
        gates = torch.addmm(bias, x.flatten(0, 1), of_input.t()).view(T, B, 4 * H)
        hidden = gates.new_empty(T + 1, B, H)  # after each step, zeros first
        cell = torch.empty(T + 1, B, H)
        hidden[0], cell[0] = 0, 0
        step = _kernels().lstm_forward
        gate_bits, cells, hidden_bits = _bits(gates), cell.numpy(), _bits(hidden)
        transposed = of_hidden.t()
        for t in range(T):
            gates[t].addmm_(hidden[t], transposed)
            step(gate_bits[t], cells[t], cells[t + 1], hidden_bits[t + 1])
        ctx.save_for_backward(x, of_input, of_hidden, gates, cell, hidden)
        return hidden[1:]

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, d_output: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
        x, of_input, of_hidden, gates, cell, hidden = ctx.saved_tensors
        d_output = d_output.contiguous()
        d_gates = torch.empty_like(gates)
        d_hidden = torch.zeros_like(hidden[0])
        step = _kernels().lstm_backward
        gate_bits, cells, d_output_bits, d_gate_bits = _bits(gates), cell.numpy(), _bits(d_output), _bits(d_gates)
        d_hidden_bits, d_cell = _bits(d_hidden), np.zeros(cell.shape[1:], dtype=np.float32)
        for t in reversed(range(len(gates))):
            if t + 1 < len(gates):
                torch.mm(d_gates[t + 1], of_hidden, out=d_hidden)
            step(gate_bits[t], cells[t], cells[t + 1], d_output_bits[t], d_hidden_bits, d_cell, d_gate_bits[t])
        flat = d_gates.flatten(0, 1)  # (T * B, 4 H)
        d_x = (flat @ of_input).view_as(x) if ctx.needs_input_grad[0] else None
        return d_x, flat.t() @ x.flatten(0, 1), flat.t() @ hidden[:-1].flatten(0, 1), flat.sum(dim=0)


def _is_trained_in_bf16_on_cpu(x: Tensor) -> bool:
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return x.device.type == "cpu" and autocast and torch.is_grad_enabled()


def _bits(tensor: Tensor) -> np.ndarray:
    return tensor.view(torch.uint16).numpy()


@functools.cache
def _kernels() -> ModuleType | None:
    """None where numba is missing or cannot run, as with a numpy newer than it knows: torch's own LSTM is used then."""
    try:
        from encoder import kernels
    except Exception:  # whatever it is, it costs speed alone
        return None
    return kernels
