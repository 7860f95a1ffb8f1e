"""WaveRNN's GRUs, trained in bfloat16 on a CPU without waiting for memory.

Shapes: T steps, B crops, F mel frames, H units. torch's own GRU takes several passes over memory for each step and sums the
weights' gradients step by step; here a step is one product and one pass (vocoder.training_kernels).
"""

import functools
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.cpu.packed_linear import Product
from utils.models.device import autocasts_to_bf16_on_cpu, bits


def is_faster(x: Tensor) -> bool:
    """Whether `residual` can be used here, which is for bfloat16 on a CPU."""
    return autocasts_to_bf16_on_cpu(x) and kernels() is not None


def residual(gru: nn.GRU, x: Tensor, gates: Tensor, conditioning: Tensor) -> Tensor:
    """x + gru(.) -> (T, B, H), where the gates' products with the input are made already: gates (T, B, 3 H), plus
    conditioning (F, B, 3 H) which is the same for T / F steps. x (T, B, H)."""
    to_reset_and_update, to_new = gru.bias_hh_l0.split([2 * gru.hidden_size, gru.hidden_size])
    bias = gru.bias_ih_l0 + F.pad(to_reset_and_update, (0, gru.hidden_size))
    half = (t.to(torch.bfloat16) for t in (x, gates, conditioning + bias, gru.weight_hh_l0, to_new))
    return _Residual.apply(*half)


class _Residual(torch.autograd.Function):
    """x (T, B, H), gates (T, B, 3 H), conditioning (F, B, 3 H), weight (3 H, H), bias (H,) of the new gate's product, all
    bfloat16 -> (T, B, H). Takes the gates' memory for its own; its backward can be done once."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, x: Tensor, gates: Tensor, conditioning: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        T, B, H = x.shape
        per_frame = T // len(conditioning)
        output = x.clone()
        hidden = x.new_empty(T + 1, B, H)  # after each step, zeros first
        hidden[0] = 0
        new_recurrent = torch.empty_like(x)
        state, product = np.zeros((B, H), np.float32), Product(weight, B, F.pad(bias, (2 * H, 0)))
        step = kernels().gru_forward
        arrays = [bits(t) for t in (gates, conditioning, hidden, new_recurrent, output)]
        gate_bits, conditioning_bits, hidden_bits, new_bits, output_bits = arrays
        for t in range(T):
            recurrent = bits(product(hidden[t]))
            frame = conditioning_bits[t // per_frame]
            step(gate_bits[t], frame, recurrent, state, hidden_bits[t + 1], new_bits[t], output_bits[t])
        ctx.save_for_backward(weight, hidden)
        ctx.of_steps, ctx.n_frames = (gates, new_recurrent), len(conditioning)
        return output

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, d_output: Tensor) -> tuple[Tensor, ...]:
        weight, hidden = ctx.saved_tensors
        if ctx.of_steps is None:
            raise RuntimeError("backward was done already, and its gradients took the place of what it needs")
        (gates, new_recurrent), ctx.of_steps = ctx.of_steps, None
        T, B, H = new_recurrent.shape
        d_output = d_output.contiguous()
        d_recurrent, d_hidden = gates.new_empty(B, 3 * H), torch.zeros_like(hidden[0])
        product = Product(weight.t(), B)
        step = kernels().gru_backward
        arrays = [bits(t) for t in (gates, hidden, d_output, new_recurrent, d_recurrent)]
        gate_bits, hidden_bits, output_bits, new_bits, d_recurrent_bits = arrays
        d_state = np.zeros((B, H), np.float32)
        for t in reversed(range(T)):
            step(gate_bits[t], hidden_bits[t], output_bits[t], bits(d_hidden), d_state, new_bits[t], d_recurrent_bits)
            d_hidden = product(d_recurrent)
        before, flat, new = hidden[:-1].flatten(0, 1), gates.flatten(0, 1), new_recurrent.flatten(0, 1)
        d_weight = torch.cat([flat[:, : 2 * H].t() @ before, new.t() @ before])
        return d_output, gates, gates.unflatten(0, (ctx.n_frames, -1)).sum(1), d_weight, new.sum(0)


@functools.cache
def kernels() -> ModuleType | None:
    """None where numba is missing or cannot run, as with a numpy newer than it knows: torch's own GRU is used then."""
    try:
        from vocoder import training_kernels
    except Exception:  # whatever it is, it costs speed alone
        return None
    return training_kernels
