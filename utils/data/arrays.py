"""Arrays in .npy files, which may be damaged or a stranger's: only what the file holds is allocated, and nothing executed."""

import re
import stat
from pathlib import Path

import numpy as np

from utils.errors import UserError

MAGIC = b"\x93NUMPY\x01\x00"
HEADER = re.compile(
    rb"\{'descr': '([<>|][fiu][1248])', 'fortran_order': (False|True), 'shape': \(((?:[0-9]{1,12}, ?)*[0-9]{0,12})\), \} *\n"
)


class ArrayError(UserError):
    """A .npy file that cannot be used: its name and the reason."""


def load_npy(path: Path, kind: type[np.number], n_axes: int, mapped: bool = False) -> np.ndarray:
    """An array of numbers as np.save writes it; `mapped` reads only what is used of it.

    ArrayError if there is no such file, or if it is not a whole .npy file of numbers of this kind with so many axes.
    """
    try:
        array = _load(Path(path), mapped)
        if array.ndim != n_axes or not np.issubdtype(array.dtype, kind):
            raise ArrayError(f"{path}: holds {array.dtype} {array.shape} where {kind.__name__} of {n_axes} axes is expected")
        return array
    except FileNotFoundError as error:
        raise ArrayError(f"{path}: not found") from error
    except OSError as error:
        raise ArrayError(f"{path}: cannot be read ({error.strerror or error})") from error


def _load(path: Path, mapped: bool) -> np.ndarray:
    about = path.stat()
    if stat.S_ISFIFO(about.st_mode):  # which may never answer
        raise ArrayError(f"{path}: is no file")
    with path.open("rb") as file:
        start = file.read(10)
        length = int.from_bytes(start[8:], "little")
        match = HEADER.fullmatch(file.read(length)) if start[:8] == MAGIC else None
        if match is None:
            raise ArrayError(f"{path}: is damaged, or no .npy file of numbers")
        dtype = np.dtype(match[1].decode())
        shape = tuple(int(size) for size in match[3].split(b",") if size.strip())
        n_bytes = dtype.itemsize
        for size in shape:  # Python's numbers, which do not overflow
            n_bytes *= size
        if about.st_size - 10 - length != n_bytes:
            raise ArrayError(f"{path}: is damaged, it holds more or fewer numbers than it says")
        order = "F" if match[2] == b"True" else "C"
        if mapped and n_bytes:
            return np.memmap(path, dtype, "r", 10 + length, shape, order)
        return np.fromfile(file, dtype).reshape(shape, order=order)


def check_finite(path: Path, array: np.ndarray) -> np.ndarray:
    """The array. ArrayError if anything in it is not a finite number."""
    if not np.isfinite(array).all():
        raise ArrayError(f"{path}: holds what is not a finite number")
    return array
