"""torch's LSTM, trained faster in bfloat16 on a CPU.

T steps, B sequences, C inputs, H cells. torch makes several passes over memory in each step and sums the gradients of the
weights step by step; here a step is one matrix product and one pass, and the gradients of a layer's weights are one product.
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

from utils.cpu.bf16 import OPTIONS, f32, from_bf16, sigmoid, tanh, to_bf16
from utils.cpu.tensors import autocasts_to_bf16_on_cpu, bits


class FastLSTM(nn.LSTM):
    """nn.LSTM with a fast path for training; everything else is torch's own."""

    def forward(self, x: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(B, T, C) -> outputs (B, T, H), and the last outputs and cells of each layer (layers, B, H)."""
        if hx is not None or not self._can_be_fast(x):
            return super().forward(x, hx)
        x, hidden, cells = x.transpose(0, 1), [], []  # (T, B, C)
        for weight_ih, weight_hh, bias_ih, bias_hh in self.all_weights:
            weights = torch.cat([weight_ih, weight_hh], dim=1)  # (4 H, C + H)
            x, cell = LSTMLayer.apply(x.to(torch.bfloat16), weights.to(torch.bfloat16), bias_ih + bias_hh)
            hidden.append(x[-1])
            cells.append(cell.to(torch.bfloat16))
        return x.transpose(0, 1), (torch.stack(hidden), torch.stack(cells))

    def _can_be_fast(self, x: Tensor) -> bool:
        is_simple = self.batch_first and self.bias and not (self.bidirectional or self.proj_size or self.dropout)
        is_batch = isinstance(x, Tensor) and x.dim() == 3
        return is_simple and is_batch and torch.is_grad_enabled() and autocasts_to_bf16_on_cpu(x)


class LSTMLayer(torch.autograd.Function):
    """One layer that starts from zeros: x (T, B, C) and weights of input and hidden state side by side (4 H, C + H), both
    bfloat16, and bias (4 H,) -> outputs (T, B, H) and the last cell (B, H), in float32."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, weights: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        T, B, C = x.shape
        H = len(bias) // 4
        inputs = x.new_empty(T + 1, B, C + H)  # of each step: x beside the output of the step before
        inputs[:T, :, :C] = x
        inputs[0, :, C:] = 0
        gates, cells = x.new_empty(T, B, 4 * H), torch.empty(T + 1, B, H)
        cells[0] = 0
        biases, transposed = bias.detach().numpy(), weights.t()
        input_bits, gate_bits, cell_values = bits(inputs), bits(gates), cells.numpy()
        for t in range(T):
            torch.mm(inputs[t], transposed, out=gates[t])
            step_forward(gate_bits[t], biases, cell_values[t], cell_values[t + 1], input_bits[t + 1])
        ctx.save_for_backward(weights, inputs, gates, cells)
        return inputs[1:, :, C:], cells[T].clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad_output: Tensor, grad_last_cell: Tensor) -> tuple:
        weights, inputs, gates, cells = ctx.saved_tensors
        T, B, H = cells[1:].shape
        weight_ih, weight_hh = (part.contiguous() for part in weights.split([weights.shape[1] - H, H], dim=1))
        grad_output, grad_gates = grad_output.contiguous(), torch.empty_like(gates)
        grad_hidden, grad_cell = gates.new_zeros(B, H), np.array(grad_last_cell.numpy(), dtype=np.float32, order="C")
        gate_bits, cell_values, grad_gate_bits = bits(gates), cells.numpy(), bits(grad_gates)
        grad_output_bits, grad_hidden_bits = bits(grad_output), bits(grad_hidden)
        for t in reversed(range(T)):
            if t + 1 < T:
                torch.mm(grad_gates[t + 1], weight_hh, out=grad_hidden)
            step_backward(
                *(gate_bits[t], cell_values[t], cell_values[t + 1]),
                *(grad_output_bits[t], grad_hidden_bits, grad_cell, grad_gate_bits[t]),
            )
        flat = grad_gates.flatten(0, 1)  # (T * B, 4 H)
        grad_x = (flat @ weight_ih).view(T, B, -1) if ctx.needs_input_grad[0] else None
        return grad_x, flat.t() @ inputs[:-1].flatten(0, 1), flat.sum(dim=0).float()


@njit(**OPTIONS)
def step_forward(gates, bias, cell_before, cell, next_inputs):  # noqa: ANN001, ANN201
    """gates (B, 4 H) before their bias (4 H,) -> after sigmoid and tanh, in place; writes cell (B, H) and the output, into the
    last H columns of next_inputs (B, C + H).

    Gates are in torch's order: i input, f forget, g cell, o output. Cells and bias are float32, the rest bfloat16.
    """
    B, H = cell.shape
    bias_i, bias_f, bias_g, bias_o = bias[:H], bias[H : 2 * H], bias[2 * H : 3 * H], bias[3 * H :]
    C = next_inputs.shape[1] - H
    for b in range(B):
        gate_i, gate_f = gates[b, :H], gates[b, H : 2 * H]
        gate_g, gate_o = gates[b, 2 * H : 3 * H], gates[b, 3 * H :]
        before, after, output = cell_before[b], cell[b], next_inputs[b, C:]
        for j in range(H):
            i, f = sigmoid(from_bf16(gate_i[j]) + bias_i[j]), sigmoid(from_bf16(gate_f[j]) + bias_f[j])
            g, o = tanh(from_bf16(gate_g[j]) + bias_g[j]), sigmoid(from_bf16(gate_o[j]) + bias_o[j])
            c = f * before[j] + i * g
            after[j] = c
            output[j] = to_bf16(o * tanh(c))
            gate_i[j], gate_f[j], gate_g[j], gate_o[j] = to_bf16(i), to_bf16(f), to_bf16(g), to_bf16(o)


@njit(**OPTIONS)
def step_backward(gates, cell_before, cell, grad_output, grad_hidden, grad_cell, grad_gates):  # noqa: ANN001, ANN201
    """Write grad_gates (B, 4 H), before sigmoid and tanh, and take grad_cell (B, H) one step back.

    gates as step_forward left them. The gradient of this step's output is the sum of grad_output, from the layer above, and
    grad_hidden, from the next step, both (B, H).
    """
    B, H = cell.shape
    for b in range(B):
        gate_i, gate_f = gates[b, :H], gates[b, H : 2 * H]
        gate_g, gate_o = gates[b, 2 * H : 3 * H], gates[b, 3 * H :]
        grad_i, grad_f = grad_gates[b, :H], grad_gates[b, H : 2 * H]
        grad_g, grad_o = grad_gates[b, 2 * H : 3 * H], grad_gates[b, 3 * H :]
        before, after, grad_out, grad_next, grad_c = cell_before[b], cell[b], grad_output[b], grad_hidden[b], grad_cell[b]
        for j in range(H):
            i, f, g, o = from_bf16(gate_i[j]), from_bf16(gate_f[j]), from_bf16(gate_g[j]), from_bf16(gate_o[j])
            dh = from_bf16(grad_out[j]) + from_bf16(grad_next[j])
            t = tanh(after[j])
            dc = grad_c[j] + dh * o * (f32(1) - t * t)
            grad_i[j] = to_bf16(dc * g * i * (f32(1) - i))
            grad_f[j] = to_bf16(dc * before[j] * f * (f32(1) - f))
            grad_g[j] = to_bf16(dc * i * (f32(1) - g * g))
            grad_o[j] = to_bf16(dh * t * o * (f32(1) - o))
            grad_c[j] = dc * f
