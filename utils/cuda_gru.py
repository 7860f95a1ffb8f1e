"""A GRU over a whole sequence in one kernel, which keeps the recurrent weights on the chip for all steps.

cuDNN starts two kernels a step, which takes a GPU longer than their products. Here each program holds the weights of some units
in shared memory. At every step it reads what the programs of its rows wrote, and waits for them, so all programs must be on the
GPU at the same time (a cooperative launch). Needs compute capability 9.0: earlier GPUs have too little shared memory.

N steps, B rows, H units. Half-precision products; sums, and the state of a unit, in float32.
"""
# triton derives the types from the calls
# ruff: noqa: ANN001

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor, nn

from utils.cuda_kernels import tanh

UNITS, UNITS_BACKWARD = 32, 64  # of a program
ROWS, MOST_ROWS = 16, 512  # of a program at least, and of a launch at most; see most_rows
H200 = 132, 232_448  # multiprocessors, and bytes of shared memory that a program can have
SIZES = (64, 128, 256, 512)  # of a GRU
PATIENCE = 1 << 20  # looks for the other programs, about a second: without them all the result is wrong, but nothing hangs
LAUNCH = {"num_stages": 1, "launch_cooperative_grid": True}


@triton.jit
def _arrive(count):
    tl.debug_barrier()
    tl.atomic_add(count, 1, sem="release", scope="gpu")


@triton.jit
def _wait(count, target, patience):
    """Returns the patience for the next time: none, once it is lost"""
    left = patience
    while (left > 0) & (tl.atomic_add(count, 0, sem="acquire", scope="gpu") < target):
        left -= 1
    tl.debug_barrier()
    return tl.where(left > 0, patience, 0)


