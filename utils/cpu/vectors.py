"""Building blocks of the loops that numba compiles for synthesizer and vocoder: products with weights packed for this CPU's
vector registers, and exponentials that become vector code. Weights and their inputs are both float32, or both bfloat16 held as
uint16; sums are float32. A row of a product does not depend on the other rows.
"""
# numba derives the types from the calls
# ruff: noqa: ANN001, ANN201

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_FEATURES = binding.get_host_cpu_features()
HAS_BF16 = bool(_FEATURES.get("avx512bf16"))
LANES, VECTORS = (16, 4) if _FEATURES.get("avx512f") else (8, 2) if _FEATURES.get("avx2") else (4, 4)
COLUMNS = LANES * VECTORS  # outputs of a tile
TILE_ROWS = 6  # the registers hold TILE_ROWS x VECTORS sums, VECTORS weights and one input

if HAS_BF16:
    binding.initialize_native_asmparser()  # for vdpbf16ps, which is written as assembly

_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_FLOATS, _INTS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)


def text_of(*modules: ModuleType) -> int:
    """A number that changes with the modules' source, never 0. numba caches a function by its own file and its closure, so one
    with this number in its closure is compiled again when those modules change."""
    text = b"".join(Path(module.__file__).read_bytes() for module in modules)
    return 1 + int(hashlib.sha256(text).hexdigest()[:12], 16)


def keep(function: Callable[..., None]) -> Callable[..., None]:
    """The function compiled for this CPU, without the GIL, and cached on disk if the folder can be written to."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)


def pack(weight: np.ndarray, bf16: bool) -> np.ndarray:
    """(K, N) float32 -> (panels, K, COLUMNS) float32, or uint16 (panels, K, COLUMNS) of pairs (K / 2, COLUMNS, 2), the order
    in which a tile reads them. The last panel and an odd K are padded with zeros."""
    n_inputs, n_outputs = weight.shape
    weight = np.pad(weight, ((0, n_inputs % 2 if bf16 else 0), (0, -n_outputs % COLUMNS)))
    if not bf16:
        return np.ascontiguousarray(weight.reshape(len(weight), -1, COLUMNS).transpose(1, 0, 2))
    halves = torch.from_numpy(np.ascontiguousarray(weight, dtype=np.float32)).to(torch.bfloat16).view(torch.uint16).numpy()
    pairs = halves.reshape(len(weight) // 2, 2, -1, COLUMNS).transpose(2, 0, 3, 1)
    return np.ascontiguousarray(pairs).reshape(-1, len(weight), COLUMNS)


@intrinsic(prefer_literal=True)
def tile(typing_context, a, row, b, panel, c, n_rows):
    """c[row : row + n_rows, panel's columns] = a[row : row + n_rows] @ b[panel]; n_rows is a constant."""
    bf16 = a.dtype == types.uint16

    def codegen(context, builder, signature, args):
        a_array, b_array, c_array = (context.make_array(signature.args[i])(context, builder, value=args[i]) for i in (0, 2, 4))
        row, panel = args[1], args[3]
        n_inputs = cgutils.unpack_tuple(builder, b_array.shape)[1]
        stride = cgutils.unpack_tuple(builder, a_array.shape)[1]
        width = cgutils.unpack_tuple(builder, c_array.shape)[1]
        if bf16:
            n_inputs, stride = (builder.udiv(n, n.type(2)) for n in (n_inputs, stride))
        scalar, vector = (_INT, _INTS) if bf16 else (_FLOAT, _FLOATS)
        size = row.type
        inputs = builder.bitcast(a_array.data, scalar.as_pointer())
        weights = builder.bitcast(b_array.data, vector.as_pointer())
        outputs = builder.bitcast(c_array.data, _FLOAT.as_pointer())
        rows = [builder.add(row, size(r)) for r in range(n_rows.literal_value)]
        starts = [builder.gep(inputs, [builder.mul(r, stride)]) for r in rows]
        start = builder.gep(weights, [builder.mul(builder.mul(panel, n_inputs), size(VECTORS))])
        sums = [[cgutils.alloca_once_value(builder, _FLOATS([0.0] * LANES)) for _ in range(VECTORS)] for _ in rows]
        for total in (total for row_sums in sums for total in row_sums):
            builder.store(_FLOATS([0.0] * LANES), total)
        with cgutils.for_range(builder, n_inputs) as loop:
            here = builder.gep(start, [builder.mul(loop.index, size(VECTORS))])
            loaded = [builder.load(builder.gep(here, [size(v)]), align=4) for v in range(VECTORS)]
            for row_sums, begin in zip(sums, starts, strict=True):
                value = _broadcast(builder, builder.load(builder.gep(begin, [loop.index]), align=4), vector)
                for total, weight in zip(row_sums, loaded, strict=True):
                    builder.store(_multiply_add(builder, builder.load(total), value, weight, bf16), total)
        for row_sums, r in zip(sums, rows, strict=True):
            offset = builder.add(builder.mul(r, width), builder.mul(panel, size(COLUMNS)))
            to = builder.bitcast(builder.gep(outputs, [offset]), _FLOATS.as_pointer())
            for v, total in enumerate(row_sums):
                builder.store(builder.load(total), builder.gep(to, [size(v)]), align=4)
        return context.get_dummy_value()

    return types.void(a, types.intp, b, types.intp, c, n_rows), codegen


def _broadcast(builder: ir.IRBuilder, value: ir.Value, vector: ir.VectorType) -> ir.Value:
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _INT(0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), _INTS([0] * LANES))


