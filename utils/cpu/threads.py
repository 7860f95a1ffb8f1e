"""Where the threads of a loop that numba compiled wait for each other. Imported where it is used, as it takes numba."""
# numba derives the types from the calls
# ruff: noqa: ANN001, ANN201

import os

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

SPINS = 2000  # looks at the others, a few microseconds, before the core is offered to whoever waits for it
_LONG = ir.IntType(64)


@intrinsic
def _arrive(typing_context, met):
    """met[0] += 1, for all threads to see."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, value=args[0]).data
        builder.atomic_rmw("add", data, _LONG(1), "seq_cst")
        return context.get_dummy_value()

    return types.void(met), codegen


@intrinsic
def _arrived(typing_context, met):
    """met[0] as the other threads left it."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, value=args[0]).data
        return builder.load_atomic(data, "acquire", 8)

    return types.int64(met), codegen


@intrinsic
def _give_way(typing_context):
    """Let another thread have the core; nothing on Windows, whose C library cannot."""

    def codegen(context, builder, signature, args):
        if os.name == "posix":
            function = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@njit(nogil=True)
def meet(met, n_meetings, n_threads):
    """Wait until all n_threads have come to this meeting, and see what they have written; returns the number of meetings, to be
    given the next time. met: (1,) int64, 0 before the first one, the same array for all threads."""
    if n_threads == 1:
        return n_meetings
    _arrive(met)
    spins = 0
    while _arrived(met) < (n_meetings + 1) * n_threads:
        spins += 1
        if spins > SPINS:
            _give_way()
    return n_meetings + 1