@triton.jit(do_not_specialize=["patience", "N"])  # a 1 would be no tensor
def _forward(x_gates, weights, bias, first, states, count, patience, N, B, H: tl.constexpr, U: tl.constexpr, R: tl.constexpr):
    """x_gates (N, B, 3 H), weights (H / U, 4 U, H) with rows of zeros after the three of a unit, bias (3 H,), first (B, H)
    -> states (N + 1, B, H), whose first is given"""
    units, rows = tl.program_id(0) * U + tl.arange(0, U), tl.program_id(1) * R + tl.arange(0, R)
    all_units, real = tl.arange(0, H), (rows < B)[None, :]
    held = tl.load(weights + (tl.program_id(0) * 4 * U + tl.arange(0, 4 * U))[:, None] * H + all_units[None, :])
    b_r, b_z = tl.load(bias + units)[:, None], tl.load(bias + H + units)[:, None]
    b_n = tl.load(bias + 2 * H + units)[:, None]
    count += tl.program_id(1)
    own, read = rows[None, :] * H + units[:, None], rows[None, :] * H + all_units[:, None]  # (U, R), (H, R)
    x_gates += rows[None, :] * 3 * H + units[:, None]
    state = tl.load(first + own, real, other=0.0)
    for t in range(N):
        x_r, x_z, x_n = tl.load(x_gates, real), tl.load(x_gates + H, real), tl.load(x_gates + 2 * H, real)
        if t > 0:
            patience = _wait(count, t * (H // U), patience)
        before = tl.load(states + read, real, other=0.0, cache_modifier=".cg")
        gates = tl.reshape(tl.dot(held, before), (U, 2, 2, R)).permute(0, 3, 1, 2)
        even, odd = tl.split(gates)
        h_r, h_n = tl.split(even)
        h_z, _ = tl.split(odd)
        z = tl.sigmoid(x_z.to(tl.float32) + h_z + b_z)
        new = tanh(x_n.to(tl.float32) + tl.sigmoid(x_r.to(tl.float32) + h_r + b_r) * (h_n + b_n))
        state = new + z * (state - new)
        states += B * H
        tl.store(states + own, state.to(held.dtype), real)
        _arrive(count)
        x_gates += B * 3 * H


@triton.jit
def _step(x_gates, h_gates, before, d_out, real, H: tl.constexpr):
    """What the gradient of a step needs and no other step changes: all (U, R)"""
    r = tl.sigmoid(tl.load(x_gates, real).to(tl.float32) + tl.load(h_gates, real).to(tl.float32))
    z = tl.sigmoid(tl.load(x_gates + H, real).to(tl.float32) + tl.load(h_gates + H, real).to(tl.float32))
    h_n = tl.load(h_gates + 2 * H, real).to(tl.float32)
    new = tanh(tl.load(x_gates + 2 * H, real).to(tl.float32) + r * h_n)
    d_new = (1 - z) * (1 - new * new)
    d_z = (tl.load(before, real).to(tl.float32) - new) * z * (1 - z)
    return d_new, d_new * h_n * r * (1 - r), d_z, d_new * r, z, tl.load(d_out, real).to(tl.float32)


@triton.jit(do_not_specialize=["patience", "N"])
def _backward(
    x_gates,
    h_gates,
    weights,
    states,
    d_out,
    d_x,
    d_h,
    d_first,
    count,
    patience,
    N,
    B,
    H: tl.constexpr,
    U: tl.constexpr,
    R: tl.constexpr,
):
    """h_gates (N, B, 3 H), weights (3 H, H) as nn.GRU has them, states of _forward, d_out (N, B, H)
    -> the gradients of x_gates, of h_gates, and of first"""
    units, rows = tl.program_id(0) * U + tl.arange(0, U), tl.program_id(1) * R + tl.arange(0, R)
    all_units, real = tl.arange(0, H), (rows < B)[None, :]
    weights += all_units[None, :] * H + units[:, None]
    held_r, held_z, held_n = tl.load(weights), tl.load(weights + H * H), tl.load(weights + 2 * H * H)  # (U, H)
    count += tl.program_id(1)
    last = (N - 1).to(tl.int64) * B
    own, read = last * H + rows[None, :] * H + units[:, None], last * 3 * H + rows[None, :] * 3 * H + all_units[:, None]
    own_gates = last * 3 * H + rows[None, :] * 3 * H + units[:, None]
    carry = tl.zeros((U, R), tl.float32)
    n, r, z_of, q, z, d = _step(x_gates + own_gates, h_gates + own_gates, states + own, d_out + own, real, H)
    for step in range(N):
        d += carry
        d_r, d_z, d_n, d_q = d * r, d * z_of, d * n, d * q
        tl.store(d_h + own_gates, d_r.to(held_r.dtype), real)
        tl.store(d_h + own_gates + H, d_z.to(held_r.dtype), real)
        tl.store(d_h + own_gates + 2 * H, d_q.to(held_r.dtype), real)
        _arrive(count)
        tl.store(d_x + own_gates, d_r.to(held_r.dtype), real)
        tl.store(d_x + own_gates + H, d_z.to(held_r.dtype), real)
        tl.store(d_x + own_gates + 2 * H, d_n.to(held_r.dtype), real)
        carry = d * z
        if step < N - 1:
            own -= B * H
            own_gates -= B * 3 * H
        n, r, z_of, q, z, d = _step(x_gates + own_gates, h_gates + own_gates, states + own, d_out + own, real, H)
        patience = _wait(count, (step + 1) * (H // U), patience)
        carry = tl.dot(held_r, tl.load(d_h + read, real, other=0.0, cache_modifier=".cg"), carry)
        carry = tl.dot(held_z, tl.load(d_h + read + H, real, other=0.0, cache_modifier=".cg"), carry)
        carry = tl.dot(held_n, tl.load(d_h + read + 2 * H, real, other=0.0, cache_modifier=".cg"), carry)
        read -= B * 3 * H
    tl.store(d_first + rows[None, :] * H + units[:, None], carry, real)


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_gates: Tensor, weights: Tensor, bias: Tensor, first: Tensor) -> Tensor:
        x_gates, weights, first = x_gates.contiguous(), weights.to(x_gates.dtype), first.float().contiguous()
        (n_steps, n_rows, _), size = x_gates.shape, first.size(1)
        by_unit = F.pad(weights.unflatten(0, (3, -1)), (0, 0, 0, 0, 0, 1)).transpose(0, 1).contiguous()  # (H, 4, H)
        states = x_gates.new_empty(n_steps + 1, n_rows, size)
        states[0] = first
        given = x_gates, by_unit, bias.float(), first, states
        _launch(_forward, given, n_steps, n_rows, size, backward=False)
        ctx.save_for_backward(x_gates, weights, bias, states)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x_gates, weights, bias, states = ctx.saved_tensors
        n_steps, n_rows, size = d_out.shape
        before = states[:-1].flatten(0, 1)  # (N B, H)
        h_gates = torch.addmm(bias.to(before.dtype), before, weights.t())
        d_x, d_h = torch.empty_like(x_gates), torch.empty_like(x_gates)
        d_first = torch.empty(n_rows, size, device=d_out.device)
        given = x_gates, h_gates, weights, states, d_out.contiguous(), d_x, d_h, d_first
        _launch(_backward, given, n_steps, n_rows, size, backward=True)
        flat = d_h.flatten(0, 1)
        return d_x, flat.t() @ before, flat.sum(0, dtype=torch.float32), d_first


def tile(backward: bool) -> tuple[int, int, int]:
    """Of a program: its units, the rows of weights that it holds, and the rows of its products."""
    return (UNITS_BACKWARD, 3 * UNITS_BACKWARD, UNITS_BACKWARD) if backward else (UNITS, 4 * UNITS, 4 * UNITS)


def shared_bytes(rows: int, size: int, backward: bool) -> int:
    """The shared memory of a program with `rows` rows of states, or a little more, as Triton compiles it."""
    _, n_weights, n_products = tile(backward)
    return 2 * size * n_weights + max(2 * size, 4 * n_products) * rows + (4096 if rows > 32 else 0)


def n_warps(rows: int, backward: bool) -> int:
    """The number for which Triton compiles fewer instructions; with eight it splits the small products backward in two."""
    return 4 if backward and rows <= 32 else 8


def rows_of_program(n_rows: int, size: int, backward: bool, n_processors: int) -> int:
    """A power of two, for at most one program on each multiprocessor."""
    return max(ROWS, triton.next_power_of_2(triton.cdiv(n_rows, n_processors // (size // tile(backward)[0]))))


def most_rows(size: int, n_processors: int, shared: int) -> int:
    """Of one launch, forward or backward: all its programs must be on the GPU at once, each with its part in shared memory."""
    most = MOST_ROWS
    for backward in (False, True):
        choices = (1 << i for i in range(ROWS.bit_length() - 1, MOST_ROWS.bit_length()))
        fit = max((rows for rows in choices if shared_bytes(rows, size, backward) <= shared), default=0)
        most = min(most, n_processors // (size // tile(backward)[0]) * fit)
    if not most:
        raise RuntimeError(f"this GPU has too few multiprocessors or too little shared memory for {size} units")
    return most


def _of_gpu(device: torch.device) -> tuple[int, int]:
    """See H200."""
    if device.type != "cuda":
        return H200
    found = triton.runtime.driver.active.utils.get_device_properties(device.index)
    return found["multiprocessor_count"], found["max_shared_mem"]


def _launch(kernel: Any, given: tuple[Tensor, ...], n_steps: int, n_rows: int, size: int, backward: bool) -> None:
    device, units = given[0].device, tile(backward)[0]
    rows = rows_of_program(n_rows, size, backward, _of_gpu(device)[0])
    grid = size // units, triton.cdiv(n_rows, rows)
    count = torch.zeros(grid[1], dtype=torch.int32, device=device)
    with torch.cuda.device_of(count):
        kernel[grid](*given, count, PATIENCE, n_steps, n_rows, size, units, rows, num_warps=n_warps(rows, backward), **LAUNCH)


def run(gru: nn.GRU, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """gru(x, state) in half precision, for one layer and direction and a size in SIZES: x (N, B, I), state (1, B, H)
    -> float16 (N, B, H), (1, B, H)"""
    x_gates = F.linear(x, gru.weight_ih_l0, gru.bias_ih_l0).half()
    first = x.new_zeros(x.size(1), gru.hidden_size) if state is None else state[0]
    at_once = most_rows(gru.hidden_size, *_of_gpu(x.device))
    parts = zip(x_gates.split(at_once, 1), first.split(at_once), strict=True)
    made = [_Sequence.apply(each, gru.weight_hh_l0, gru.bias_hh_l0, start) for each, start in parts]
    y = made[0] if len(made) == 1 else torch.cat(made, dim=1)
    return y, y[-1:]
