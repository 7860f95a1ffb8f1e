"""Killed processes, and what they leave behind."""

import os
import signal
from pathlib import Path

from utils.data.paths import temporary_path
from utils.errors import UserError

NO_PROCESS = 2**22 + 1  # a process number that the kernel never gives


def left_by_a_kill(path: Path) -> Path:
    """The temporary file that a process killed while writing `path` leaves."""
    temporary = temporary_path(path, NO_PROCESS)
    temporary.write_bytes(b"cut sh")
    return temporary


def kill_itself(task: object) -> None:
    """A task that kills its process."""
    os.kill(os.getpid(), signal.SIGKILL)


def raise_error(task: object) -> None:
    """A task that raises a UserError."""
    raise UserError(f"{task}: is wrong")
