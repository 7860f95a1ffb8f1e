"""What is looked at before and after a checkpoint is read, as it may be damaged or a stranger's."""

import pickletools
import zipfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

import torch

MOST_VIEWS = 4  # the tensors together may be so many times the file's size, as some share their numbers
HARMLESS = ("torch", "collections", "_codecs", "numpy", "builtins.set", "__builtin__.set")
LONGEST_PICKLE = 2**26  # bytes of one that are searched


def check_archive(path: Path) -> None:
    """ValueError for a zip file that unpacks to more than itself; torch.save compresses nothing."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("it is compressed, as no checkpoint is")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("it unpacks to more than its own size")


def check_tensors(tensors: Iterable[torch.Tensor], n_bytes: int) -> None:
    """ValueError for tensors that are larger than the file of n_bytes bytes that they came from, or of unusual kinds."""
    total = 0
    for tensor in {id(tensor): tensor for tensor in tensors}.values():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
            raise ValueError("it holds a tensor that is sparse, quantized or without numbers")
        size = tensor.numel() * tensor.element_size()
        total += size
        if size > n_bytes or total > MOST_VIEWS * n_bytes:
            raise ValueError("its tensors are larger than the file")


def called(path: Path) -> str | None:
    """The first function or class, other than those of numbers, that unpickling the file would call; "posix.system"."""
    try:
        return next((name for pickle in _pickles(path) for name in _globals(pickle) if not name.startswith(HARMLESS)), None)
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError):  # a damaged archive
        return None


def _pickles(path: Path) -> Iterator[bytes]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.filename.endswith(".pkl"):
                    with archive.open(member) as file:
                        yield file.read(LONGEST_PICKLE)
    else:
        with path.open("rb") as file:
            yield file.read(LONGEST_PICKLE)


def _globals(content: bytes) -> Iterator[str]:
    """The names that pickles one after another refer to, until something is no pickle."""
    stream, strings, memo = BytesIO(content), [""], {}
    while stream.tell() < len(content):
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST"):
                    yield argument.replace(" ", ".")
                elif opcode.name == "STACK_GLOBAL":
                    yield ".".join(strings[-2:])
                elif "PUT" in opcode.name or opcode.name == "MEMOIZE":
                    memo[len(memo) if argument is None else argument] = strings[-1]
                elif "GET" in opcode.name:
                    strings.append(memo.get(argument, ""))
                elif isinstance(argument, str):
                    strings.append(argument)
        except (ValueError, UnicodeDecodeError, OverflowError, MemoryError):
            return
