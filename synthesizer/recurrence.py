"""The recurrences of Tacotron: the residual LSTM of its decoder, with zoneout, and GRUs that read in both directions.

Shapes: B utterances, S steps, C inputs, H units. torch's own take several passes over memory for each step and sum the
weights' gradients step by step; here, on a CPU, a step is one product and one pass (synthesizer.kernels.cells), and so are
all the weights' gradients.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthesizer.training_products import array, kernels, product_dtype, weight_gradient
from utils.cpu.packed_linear import Product


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
        recurrence = ZoneoutRecurrence if product_dtype(inputs) is None else CompiledZoneoutRecurrence
        return x + recurrence.apply(inputs, w.weight_hh_l0.to(inputs.dtype), kept)

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

    Its own backward, because the weight's gradient is then one product over all steps instead of a sum of one per step.
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


class CompiledZoneoutRecurrence(torch.autograd.Function):
    """ZoneoutRecurrence on a CPU with numba."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, inputs: Tensor, weight: Tensor, kept: Tensor) -> Tensor:
        (B, S, _), H, step = inputs.shape, weight.size(1), kernels().cells.lstm_forward
        inputs, kept = inputs.transpose(0, 1).contiguous(), kept.transpose(0, 1).contiguous()
        hidden, cell = inputs.new_empty(S + 1, B, H), torch.empty(S + 1, B, H)
        hidden[0], cell[0] = 0, 0
        gates, product = torch.empty_like(inputs), Product(weight, B)
        x, stays, y, outputs, cells = (array(t) for t in (inputs, kept, gates, hidden, cell))
        for s in range(S):
            step(x[s], array(product(hidden[s])), stays[s], y[s], cells[s], cells[s + 1], outputs[s], outputs[s + 1])
        ctx.save_for_backward(weight, kept, hidden, cell, gates)
        return hidden[1:].transpose(0, 1)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, above: Tensor) -> tuple[Tensor, Tensor, None]:
        weight, kept, hidden, cell, gates = ctx.saved_tensors
        S, B, H = kept.shape
        step, product = kernels().cells.lstm_backward, Product(weight.t(), B)
        d_gates, above = torch.empty_like(gates), above.transpose(0, 1).contiguous()
        d_stays, d_cell, through = np.zeros((B, H), np.float32), np.zeros((B, H), np.float32), torch.zeros_like(hidden[0])
        y, stays, cells, d_outputs, d_y = (array(t) for t in (gates, kept, cell, above, d_gates))
        for s in reversed(range(S)):
            step(y[s], stays[s], cells[s], cells[s + 1], d_outputs[s], array(through), d_stays, d_cell, d_y[s])
            through = product(d_gates[s])
        return d_gates.transpose(0, 1), weight_gradient(d_gates, hidden[:-1], weight.dtype), None


class GRUPair(torch.autograd.Function):
    """Two GRUs side by side, on a CPU with numba: (T, 2, B, 3 H) inputs' products, weights (3 H, H) and biases (3 H,) of each
    for the hidden state's, dtype of the products -> (T, 2, B, H), float32; from zeros on."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, inputs: Tensor, dtype: torch.dtype, *weights_and_biases: Tensor
    ) -> Tensor:
        (T, _, B, _), (ahead, back, *biases) = inputs.shape, (w.detach().to(dtype) for w in weights_and_biases)
        inputs, H, step = inputs.detach().to(dtype).contiguous(), ahead.size(1), kernels().cells.gru_forward
        hidden = torch.empty(T + 1, 2, B, H)
        hidden[0] = 0
        gates, new_recurrent = torch.empty_like(inputs), inputs.new_empty(T, 2, B, H)
        products = [Product(weight, B, bias) for weight, bias in zip((ahead, back), biases, strict=True)]
        x, y, new, states = (array(t) for t in (inputs, gates, new_recurrent, hidden))
        for t in range(T):
            for i, product in enumerate(products):
                step(x[t, i], array(product(hidden[t, i])), y[t, i], new[t, i], states[t, i], states[t + 1, i])
        ctx.save_for_backward(ahead, back, hidden, gates, new_recurrent)
        return hidden[1:]

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, above: Tensor) -> tuple[Tensor | None, ...]:
        ahead, back, hidden, gates, new_recurrent = ctx.saved_tensors
        (T, _, B, H), step = new_recurrent.shape, kernels().cells.gru_backward
        d_inputs, d_recurrent, above = torch.empty_like(gates), torch.empty_like(gates), above.contiguous()
        d_state = np.zeros((2, B, H), np.float32)
        through, products = [torch.zeros(B, H, dtype=gates.dtype)] * 2, [Product(w.t(), B) for w in (ahead, back)]
        y, new, states, d_outputs, d_x, d_y = (array(t) for t in (gates, new_recurrent, hidden, above, d_inputs, d_recurrent))
        for t in reversed(range(T)):
            for i, product in enumerate(products):
                passed = array(through[i])
                step(y[t, i], new[t, i], states[t, i], d_outputs[t, i], passed, d_state[i], d_x[t, i], d_y[t, i])
                through[i] = product(d_recurrent[t, i])
        d_weights = (weight_gradient(d_recurrent[:, i], hidden[:-1, i], gates.dtype) for i in range(2))
        return d_inputs, None, *d_weights, *d_recurrent.sum((0, 2), dtype=torch.float32)
