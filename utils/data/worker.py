"""What a process that works through tasks does with each of them."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np


def call(work: tuple[Callable[[Any], Any], Any]) -> Any:
    """(function, task) -> function(task)."""
    _keep_freed_memory()
    function, task = work
    return function(task)


@lru_cache
def _keep_freed_memory() -> None:
    """Page faults to get back what was just freed take a tenth of the time of preprocessing: have glibc keep some of it.

    It returns free memory to the kernel beyond twice the largest block freed so far, of up to 32 MB.
    """
    np.empty(31 << 20, dtype=np.uint8)  # freed at once; never touched, so it takes no memory itself
