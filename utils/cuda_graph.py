"""Many small operations on a CUDA GPU, launched as one."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from utils.report_lines import say_once

LOADING = "thread_local"  # capture mode that lets other threads load data meanwhile


def record(work: Callable[[], None], device: torch.device, pool: Any = None) -> Callable[[], None]:
    """A function that does the same as `work` in one launch, or `work` itself if no graph can be recorded.

    The tensors that `work` reads and writes, all on `device`, must stay where they are in memory. The graph multiplies in
    TF32. Recording runs it once, and leaves the random numbers as they are. pool: the memory for all else, which graphs may
    share if they are replayed one at a time.
    """
    side, pool = _beside(device), pool or torch.cuda.graph_pool_handle()
    with torch.cuda.device(device), _in_tf32():
        with _on(side), _random_numbers_kept(device):
            work()  # a first run, in which libraries allocate their memory
        graph = torch.cuda.CUDAGraph()
        try:
            with _recording(graph, side, pool):
                work()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            say_once(f"generating step by step, several times slower, as no CUDA graph could be recorded: {_first_line(error)}")
            return work
    return graph.replay


class StepGraphs:
    """A training step, recorded as a CUDA graph for each shape of its batch: all its operations are launched as one.

    `step(batch, numbers, *fixed)` reads a NamedTuple of tensors and some numbers that change from step to step, and returns a
    dictionary of tensors. `fixed` is part of the graph; graphs with another `fixed` or batch size than the last are freed. The
    first step of a shape is taken as it is, the second is recorded. Random numbers and the optimizers' learning rates are new
    at every launch. `undo` puts the trainer's state in order after a recording that failed.
    """

    def __init__(
        self,
        step: Callable[..., dict[str, Tensor]],
        optimizers: Sequence[torch.optim.Optimizer],
        device: torch.device,
        undo: Callable,
    ) -> None:
        self._step, self._device, self._undo = step, device, undo
        self._groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        self._side = torch.cuda.Stream(device)
        self._graphs: dict[Any, tuple] = {}
        self._in_common: Any = None  # of all graphs held
        self._can_record = True

    def __call__(self, batch: Any, numbers: Sequence[float], *fixed: Any) -> dict[str, Tensor]:
        if self._in_common != (fixed, len(batch[0])):
            self._graphs, self._in_common = {}, (fixed, len(batch[0]))
            self._pool = torch.cuda.graph_pool_handle()
        rates = [group["lr"] for group in self._groups]
        changing = torch.tensor([*numbers, *rates], pin_memory=True).to(self._device, non_blocking=True)
        shape = tuple(each.shape for each in batch)
        with torch.cuda.device(self._device):
            if shape not in self._graphs or not self._can_record:
                self._graphs[shape] = None
                with _on(self._side):
                    return self._plain(batch, changing, fixed)
            if self._graphs[shape] is None and not self._record(shape, batch, changing, fixed):
                return self._plain(batch, changing, fixed)
            held, replay, returned = self._graphs[shape]
            torch._foreach_copy_(held, [*batch, changing])
            replay()
        return returned

    def _plain(self, batch: Any, changing: Tensor, fixed: tuple) -> dict[str, Tensor]:
        n_rates = len(self._groups)
        with _recordable(self._groups, changing[-n_rates:]):
            return self._step(batch, changing[:-n_rates], *fixed)

    def _record(self, shape: Any, batch: Any, changing: Tensor, fixed: tuple) -> bool:
        held = [each.clone() for each in (*batch, changing)]
        graph = torch.cuda.CUDAGraph()
        try:
            with _recording(graph, self._side, self._pool):
                returned = self._plain(type(batch)(*held[:-1]), held[-1], fixed)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            say_once(f"training without CUDA graphs, several times slower, as none could be recorded: {_first_line(error)}")
            self._can_record = False
            self._undo()
            return False
        self._graphs[shape] = held, graph.replay, returned
        return True


@functools.cache
def _beside(device: torch.device) -> torch.cuda.Stream:
    """The stream of a device on which all is recorded that shares memory: torch's own is on the device that comes first."""
    return torch.cuda.Stream(device)


@contextlib.contextmanager
def _recording(graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream, pool: Any) -> Iterator[None]:
    """torch.cuda.graph, but after a failure everything is as before, and the error that of the work. By itself it stays on its
    stream and raises another error if the graph cannot be ended either."""
    failed = None
    try:
        with torch.cuda.stream(stream), torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode=LOADING):
            try:
                yield
            except BaseException as error:
                failed = error
                raise
    except RuntimeError as error:
        _end_broken_off(stream, pool)
        raise failed or error from None
    finally:
        failed = None  # or it would keep the tensors of its frames, which refer to it


def _end_broken_off(stream: torch.cuda.Stream, pool: Any) -> None:
    """When CUDA breaks a recording off, torch does not end it: its allocator keeps what other streams have used, and random
    numbers fail. It is ended here as torch does it, and another one that succeeds puts the random numbers in order."""
    index = stream.device.index
    with contextlib.suppress(RuntimeError, AttributeError):  # it had been ended; another version's torch._C
        torch._C._cuda_endAllocateToPool(index, pool)
        torch._C._cuda_releasePool(index, pool)
    another = torch.cuda.graph(torch.cuda.CUDAGraph(), stream=stream, capture_error_mode=LOADING)
    with contextlib.suppress(RuntimeError), torch.cuda.stream(stream), another:
        torch.zeros(1, device=stream.device)


@contextlib.contextmanager
def _in_tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def _random_numbers_kept(device: torch.device) -> Iterator[None]:
    state = torch.cuda.get_rng_state(device)
    try:
        yield
    finally:
        torch.cuda.set_rng_state(state, device)


@contextlib.contextmanager
def _on(stream: torch.cuda.Stream) -> Iterator[None]:
    """Run on another stream, in order with this one."""
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)


@contextlib.contextmanager
def _recordable(groups: Sequence[dict[str, Any]], rates: Tensor) -> Iterator[None]:
    """Learning rates on the device, and a step that can be recorded. The optimizers' groups get their own settings back, which
    a checkpoint holds."""
    before = [{name: group[name] for name in ("lr", "capturable")} for group in groups]
    for group, rate in zip(groups, rates, strict=True):
        group.update(lr=rate, capturable=True)
    try:
        yield
    finally:
        for group, kept in zip(groups, before, strict=True):
            group.update(kept)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
