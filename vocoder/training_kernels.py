"""The elementwise part of a step of the GRU, compiled by numba: one pass over memory instead of one per operation.

Shapes: B crops, H units. Numbers are bfloat16 unless said otherwise.
"""
# numba derives the types from the calls
# ruff: noqa: ANN001, ANN201

from numba import njit

from utils.cpu.bf16 import OPTIONS, f32, from_bf16, sigmoid, tanh, to_bf16


@njit(**OPTIONS)
def gru_forward(gates, conditioning, recurrent, state, hidden, new_recurrent, x):
    """Of one step: gates (B, 3 H), their share of the input -> after their sigmoids and tanh, in place.

    Gates are in torch's order: reset, update, new. conditioning (B, 3 H) and recurrent (B, 3 H), the products with the
    speech's features and with the hidden state, are added to them. state (B, H), float32, is moved on; hidden (B, H) is
    written as its bfloat16, new_recurrent (B, H) as what the reset gate lets through; hidden is added to x (B, H).
    """
    B, H = state.shape
    for b in range(B):
        reset, update, new = gates[b, :H], gates[b, H : 2 * H], gates[b, 2 * H :]
        reset_c, update_c, new_c = conditioning[b, :H], conditioning[b, H : 2 * H], conditioning[b, 2 * H :]
        reset_h, update_h, new_h = recurrent[b, :H], recurrent[b, H : 2 * H], recurrent[b, 2 * H :]
        of_state, out, kept, y = state[b], hidden[b], new_recurrent[b], x[b]
        for j in range(H):
            r = sigmoid(from_bf16(reset[j]) + from_bf16(reset_c[j]) + from_bf16(reset_h[j]))
            z = sigmoid(from_bf16(update[j]) + from_bf16(update_c[j]) + from_bf16(update_h[j]))
            n = tanh(from_bf16(new[j]) + from_bf16(new_c[j]) + r * from_bf16(new_h[j]))
            h = n + z * (of_state[j] - n)
            of_state[j] = h
            out[j] = to_bf16(h)
            y[j] = to_bf16(from_bf16(y[j]) + h)
            kept[j] = new_h[j]
            reset[j], update[j], new[j] = to_bf16(r), to_bf16(z), to_bf16(n)


@njit(**OPTIONS)
def gru_backward(gates, hidden_before, d_output, d_recurrent_state, d_state, new_recurrent, d_recurrent):
    """Of one step: gates (B, 3 H) as gru_forward left them -> their gradients before sigmoids and tanh, in place.

    d_output (B, H) is the gradient from above, d_recurrent_state (B, H) what came through the product of the step after,
    d_state (B, H), float32, what came past it: it is moved one step back. new_recurrent (B, H) becomes its gradient, and
    d_recurrent (B, 3 H) that of the product with the hidden state.
    """
    B, H = d_state.shape
    for b in range(B):
        reset, update, new = gates[b, :H], gates[b, H : 2 * H], gates[b, 2 * H :]
        d_reset, d_update, d_new = d_recurrent[b, :H], d_recurrent[b, H : 2 * H], d_recurrent[b, 2 * H :]
        before, above, later, past, kept = hidden_before[b], d_output[b], d_recurrent_state[b], d_state[b], new_recurrent[b]
        for j in range(H):
            r, z, n = from_bf16(reset[j]), from_bf16(update[j]), from_bf16(new[j])
            d = from_bf16(above[j]) + from_bf16(later[j]) + past[j]
            dn = d * (f32(1) - z) * (f32(1) - n * n)
            dz = to_bf16(d * (from_bf16(before[j]) - n) * z * (f32(1) - z))
            dr = to_bf16(dn * from_bf16(kept[j]) * r * (f32(1) - r))
            dh = to_bf16(dn * r)
            past[j] = d * z
            reset[j], update[j], new[j] = dr, dz, to_bf16(dn)
            d_reset[j], d_update[j], d_new[j], kept[j] = dr, dz, dh, dh
