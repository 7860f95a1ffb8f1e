"""The GRU, trained in bfloat16 on a CPU: a step is one product and one pass over memory, and the weights' gradient is one
product. torch's own takes several passes for each step, and sums the weights' gradient step by step.

T steps, B crops, H units.
"""
# numba derives the types from the calls
# ruff: noqa: ANN001, ANN201

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn
from torch.nn import functional as F

from utils.cpu.bf16 import OPTIONS, f32, from_bf16, sigmoid, tanh, to_bf16
from utils.cpu.packed_linear import PackedLinear
from utils.cpu.tensors import autocasts_to_bf16_on_cpu, bits


class Bf16GRU(nn.GRU):
    """nn.GRU with one layer and one direction, faster under autocast to bfloat16 on a CPU and the same elsewhere."""

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(T, B, C) -> (T, B, H), (1, B, H)"""
        if hx is not None or x.dim() != 3 or not autocasts_to_bf16_on_cpu(x):
            return super().forward(x, hx)
        reset_update, new = self.bias_hh_l0.split([2 * self.hidden_size, self.hidden_size])
        gates = F.linear(x, self.weight_ih_l0, self.bias_ih_l0 + F.pad(reset_update, (0, self.hidden_size)))
        output = _Recurrence.apply(gates, self.weight_hh_l0.to(torch.bfloat16), new.to(torch.bfloat16))
        return output, output[-1:]

    @staticmethod
    def can_replace(gru: nn.GRU) -> bool:
        return gru.num_layers == 1 and gru.bias and not (gru.bidirectional or gru.batch_first)


class _Recurrence(torch.autograd.Function):
    """gates (T, B, 3 H), the input's share of them; weight (3 H, H); bias (H,) of the new gate's product with the state; all
    bfloat16 -> (T, B, H). Overwrites gates, so that backward can run only once."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        T, B, H = *gates.shape[:2], weight.size(1)
        hidden = gates.new_empty(T + 1, B, H)  # before each step, and after the last
        hidden[0] = 0
        recurrent_new = gates.new_empty(T, B, H)
        state, linear = np.zeros((B, H), np.float32), PackedLinear(weight, B, F.pad(bias, (2 * H, 0)))
        gate_bits, hidden_bits, new_bits = map(bits, (gates, hidden, recurrent_new))
        for t in range(T):
            gru_forward(gate_bits[t], bits(linear(hidden[t])), state, hidden_bits[t + 1], new_bits[t])
        ctx.save_for_backward(weight, hidden)
        ctx.overwritten = gates, recurrent_new
        return hidden[1:]

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad_output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight, hidden = ctx.saved_tensors
        if ctx.overwritten is None:
            raise RuntimeError("backward has run already, and has overwritten what it needs")
        (gates, recurrent_new), ctx.overwritten = ctx.overwritten, None
        T, B, H = recurrent_new.shape
        grad_recurrent, grad_hidden = gates.new_empty(B, 3 * H), torch.zeros_like(hidden[0])
        grad_state, linear = np.zeros((B, H), np.float32), PackedLinear(weight.t(), B)
        arrays = (gates, hidden, grad_output.contiguous(), recurrent_new, grad_recurrent)
        gate_bits, hidden_bits, output_bits, new_bits, recurrent_bits = map(bits, arrays)
        for t in reversed(range(T)):
            grads = output_bits[t], bits(grad_hidden), grad_state, recurrent_bits
            gru_backward(gate_bits[t], hidden_bits[t], new_bits[t], *grads)
            grad_hidden = linear(grad_recurrent)
        before, grad_gates, grad_new = hidden[:-1].flatten(0, 1), gates.flatten(0, 1), recurrent_new.flatten(0, 1)
        grad_weight = torch.cat([grad_gates[:, : 2 * H].t() @ before, grad_new.t() @ before])
        return gates, grad_weight, grad_new.sum(0)


@njit(**OPTIONS)
def gru_forward(gates, recurrent, state, hidden, recurrent_new):
    """One step: gates (B, 3 H), the input's share, become the gates themselves: reset, update, new.

    recurrent (B, 3 H) is the hidden state's share. state (B, H), float32, moves on one step, and hidden (B, H) becomes the
    same in bfloat16. recurrent_new (B, H) becomes the new gate's part of recurrent.
    """
    B, H = state.shape
    for b in range(B):
        reset, update, new = gates[b, :H], gates[b, H : 2 * H], gates[b, 2 * H :]
        reset_h, update_h, new_h = recurrent[b, :H], recurrent[b, H : 2 * H], recurrent[b, 2 * H :]
        h_b, hidden_b, kept = state[b], hidden[b], recurrent_new[b]
        for j in range(H):
            r = sigmoid(from_bf16(reset[j]) + from_bf16(reset_h[j]))
            z = sigmoid(from_bf16(update[j]) + from_bf16(update_h[j]))
            n = tanh(from_bf16(new[j]) + r * from_bf16(new_h[j]))
            h = n + z * (h_b[j] - n)
            h_b[j] = h
            hidden_b[j] = to_bf16(h)
            kept[j] = new_h[j]
            reset[j], update[j], new[j] = to_bf16(r), to_bf16(z), to_bf16(n)


@njit(**OPTIONS)
def gru_backward(gates, hidden_before, recurrent_new, grad_output, grad_hidden, grad_state, grad_recurrent):
    """One step back: gates (B, 3 H), as gru_forward left them, become the gradient of their inputs, and recurrent_new (B, H)
    becomes its own gradient.

    The gradient of the step's state is the sum of grad_output (B, H), grad_hidden (B, H), which came through the recurrent
    product, and grad_state (B, H), float32, which came past it and moves back one step. grad_recurrent (B, 3 H) is written.
    """
    B, H = grad_state.shape
    for b in range(B):
        reset, update, new = gates[b, :H], gates[b, H : 2 * H], gates[b, 2 * H :]
        grad_reset, grad_update, grad_new = grad_recurrent[b, :H], grad_recurrent[b, H : 2 * H], grad_recurrent[b, 2 * H :]
        before, kept = hidden_before[b], recurrent_new[b]
        from_output, from_hidden, from_state = grad_output[b], grad_hidden[b], grad_state[b]
        for j in range(H):
            r, z, n = from_bf16(reset[j]), from_bf16(update[j]), from_bf16(new[j])
            grad = from_bf16(from_output[j]) + from_bf16(from_hidden[j]) + from_state[j]
            grad_n = grad * (f32(1) - z) * (f32(1) - n * n)
            grad_z = to_bf16(grad * (from_bf16(before[j]) - n) * z * (f32(1) - z))
            grad_r = to_bf16(grad_n * from_bf16(kept[j]) * r * (f32(1) - r))
            grad_h = to_bf16(grad_n * r)
            from_state[j] = grad * z
            reset[j], update[j], new[j] = grad_r, grad_z, to_bf16(grad_n)
            grad_reset[j], grad_update[j], grad_new[j], kept[j] = grad_r, grad_z, grad_h, grad_h
