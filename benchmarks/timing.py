"""Timing for benchmarks: medians after a warm-up call, taking turns where things are compared."""

import contextlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from utils.data.memory import keep_all_freed_memory

if TYPE_CHECKING:
    import torch

SAMPLES = Path(__file__).parent.parent / "samples"


def repeat(work: Callable[[], object], times: int = 5) -> float:
    """Median seconds of `work`, after a warm-up call."""
    return alternate(work, times=times)[0]


def alternate(*works: Callable[[], object], times: int = 5) -> list[float]:
    """Median seconds of each, after a warm-up call. They take turns, so that other load on the machine slows all alike."""
    if device().type == "cpu":
        keep_all_freed_memory()  # as trainers do
    for work in works:
        work()
    rounds = [[_seconds(work) for work in works] for _ in range(times)]
    return [statistics.median(taken) for taken in zip(*rounds, strict=True)]


def core_seconds(work: Callable[[], object], times: int = 3) -> float:
    """Median CPU seconds of all threads together; other load on the machine hardly matters."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    if device().type == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter() - start


def device() -> "torch.device":
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(dtype: str) -> contextlib.AbstractContextManager:
    import torch

    return contextlib.nullcontext() if dtype == "fp32" else torch.autocast(device().type, torch.bfloat16)
