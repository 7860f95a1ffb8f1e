"""Compiles the Triton kernels for GPUs, which takes none, and prints a line of JSON for each."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from synthesizer import cuda_attention
from utils import cuda_gru, cuda_kernels

NUMBERS = dict.fromkeys(("N", "B", "T", "C", "K", "patience", "x_stride"), "i32") | {"scale": "fp32"}
GRU_SIZES = ((64, 16), (64, 128), (256, 64), (512, 16), (512, 64))  # units, rows of a program


class Kernel(NamedTuple):
    function: Any
    constants: dict[str, int]
    half: frozenset[str] = frozenset()  # arguments in half precision
    options: dict[str, Any] = {}  # noqa: RUF012 (never changed)


def kernels() -> Iterator[Kernel]:
    for name in ("_lstm", "_lstm_backward", "_gru", "_gru_backward"):
        yield Kernel(getattr(cuda_kernels, name), {"BLOCK": cuda_kernels.BLOCK})
    yield Kernel(cuda_kernels._draw, {"C": 512, "SIZE": 512})
    near = {"SIZE": 32, "TILE": cuda_attention.TILE}
    for function in (cuda_attention._scores, cuda_attention._gradients):
        yield Kernel(function, {"A": 128, "C": 2} | near, frozenset({"keys", "query", "location"}))
    yield Kernel(cuda_attention._gather, near)


def grus() -> Iterator[tuple[Kernel, int]]:
    """And the shared memory that is reckoned with."""
    half = frozenset({"x_gates", "h_gates", "weights", "states", "d_out", "d_x", "d_h"})
    for size, rows in GRU_SIZES:
        for function, backward in ((cuda_gru._forward, False), (cuda_gru._backward, True)):
            constants = {"H": size, "U": cuda_gru.tile(backward)[0], "R": rows}
            options = {"num_warps": cuda_gru.n_warps(rows, backward), **cuda_gru.LAUNCH}
            yield Kernel(function, constants, half, options), cuda_gru.shared_bytes(rows, size, backward)


def compiled(kernel: Kernel, capability: int) -> dict[str, Any]:
    names = [parameter.name for parameter in kernel.function.params]
    pointers = {name: "*i32" if name == "count" else "*fp16" if name in kernel.half else "*fp32" for name in names}
    signature = {name: "constexpr" if name in kernel.constants else NUMBERS.get(name, pointers[name]) for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if signature[name].startswith("*")}
    source = ASTSource(fn=kernel.function, signature=signature, constexprs=kernel.constants, attrs=aligned)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=kernel.options)
    found = {"name": kernel.function.__name__, "capability": capability, "constants": kernel.constants}
    return found | {"shared": made.metadata.shared, "tensor_cores": "mma" in made.asm["ptx"]}


if __name__ == "__main__":
    for each in kernels():
        for capability in (80, 90):
            print(json.dumps(compiled(each, capability)))
    for each, reckoned in grus():
        print(json.dumps(compiled(each, 90) | {"reckoned": reckoned}))
