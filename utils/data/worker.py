"""What every process that works through tasks does with each of them. Imports nothing heavy."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any


def call(work: tuple[Callable[[Any], Any], Any]) -> Any:
    """(function, task) -> function(task), on one thread: numpy's products differ in their last bits with the threads."""
    from threadpoolctl import threadpool_limits

    _keep_freed_memory()
    function, task = work
    with threadpool_limits(1, user_api="blas"):
        return function(task)


@lru_cache
def _keep_freed_memory() -> None:
    try:
        from utils.cpu.memory import keep_some_freed_memory
    except ImportError:  # without utils/cpu preprocessing is slower
        return
    keep_some_freed_memory()
