"""What a recording's container says of its length, beside what is there: files that were cut short or lost parts."""

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path

UNKNOWN = 0x7FFF0000  # bytes; who declares as much wrote to a pipe, and did not know the length
CUT = "ends before its declared length"
LOST = "is damaged in its middle"
PICTURES = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")
MPEG = {bytes([second]) for second in (*range(0xE2, 0xE6), *range(0xF0, 0xFE))}  # after ff: mp3, mp2, aac; no mark of UTF-16
W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")


def is_recording(start: bytes) -> bool:
    """Whether a file that begins with these 16 bytes is one of audio, or of video."""
    kind = start[8:12]
    return (
        start[:4] in (b"fLaC", b"OggS", b".snd", b"caff", b"RF64", b"\x1a\x45\xdf\xa3", b"#!AM")
        or (start[:4] == b"RIFF" and kind in (b"WAVE", b"AVI "))
        or (start[:4] == b"FORM" and kind in (b"AIFF", b"AIFC"))
        or (start[4:8] == b"ftyp" and kind not in PICTURES)
        or start[:3] == b"ID3"
        or start[:16] == W64
        or (start[:1] == b"\xff" and start[1:2] in MPEG)
    )


def shortfall(path: Path) -> str:
    """What is missing of a recording by its own container; "" if nothing, or if the container does not say."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:4] == b"OggS":
            return _ogg(content)
        n_missing = missing_bytes(content)
    return f"{CUT}: {n_missing} bytes are missing" if n_missing else ""


def missing_bytes(content: bytes | mmap.mmap) -> int:
    """How many bytes a file lacks by its header."""
    declared = next((end(content) for is_it, end in ENDS if is_it(content)), None) or 0
    n_missing = declared - len(content)
    return n_missing if declared < UNKNOWN and n_missing > 1 else 0  # some writers leave out the last padding byte


def declares_no_length(content: bytes) -> bool:
    """Whether the start of a file (26 bytes) is of a FLAC that leaves its length open, or has one of days."""
    return content[:4] == b"fLaC" and not 0 < _number(content, 21, 5) & 0xFFFFFFFFF < 1 << 32


def _number(content: bytes, at: int, size: int = 4, order: str = "big") -> int:
    return int.from_bytes(content[at : at + size], order)


def _ogg(content: mmap.mmap) -> str:
    """Pages are numbered, and the last one of a stream is marked."""
    n_lost, following, is_ended = 0, {}, True
    for kind, serial, number in _ogg_pages(content):
        n_lost += max(0, number - following.get(serial, number))
        following[serial], is_ended = number + 1, bool(kind & 4)
    if n_lost:
        return f"{LOST}: {n_lost} pages are missing"
    return "" if is_ended else f"{CUT}: its last page is missing"


def _ogg_pages(content: mmap.mmap) -> Iterator[tuple[int, int, int]]:
    """Kind, serial number and number of each whole page."""
    at = 0
    while (at := content.find(b"OggS", at)) >= 0 and at + 27 <= len(content):
        past = at + 27 + content[at + 26]
        past += sum(content[at + 27 : past])
        is_whole = past <= len(content) and content[past : past + 4] in (b"OggS", b"")
        if is_whole:
            yield content[at + 5], _number(content, at + 14, 4, "little"), _number(content, at + 18, 4, "little")
        at = past if is_whole else at + 4


def _chunks(start: int, read: Callable) -> Callable:
    """The end of the last chunk, where `read` gives the size of one at a place, or None if it is not known."""

    def end(content: bytes) -> int | None:
        at = start
        while at + 8 < len(content):
            if not (size := read(content, at)) or size < 0:
                return None
            at += size
        return at

    return end


def _caf_chunk(content: bytes, at: int) -> int | None:
    size = _number(content, at + 4, 8)
    return 12 + size if size < UNKNOWN else None


def _box(content: bytes, at: int) -> int:
    size = _number(content, at)
    return _number(content, at + 8, 8) if size == 1 else size


def _au(content: bytes) -> int:
    return _number(content, 4) + _number(content, 8)


def _matroska(content: bytes) -> int | None:
    """The end of its segment, which follows the header."""
    at = content.find(b"\x18\x53\x80\x67", 0, 4096) + 4
    if at < 4 or not content[at]:
        return None
    n = 9 - content[at].bit_length()  # bytes of the number, whose first 1 tells how many
    size = _number(content, at, n) & (1 << 7 * n) - 1
    return None if size == (1 << 7 * n) - 1 else at + n + size


def _mp3(content: bytes) -> int | None:
    """By the number of bytes in its first frame, if there is a Xing header."""
    start = 0
    if content[:3] == b"ID3":
        start = 10 + sum((content[9 - i] & 127) << 7 * i for i in range(4))
    for tag in (b"Xing", b"Info"):
        if (at := content.find(tag, start, start + 200)) >= 0 and _number(content, at + 4) & 3 == 3:
            return start + _number(content, at + 12)
    return None


# what a file begins with -> where it ends by what it declares
ENDS: list[tuple[Callable, Callable]] = [
    (lambda content: content[:4] == b"RIFF", lambda content: 8 + _number(content, 4, 4, "little")),
    (lambda content: content[:4] == b"RF64", lambda content: 8 + _number(content, 20, 8, "little")),
    (lambda content: content[:16] == W64, lambda content: _number(content, 16, 8, "little")),
    (lambda content: content[:4] == b"FORM", lambda content: 8 + _number(content, 4)),
    (lambda content: content[:4] == b".snd", _au),
    (lambda content: content[:4] == b"caff", _chunks(8, _caf_chunk)),
    (lambda content: content[4:8] == b"ftyp", _chunks(0, _box)),
    (lambda content: content[:4] == b"\x1a\x45\xdf\xa3", _matroska),
    (lambda content: content[:3] == b"ID3" or content[:1] == b"\xff", _mp3),
]
