"""What every process that works through tasks does first. Imported by workers, so it imports nothing heavy."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any


def call(work: tuple[Callable[[Any], Any], Any]) -> Any:
    """(function, task) -> function(task)."""
    _prepare_process()
    function, task = work
    return function(task)


@lru_cache
def _prepare_process() -> None:
    try:
        from utils.cpu.memory import keep_some_freed_memory
    except ImportError:  # without utils/cpu preprocessing is slower
        return
    keep_some_freed_memory()
