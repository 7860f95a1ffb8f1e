"""Text tables with a checksum per line, so that damage and truncation are found and named."""

import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from utils.errors import UserError

MARK = re.compile(r"(.*)\t#([0-9a-f]{8})()")
ROW_MARK = re.compile(r"((?:[^|]*\|){5}[^|]*)\|([0-9a-f]{8})(\|end)?")  # after six columns
END = re.compile(r"# end after (\d{1,12}) lines")


def marked(lines: Iterable[str]) -> Iterator[str]:
    """The lines of a table, with newlines. Each ends with a CRC of all lines so far, and a last one says how many there are."""
    crc, n = 0, 0
    for line in lines:
        crc, n = zlib.crc32(line.encode(), crc), n + 1
        yield f"{line}\t#{crc:08x}\n"
    end = f"# end after {n} lines"
    yield f"{end}\t#{zlib.crc32(end.encode(), crc):08x}\n"


def marked_rows(lines: Iterable[str]) -> Iterator[str]:
    """The same for lines of six columns between |, which other programs read: the CRC is a seventh column, and the last line
    has an eighth one, "end"."""
    crc, before = 0, ""
    for line in lines:
        if before:
            yield f"{before}\n"
        crc = zlib.crc32(line.encode(), crc)
        before = f"{line}|{crc:08x}"
    if before:
        yield f"{before}|end\n"


def read_marked(
    path: Path, remedy: str, form: re.Pattern[str] = MARK, must_be_marked: bool = False
) -> Iterator[tuple[int, str]]:
    """(number from 1, line without its mark) for each line that `marked` was given, or with ROW_MARK `marked_rows`. UserError,
    with the line's number and the remedy, for one that is damaged or missing. Tables written before there were marks, or by
    others, have none, and are read as they are, unless they must."""
    if is_pipe(path):
        raise UserError(f"{path}: is no file; {remedy}")
    crc, n, is_marked, ended = 0, 0, must_be_marked, False
    with Path(path).open("rb") as file:
        for n, raw in enumerate(file, 1):
            line = _text(raw, path, n, remedy)
            mark = form.fullmatch(line)
            if n == 1 and not must_be_marked:
                is_marked = mark is not None
            if is_marked != (mark is not None) or ended:
                raise damaged(path, 1 if n == 2 and not is_marked else n, remedy)  # one mark of two is no old table
            if mark is not None:
                line, ended = mark[1], bool(mark[3])
                crc = zlib.crc32(line.encode(), crc)
                if f"{crc:08x}" != mark[2]:
                    raise damaged(path, n, remedy)
                if end := END.fullmatch(line):
                    ended = int(end[1]) == n - 1
                    continue
            yield n, line
    if is_marked and not ended:
        raise damaged(path, n + 1, remedy, "is missing, the file is cut short")


def first_line(path: Path) -> str:
    """Of a table, to tell what wrote it."""
    if is_pipe(path):
        return ""
    with Path(path).open("rb") as file:
        return file.readline().decode(errors="replace").rstrip("\r\n")


def json_object(path: Path) -> dict[str, Any]:
    """What a file of JSON holds. ValueError if it is damaged or no object; OSError."""
    if is_pipe(path):
        raise ValueError("no file")
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def is_pipe(path: Path) -> bool:
    """Whether this is a named pipe or a device, as a stranger's folder may hold it: opening or reading it may never end."""
    return Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir()


def damaged(path: Path, number: int, remedy: str, problem: str = "is damaged") -> UserError:
    return UserError(f"{path}, line {number}: {problem[:200]}; {remedy}")


def _text(raw: bytes, path: Path, number: int, remedy: str) -> str:
    if not raw.endswith(b"\n"):
        raise damaged(path, number, remedy, "is cut short")
    try:
        return raw[:-1].removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise damaged(path, number, remedy, f"is not UTF-8 text ({error.reason})") from error
