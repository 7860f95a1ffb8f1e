"""Reads the safetensors format, strictly and with the standard library alone, as the runner without torch has no other."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

LARGEST_HEADER = 4_000_000  # bytes; names of tensors and settings take 20,000
BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "I32": 4, "I64": 8, "F16": 2, "BF16": 2, "F32": 4, "F64": 8}


class Stored(NamedTuple):
    """A tensor as it is in the file: little-endian numbers, row by row."""

    dtype: str  # a key of BYTES
    shape: tuple[int, ...]
    data: bytes


def read(path: Path) -> tuple[dict[str, str], dict[str, Stored]]:
    """The metadata and the tensors of a file. ValueError for one that is damaged or something else.

    A file is 8 bytes with the length of the header, the header as JSON, and the numbers of all tensors without gaps.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
        if not 2 <= n_header <= min(LARGEST_HEADER, size - 8):
            raise ValueError(f"its header claims {n_header:,} bytes")
        metadata, entries = _header(file.read(n_header))
        tensors, at = {}, 0
        for name, (dtype, shape, start, stop) in sorted(entries.items(), key=lambda entry: entry[1][2:]):
            if start != at or stop - start != math.prod(shape) * BYTES[dtype]:
                raise ValueError(f"the offsets of {name[:80]!r} do not fit")
            if 8 + n_header + stop > size:
                break
            tensors[name], at = Stored(dtype, shape, file.read(stop - start)), stop
    if 8 + n_header + at != size or len(tensors) < len(entries):
        raise ValueError(f"its tensors and its {size:,} bytes do not fit")
    return metadata, tensors


def _header(text: bytes) -> tuple[dict[str, str], dict[str, tuple[str, tuple[int, ...], int, int]]]:
    """The metadata, and dtype, shape, first and last offset of each tensor."""
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_without_repeats)
        metadata = header.pop("__metadata__", {})
        entries = {name: _entry(**entry) for name, entry in header.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its header is not one of safetensors: {error}") from error
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is not text")
    return metadata, entries


def _entry(dtype: str, shape: list[int], data_offsets: list[int]) -> tuple[str, tuple[int, ...], int, int]:
    start, stop = data_offsets
    if dtype not in BYTES or not all(type(number) is int and number >= 0 for number in (*shape, start, stop)):
        raise ValueError(f"{str(dtype)[:20]!r}, {str(shape)[:40]} and {str(data_offsets)[:60]} are no tensor")
    return dtype, tuple(shape), start, stop


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found
