"""What every process that works through tasks does with each of them. Imports nothing heavy."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from utils.data.memory import keep_some_freed_memory

SECONDS_BETWEEN_LOOKS = 1.0  # at whether the parent is still there

fatal: set[Path] = set()  # files that ended a process before, and are not read again
_journals: list[int] = []  # descriptor of the file that says what this process reads, if somebody wants to know


def begin(journal: str, parent: int) -> None:
    """In a new process: say in this file which file is being read, so that it is known if the process dies.

    The process does not outlive its parent.
    """
    end_with(parent)
    _journals[:] = [os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around the decoding of a file."""
    _note(os.fsencode(path))
    try:
        yield
    finally:
        _note(b"")


def _note(content: bytes) -> None:
    for journal in _journals:
        os.ftruncate(journal, 0)
        os.lseek(journal, 0, os.SEEK_SET)
        os.write(journal, content)


def call(work: tuple[Callable[[Any], Any], Any], leave_out: Iterable[Path] = ()) -> Any:
    """(function, task) -> function(task), on one thread: numpy's products differ in their last bits with the threads."""
    from threadpoolctl import threadpool_limits

    keep_some_freed_memory()
    fatal.update(leave_out)
    function, task = work
    with threadpool_limits(1, user_api="blas"):
        return function(task)


@lru_cache
def end_with(parent: int, end: Callable[[], None] = lambda: os._exit(1)) -> None:
    """Call `end`, which ends this process, within seconds of its parent's end, even if that is killed. Not on Windows."""
    if os.name == "posix":
        threading.Thread(target=_watch, args=(parent, end), name="parent", daemon=True).start()


def _watch(parent: int, end: Callable[[], None]) -> None:
    while os.getppid() == parent:  # an orphan is given another parent
        time.sleep(SECONDS_BETWEEN_LOOKS)
    end()
