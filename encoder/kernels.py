"""The elementwise part of a step of the LSTM, compiled by numba: one pass over memory instead of one per operation.

Numbers in bfloat16 come and go as their 16 bits (uint16), which numba has no type for. NaN passes through, so that a bad
batch still shows in the loss. Importing this module takes numba, which librosa brings.
"""

import numpy as np
from numba import njit

f32, u32, u16 = np.float32, np.uint32, np.uint16
# Fused multiply-adds, but NaN and infinity kept; and division without Python's check for zero, which would not vectorise.
OPTIONS = {"fastmath": {"contract"}, "error_model": "numpy", "nogil": True, "cache": True}
TANH_IS_ONE = f32(4.97)  # from where the fraction below exceeds 1


@njit(inline="always", **OPTIONS)
def _tanh(x):  # noqa: ANN001 - numba's types
    """Lambert's continued fraction to the seventh power: within 1e-4, where bfloat16 resolves 4e-3."""
    x = TANH_IS_ONE if x > TANH_IS_ONE else x
    x = -TANH_IS_ONE if x < -TANH_IS_ONE else x
    s = x * x
    return (
        x
        * (f32(135135) + s * (f32(17325) + s * (f32(378) + s)))
        / (f32(135135) + s * (f32(62370) + s * (f32(3150) + s * f32(28))))
    )


@njit(inline="always", **OPTIONS)
def _sigmoid(x):  # noqa: ANN001
    return f32(0.5) * _tanh(f32(0.5) * x) + f32(0.5)


@njit(inline="always", **OPTIONS)
def _from_bf16(bits):  # noqa: ANN001
    return u32(u32(bits) << u32(16)).view(np.float32)


@njit(inline="always", **OPTIONS)
def _to_bf16(x):  # noqa: ANN001
    """Rounds half up; a NaN made by arithmetic stays one."""
    return u16(u32(f32(x).view(np.uint32) + u32(0x8000)) >> u32(16))


@njit(**OPTIONS)
def lstm_forward(gates, cell_before, cell, hidden):  # noqa: ANN001, ANN201
    """Of one step: gates (B, 4 H) before -> after their sigmoids and tanh, in place; writes cell and hidden (B, H).

    Gates are in torch's order: enter, forget, new, leave. Cells are float32, the rest bfloat16.
    """
    B, H = cell.shape
    for b in range(B):
        enter, forget = gates[b, :H], gates[b, H : 2 * H]
        new, leave = gates[b, 2 * H : 3 * H], gates[b, 3 * H :]
        before, after, out = cell_before[b], cell[b], hidden[b]
        for j in range(H):
            i, f = _sigmoid(_from_bf16(enter[j])), _sigmoid(_from_bf16(forget[j]))
            n, o = _tanh(_from_bf16(new[j])), _sigmoid(_from_bf16(leave[j]))
            c = f * before[j] + i * n
            after[j] = c
            out[j] = _to_bf16(o * _tanh(c))
            enter[j], forget[j], new[j], leave[j] = _to_bf16(i), _to_bf16(f), _to_bf16(n), _to_bf16(o)


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
            i, f, n, o = _from_bf16(enter[j]), _from_bf16(forget[j]), _from_bf16(new[j]), _from_bf16(leave[j])
            dh = _from_bf16(above[j]) + _from_bf16(later[j])
            t = _tanh(after[j])
            d = dc[j] + dh * o * (f32(1) - t * t)
            d_enter[j] = _to_bf16(d * n * i * (f32(1) - i))
            d_forget[j] = _to_bf16(d * before[j] * f * (f32(1) - f))
            d_new[j] = _to_bf16(d * i * (f32(1) - n * n))
            d_leave[j] = _to_bf16(dh * t * o * (f32(1) - o))
            dc[j] = d * f
