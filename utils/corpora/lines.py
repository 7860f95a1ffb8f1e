"""An index of a long text file's lines by key, which takes 16 bytes a line instead of the whole file."""

from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np


def lines_of(file: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a binary file with their ends, those of any system: \\n, \\r\\n or \\r."""
    for line in file:
        yield from line.splitlines(keepends=True)


class LineIndex:
    """find(key) -> the lines with that key. `keys` holds all keys if keep_keys, else none. `split` cuts the file into lines."""

    def __init__(
        self,
        path: Path,
        key: Callable[[bytes], bytes],
        keep_keys: bool = False,
        split: Callable[[Iterable[bytes]], Iterable[bytes]] = lines_of,
    ) -> None:
        self.path, self._key = path, key
        hashes, offsets, keys, offset = array("q"), array("q"), set(), 0
        with path.open("rb") as file:
            for line in split(file):
                found = key(line)
                hashes.append(hash(found))  # hashes differ between processes, so an index serves one process
                offsets.append(offset)
                offset += len(line)
                if keep_keys:
                    keys.add(found)
        offsets.append(offset)
        self.keys = frozenset(keys)
        hashes = np.array(hashes, dtype=np.int64)
        self._order = np.argsort(hashes, kind="stable")
        self._hashes, self._offsets = hashes[self._order], np.array(offsets, dtype=np.int64)

    def find(self, key: bytes) -> list[tuple[int, bytes]]:
        """(number from 1, line without its newline), in the order of the file."""
        first, past = np.searchsorted(self._hashes, hash(key)), np.searchsorted(self._hashes, hash(key), side="right")
        if first == past:
            return []
        found = []
        with self.path.open("rb") as file:
            for number in self._order[first:past]:
                file.seek(self._offsets[number])
                line = file.read(self._offsets[number + 1] - self._offsets[number])
                if self._key(line) == key:
                    found.append((int(number) + 1, line.rstrip(b"\r\n")))
        return found


def index_of(path: Path, key: Callable[[bytes], bytes], keep_keys: bool = False) -> LineIndex:
    """The index of a file in its present state, made once per process."""
    status = path.stat()
    return _index_of(path, key, keep_keys, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _index_of(path: Path, key: Callable[[bytes], bytes], keep_keys: bool, changed: int, size: int) -> LineIndex:
    return LineIndex(path, key, keep_keys)
