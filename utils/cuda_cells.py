"""Chooses recurrent cells and sequences for a GPU: one Triton kernel each, or plain torch where those do not work."""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from utils.models import recurrent
from utils.report_lines import say_once

TOLERANCE = 1e-5
SIZES = {"gru": (3, 3, 1), "lstm": (4, 1)}  # of the arguments, in units


class Cells(NamedTuple):
    """See utils.models.recurrent."""

    gru: Callable[[Tensor, Tensor, Tensor], Tensor]
    lstm: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


PLAIN = Cells(recurrent.gru_cell, recurrent.lstm_cell)


@functools.cache
def cells_for(device: torch.device) -> Cells:
    """One kernel each if they agree with plain torch on random numbers, gradients included; else a line says why not."""
    try:
        from utils import cuda_kernels

        fused = Cells(cuda_kernels.gru_cell, cuda_kernels.lstm_cell)
        off = max(difference(getattr(fused, name), getattr(PLAIN, name), inputs_of(name, device)) for name in SIZES)
        problem = "" if off <= TOLERANCE else f"their results are off by {off:.1g}"
    except Exception as error:  # whatever Triton, its compiler or the driver raises
        problem = f"{type(error).__name__}: {error}".partition("\n")[0]
    if problem:
        say_once(f"fused recurrent cells are not available, so training and speaking are slower: {problem}")
    return PLAIN if problem else Cells(*map(where_on_gpu, fused, PLAIN))


def inputs_of(name: str, device: torch.device) -> list[Tensor]:
    """Random arguments of a cell."""
    return random_inputs(device, *((5, size * 300) for size in SIZES[name]))


def where_on_gpu(fused: Callable, plain: Callable) -> Callable:
    """The fused function; plain torch for a model that has been moved to a CPU since."""

    def chosen(*given: Any) -> Any:
        on_gpu = next(each for each in given if isinstance(each, Tensor)).is_cuda
        return (fused if on_gpu else plain)(*given)

    chosen.plain = plain
    return chosen


@torch.inference_mode(False)
@torch.enable_grad()
def difference(fused: Callable, plain: Callable, inputs: Sequence[Tensor]) -> float:
    """Largest difference between two functions' outputs and gradients, beside the largest number."""
    found = []
    own = torch.Generator(inputs[0].device).manual_seed(1)  # the random numbers of a run stay as they are
    for each in (plain, fused):
        given = [one.detach().requires_grad_() for one in inputs]
        outputs = each(*given)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        if not found:
            weights = [torch.randn(output.shape, generator=own, device=output.device) for output in outputs]
        total = sum((output * weight).sum() for output, weight in zip(outputs, weights, strict=True))
        found.append([*outputs, *torch.autograd.grad(total, given)])
    return max(((one - other).abs().max() / one.abs().max()).item() for one, other in zip(*found, strict=True))


def random_inputs(device: torch.device, *shapes: tuple[int, ...]) -> list[Tensor]:
    """The same in every run."""
    own = torch.Generator(device).manual_seed(0)
    return [torch.randn(shape, generator=own, device=device) for shape in shapes]


SEQUENCE = (64, 100)  # steps and rows of the comparison
SEQUENCE_TOLERANCE = 1e-2  # relative; two ways to compute in fp16 differ by 1e-3


@functools.cache
def sequence_for(device: torch.device, size: int) -> Callable | None:
    """utils.cuda_gru.run for GRUs of this size, if it gives what nn.GRU gives, gradients included, and sooner; else None, and a
    line says why."""
    try:
        from utils import cuda_gru

        if size not in cuda_gru.SIZES:
            raise ValueError(f"it has {size} units, not {', '.join(map(str, cuda_gru.SIZES))}")
        off, gain = compare_sequences(cuda_gru.run, device, size)
        problem = f"its results are off by {off:.1g}" if not off <= SEQUENCE_TOLERANCE else "it is slower" if gain < 1 else ""
    except Exception as error:  # whatever Triton, its compiler or the driver raises
        problem = f"{type(error).__name__}: {error}".partition("\n")[0]
    if problem:
        say_once(f"a GRU in one kernel is not available, so training is slower: {problem}")
    return None if problem else cuda_gru.run


@torch.inference_mode(False)
@torch.enable_grad()
def compare_sequences(run: Callable, device: torch.device, size: int) -> tuple[float, float]:
    """`run` against a GRU itself, in fp16: the relative difference, gradients included, and how many times as fast it is."""
    own, (n_steps, n_rows) = torch.Generator(device).manual_seed(0), SEQUENCE
    with torch.random.fork_rng([]):  # the random numbers of a run stay as they are
        gru = nn.GRU(size, size).to(device)
    weights, *inputs = torch.randn(4, n_steps, n_rows, size, generator=own, device=device)
    found, taken = [], []
    for each in (gru, functools.partial(run, gru)):
        for given in inputs:  # others in each run, as what the last one has left in memory must not make this one right
            x, start = given.clone().requires_grad_(), _time(device)
            with torch.autocast(device.type, torch.float16):
                y, _ = each(x)
            gradients = torch.autograd.grad((y.float() * weights).sum(), [x, *gru.parameters()])
            seconds = _time(device) - start
        found.append([y.float(), *(each.float() for each in gradients)])
        taken.append(seconds)
    off = max(((one - other).norm() / one.norm()).item() for one, other in zip(*found, strict=True))
    return off, taken[0] / taken[1]


def _time(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
