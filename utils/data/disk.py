"""A full disk, in one line: the file, the disk, what is free and what is needed."""

import errno
import os
import shutil
from pathlib import Path

from utils.errors import DiskFull

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NEARLY = 2**20  # bytes free, under which an error without a number is blamed on the disk


def full(path: Path, size: int, written: int, error: BaseException) -> DiskFull | None:
    """What to tell if writing `path` failed for lack of space; `written` bytes of a temporary file are there still.

    `size` is what the file takes, 0 if it is not known. numpy and torch hide the number of the system's error, so the disk is
    asked too.
    """
    folder = Path(path).absolute().parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return None
    numbers = {getattr(each, "errno", None) for each in (error, error.__context__, error.__cause__)}
    if not numbers & {*FULL} and not free < max(NEARLY, size - written):
        return None
    disk = folder
    while not os.path.ismount(disk):
        disk = disk.parent
    needed = f"{size:,}" if size > written else f"more than {written:,}"
    return DiskFull(f"{path}: the disk {disk} is full: {free + written:,} bytes free, {needed} needed{DiskFull.ADVICE}")
