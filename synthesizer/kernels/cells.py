"""The elementwise part of a step of the GRU and of the LSTM, forward and back, compiled by numba: one pass over memory.

Shapes: B rows, H units. State arrays are float32; those called rounded may be of either kind (synthesizer.kernels.arithmetic).
"""
# numba derives the types from the calls
# ruff: noqa: ANN001, ANN201

from numba import njit

from synthesizer.kernels.arithmetic import load, rounded
from utils.cpu.bf16 import OPTIONS, f32
from utils.cpu.vectors import sigmoid, tanh


@njit(**OPTIONS)
def gru_forward(inputs, of_hidden, gates, new_recurrent, before, after):
    """inputs and of_hidden (B, 3 H), the products of input and state, biases included -> gates (B, 3 H) after sigmoids and tanh
    (reset, update, new), what the reset gate lets through (B, H), all rounded, and from the state before (B, H) that after."""
    B, H = before.shape
    for b in range(B):
        reset, update, new = gates[b, :H], gates[b, H : 2 * H], gates[b, 2 * H :]
        reset_x, update_x, new_x = inputs[b, :H], inputs[b, H : 2 * H], inputs[b, 2 * H :]
        reset_h, update_h, new_h = of_hidden[b, :H], of_hidden[b, H : 2 * H], of_hidden[b, 2 * H :]
        last, state, kept = before[b], after[b], new_recurrent[b]
        for j in range(H):
            r = sigmoid(load(reset_x[j]) + load(reset_h[j]))
            z = sigmoid(load(update_x[j]) + load(update_h[j]))
            n = tanh(load(new_x[j]) + r * load(new_h[j]))
            state[j] = n + z * (last[j] - n)
            kept[j] = rounded(load(new_h[j]), kept[j])
            reset[j], update[j], new[j] = rounded(r, reset[j]), rounded(z, update[j]), rounded(n, new[j])


@njit(**OPTIONS)
def gru_backward(gates, new_recurrent, before, above, through, d_state, d_inputs, d_recurrent):
    """The gradients of gru_forward: of the state after, above and through (B, H), rounded, and d_state (B, H), which is moved a
    step back but for what comes through the product -> d_inputs and d_recurrent (B, 3 H) of both products, rounded."""
    B, H = d_state.shape
    for b in range(B):
        reset, update, new = gates[b, :H], gates[b, H : 2 * H], gates[b, 2 * H :]
        reset_x, update_x, new_x = d_inputs[b, :H], d_inputs[b, H : 2 * H], d_inputs[b, 2 * H :]
        reset_h, update_h, new_h = d_recurrent[b, :H], d_recurrent[b, H : 2 * H], d_recurrent[b, 2 * H :]
        last, past, kept, one, other = before[b], d_state[b], new_recurrent[b], above[b], through[b]
        for j in range(H):
            r, z, n = load(reset[j]), load(update[j]), load(new[j])
            d = past[j] + load(one[j]) + load(other[j])
            d_new = d * (f32(1) - z) * (f32(1) - n * n)
            d_update = rounded(d * (last[j] - n) * z * (f32(1) - z), update_x[j])
            d_reset = rounded(d_new * load(kept[j]) * r * (f32(1) - r), reset_x[j])
            past[j] = d * z
            reset_x[j], update_x[j], new_x[j] = d_reset, d_update, rounded(d_new, new_x[j])
            reset_h[j], update_h[j], new_h[j] = d_reset, d_update, rounded(d_new * r, new_h[j])


@njit(**OPTIONS)
def lstm_forward(inputs, of_hidden, zoned_out, gates, cell_before, cell, hidden_before, hidden):
    """inputs and of_hidden (B, 4 H), the products of input and state -> gates (B, 4 H) after sigmoids and tanh (enter, forget,
    new, leave), all rounded, cell (B, H), and hidden (B, H), rounded, which stays as before where zoned_out (B, H)."""
    B, H = cell.shape
    for b in range(B):
        enter, forget, new, leave = gates[b, :H], gates[b, H : 2 * H], gates[b, 2 * H : 3 * H], gates[b, 3 * H :]
        enter_x, forget_x, new_x = inputs[b, :H], inputs[b, H : 2 * H], inputs[b, 2 * H : 3 * H]
        enter_h, forget_h, new_h = of_hidden[b, :H], of_hidden[b, H : 2 * H], of_hidden[b, 2 * H : 3 * H]
        leave_x, leave_h = inputs[b, 3 * H :], of_hidden[b, 3 * H :]
        before, after, last, out, stays = cell_before[b], cell[b], hidden_before[b], hidden[b], zoned_out[b]
        for j in range(H):
            i, f = sigmoid(load(enter_x[j]) + load(enter_h[j])), sigmoid(load(forget_x[j]) + load(forget_h[j]))
            n, o = tanh(load(new_x[j]) + load(new_h[j])), sigmoid(load(leave_x[j]) + load(leave_h[j]))
            c = f * before[j] + i * n
            h = rounded(o * tanh(c), out[j])
            after[j], out[j] = c, last[j] if stays[j] else h
            enter[j], forget[j] = rounded(i, enter[j]), rounded(f, forget[j])
            new[j], leave[j] = rounded(n, new[j]), rounded(o, leave[j])


@njit(**OPTIONS)
def lstm_backward(gates, zoned_out, cell_before, cell, above, through, d_stays, d_cell, d_gates):
    """The gradients of lstm_forward: of hidden, above and through (B, H), rounded, and d_stays (B, H), which becomes that past
    the zoned-out units; d_cell (B, H) is moved a step back -> d_gates (B, 4 H), of both products, rounded."""
    B, H = cell.shape
    for b in range(B):
        enter, forget, new, leave = gates[b, :H], gates[b, H : 2 * H], gates[b, 2 * H : 3 * H], gates[b, 3 * H :]
        d_enter, d_forget = d_gates[b, :H], d_gates[b, H : 2 * H]
        d_new, d_leave = d_gates[b, 2 * H : 3 * H], d_gates[b, 3 * H :]
        before, after, one, other, dc = cell_before[b], cell[b], above[b], through[b], d_cell[b]
        stays, past = zoned_out[b], d_stays[b]
        for j in range(H):
            i, f, n, o = load(enter[j]), load(forget[j]), load(new[j]), load(leave[j])
            d = load(one[j]) + load(other[j]) + past[j]
            past[j] = d if stays[j] else f32(0)
            d = f32(0) if stays[j] else d
            out = tanh(after[j])
            d_after = dc[j] + d * o * (f32(1) - out * out)
            d_enter[j] = rounded(d_after * n * i * (f32(1) - i), d_enter[j])
            d_forget[j] = rounded(d_after * before[j] * f * (f32(1) - f), d_forget[j])
            d_new[j] = rounded(d_after * i * (f32(1) - n * n), d_new[j])
            d_leave[j] = rounded(d * out * o * (f32(1) - o), d_leave[j])
            dc[j] = d_after * f
