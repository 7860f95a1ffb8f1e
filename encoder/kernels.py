"""The elementwise part of a step of the LSTM, compiled by numba: one pass over memory instead of one per operation."""

from numba import njit

from utils.cpu.bf16 import OPTIONS, f32, from_bf16, sigmoid, tanh, to_bf16


@njit(**OPTIONS)
def lstm_forward(gates, bias, cell_before, cell, next_both):  # noqa: ANN001, ANN201
    """Of one step: gates (B, 4 H) without their bias (4 H,) -> after their sigmoids and tanh, in place; writes cell (B, H) and
    the output, into the last H columns of next_both (B, C + H).

    Gates are in torch's order: enter, forget, new, leave. Cells and bias are float32, the rest bfloat16.
    """
    B, H = cell.shape
    of_enter, of_forget, of_new, of_leave = bias[:H], bias[H : 2 * H], bias[2 * H : 3 * H], bias[3 * H :]
    C = next_both.shape[1] - H
    for b in range(B):
        enter, forget = gates[b, :H], gates[b, H : 2 * H]
        new, leave = gates[b, 2 * H : 3 * H], gates[b, 3 * H :]
        before, after, out = cell_before[b], cell[b], next_both[b, C:]
        for j in range(H):
            i, f = sigmoid(from_bf16(enter[j]) + of_enter[j]), sigmoid(from_bf16(forget[j]) + of_forget[j])
            n, o = tanh(from_bf16(new[j]) + of_new[j]), sigmoid(from_bf16(leave[j]) + of_leave[j])
            c = f * before[j] + i * n
            after[j] = c
            out[j] = to_bf16(o * tanh(c))
            enter[j], forget[j], new[j], leave[j] = to_bf16(i), to_bf16(f), to_bf16(n), to_bf16(o)


@njit(**OPTIONS)
def lstm_backward(gates, cell_before, cell, d_output, d_hidden, d_cell, d_gates):  # noqa: ANN001, ANN201
    """Of one step: writes d_gates (B, 4 H), before the sigmoids and tanh, and moves d_cell (B, H) one step back.

    gates as lstm_forward left them; d_output and d_hidden (B, H) are the gradients of the output of this step, from above
    and from the step after.
    """
    B, H = cell.shape
    for b in range(B):
        enter, forget = gates[b, :H], gates[b, H : 2 * H]
        new, leave = gates[b, 2 * H : 3 * H], gates[b, 3 * H :]
        d_enter, d_forget = d_gates[b, :H], d_gates[b, H : 2 * H]
        d_new, d_leave = d_gates[b, 2 * H : 3 * H], d_gates[b, 3 * H :]
        before, after, above, later, dc = cell_before[b], cell[b], d_output[b], d_hidden[b], d_cell[b]
        for j in range(H):
            i, f, n, o = from_bf16(enter[j]), from_bf16(forget[j]), from_bf16(new[j]), from_bf16(leave[j])
            dh = from_bf16(above[j]) + from_bf16(later[j])
            t = tanh(after[j])
            d = dc[j] + dh * o * (f32(1) - t * t)
            d_enter[j] = to_bf16(d * n * i * (f32(1) - i))
            d_forget[j] = to_bf16(d * before[j] * f * (f32(1) - f))
            d_new[j] = to_bf16(d * i * (f32(1) - n * n))
            d_leave[j] = to_bf16(dh * t * o * (f32(1) - o))
            dc[j] = d * f
