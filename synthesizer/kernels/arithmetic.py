"""Arithmetic for loops that numba compiles to vector code, on float32 and on bfloat16 alike.

Arrays called rounded are float32, or bfloat16 where products are made in it: then they come as their 16 bits (uint16), which
load and rounded turn into float32 and back. Imported where it is used, as it takes numba.
"""
# numba derives the types from the calls
# ruff: noqa: ANN001, ANN201

from numba import types
from numba.extending import overload

from utils.cpu.bf16 import OPTIONS, from_bf16, to_bf16

SUMS = {**OPTIONS, "fastmath": {"contract", "reassoc"}}  # sums in any order, as vector code needs; NaN still passes through


def load(x):
    """A number of a rounded array as float32."""


def rounded(x, like):
    """A float32 as a number of the rounded array that `like` is from."""


@overload(load, inline="always")
def _load(x):
    return (lambda x: from_bf16(x)) if x == types.uint16 else (lambda x: x)


@overload(rounded, inline="always")
def _rounded(x, like):
    return (lambda x, like: to_bf16(x)) if like == types.uint16 else (lambda x, like: x)
