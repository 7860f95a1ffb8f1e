"""A barrier for the threads of a loop that numba compiled."""
# numba derives the types from the calls
# ruff: noqa: ANN001, ANN201

import os

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

SPINS = 2000  # checks, a few microseconds, before the core is yielded to other threads
_LONG = ir.IntType(64)


@intrinsic
def _arrive(typing_context, met):
    """met[0] += 1, atomically."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, value=args[0]).data
        builder.atomic_rmw("add", data, _LONG(1), "seq_cst")
        return context.get_dummy_value()

    return types.void(met), codegen


@intrinsic
def _arrived(typing_context, met):
    """met[0], read atomically."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, value=args[0]).data
        return builder.load_atomic(data, "acquire", 8)

    return types.int64(met), codegen


@intrinsic
def _yield_core(typing_context):
    """Let another thread have the core. Does nothing on Windows, whose C library has no sched_yield."""

    def codegen(context, builder, signature, args):
        if os.name == "posix":
            function = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@njit(nogil=True)
def meet(met, n_meetings, n_threads):
    """Wait until all n_threads have arrived; then each sees what the others have written. met (1,) int64 is shared by all
    threads and starts at 0. Returns the number of meetings so far, which the next call takes."""
    if n_threads == 1:
        return n_meetings
    _arrive(met)
    spins = 0
    while _arrived(met) < (n_meetings + 1) * n_threads:
        spins += 1
        if spins > SPINS:
            _yield_core()
    return n_meetings + 1