def _multiply_add(builder: ir.IRBuilder, total: ir.Value, value: ir.Value, weight: ir.Value, bf16: bool) -> ir.Value:
    if bf16:  # two products and two additions for each of 16 sums
        function = ir.FunctionType(_FLOATS, [_FLOATS, _INTS, _INTS])
        return builder.asm(function, "vdpbf16ps $3, $2, $0", "=v,0,v,v", [total, value, weight], False)
    function = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
    fma = cgutils.get_or_insert_function(builder.module, function, f"llvm.fma.v{LANES}f32")
    return builder.call(fma, [value, weight, total])


@intrinsic
def put(typing_context, array, row, column, value):
    """array[row, column] = value, a float32; rounded to the nearest, ties to even, where the array holds bfloat16."""

    def codegen(context, builder, signature, args):
        holder = context.make_array(signature.args[0])(context, builder, value=args[0])
        stride = cgutils.unpack_tuple(builder, holder.shape)[1]
        to = builder.gep(holder.data, [builder.add(builder.mul(args[1], stride), args[2])])
        number = args[3]
        if signature.args[0].dtype == types.uint16:
            word = builder.bitcast(number, _INT)
            odd = builder.and_(builder.lshr(word, _INT(16)), _INT(1))
            rounded = builder.add(word, builder.add(odd, _INT(0x7FFF)))
            number = builder.trunc(builder.lshr(rounded, _INT(16)), ir.IntType(16))
        builder.store(number, to)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, types.float32), codegen


@intrinsic
def _round(typing_context, x):
    def codegen(context, builder, signature, args):
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_FLOAT, [_FLOAT]), "llvm.rint.f32")
        return builder.call(function, args)

    return types.float32(types.float32), codegen


@intrinsic
def _power_of_two(typing_context, n):
    """2^n for a whole n from -126 to 127, by setting the bits of the exponent."""

    def codegen(context, builder, signature, args):
        exponent = builder.add(builder.fptosi(args[0], _INT), _INT(127))
        return builder.bitcast(builder.shl(exponent, _INT(23)), _FLOAT)

    return types.float32(types.float32), codegen


_LOG2_E, _LN2_HIGH, _LN2_LOW = np.float32(1.4426950408889634), np.float32(0.693145751953125), np.float32(1.42860682e-6)
_C2, _C3, _C4, _C5, _C6 = (np.float32(1 / f) for f in (2, 6, 24, 120, 720))
_ONE, _TWO, _HALF, _LOWEST, _HIGHEST = (np.float32(v) for v in (1, 2, 0.5, -87, 88))


@njit(inline="always", error_model="numpy")
def exp(x):
    """e^x = 2^n e^r with |r| <= ln 2 / 2 and the series of e^r: relative error 2e-7. It has no branch, so it vectorises."""
    x = min(max(x, _LOWEST), _HIGHEST)
    n = _round(x * _LOG2_E)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    series = _ONE + r * (_ONE + r * (_C2 + r * (_C3 + r * (_C4 + r * (_C5 + r * _C6)))))
    return series * _power_of_two(n)


@njit(inline="always", error_model="numpy")
def sigmoid(x):
    return _ONE / (_ONE + exp(-x))


@njit(inline="always", error_model="numpy")
def tanh(x):
    return _ONE - _TWO / (_ONE + exp(_TWO * x))


# Without "nnan", so that NaN passes through: a broken model must not sound like speech.
@njit(nogil=True, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")
def gru_step(x_gates, h_gates, bias, hidden):
    """hidden (H,) becomes the next hidden state. Gates (3 H,): reset, update, new; h_gates, without their bias, are used up."""
    H = len(hidden)
    for j in range(2 * H):
        h_gates[j] = sigmoid(x_gates[j] + h_gates[j] + bias[j])
    reset, update, new = h_gates[:H], h_gates[H : 2 * H], h_gates[2 * H : 3 * H]
    for j in range(H):
        new[j] = tanh(x_gates[2 * H + j] + reset[j] * (new[j] + bias[2 * H + j]))
    for j in range(H):
        hidden[j] = new[j] + update[j] * (hidden[j] - new[j])


@njit(nogil=True)
def multiply(a, b, c, n):
    """c[:n] = a[:n] @ b, unpacked (R, K) @ packed (panels, K, COLUMNS) -> (R, panels COLUMNS)"""
    for panel in range(b.shape[0]):
        multiply_panel(a, b, panel, c, 0, n)


@njit(nogil=True)
def multiply_panel(a, b, panel, c, first, last):
    """c[first:last, the panel's columns] = a[first:last] @ b[panel]"""
    rest = (last - first) % TILE_ROWS
    whole = last - rest
    for row in range(first, whole, TILE_ROWS):
        tile(a, row, b, panel, c, 6)
    if rest == 1:
        tile(a, whole, b, panel, c, 1)
    elif rest == 2:
        tile(a, whole, b, panel, c, 2)
    elif rest == 3:
        tile(a, whole, b, panel, c, 3)
    elif rest == 4:
        tile(a, whole, b, panel, c, 4)
    elif rest == 5:
        tile(a, whole, b, panel, c, 5)
