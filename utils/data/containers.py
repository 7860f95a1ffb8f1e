"""What a recording's container says of its length, beside what is there: files that were cut short or lost parts."""

import mmap
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

UNKNOWN = 0x7FFF0000  # bytes; who declares as much wrote to a pipe, and did not know the length
CUT = "ends before its declared length"
LOST = "is damaged in its middle"
PICTURES = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")
MPEG = {bytes([second]) for second in (*range(0xE2, 0xE6), *range(0xF0, 0xFE))}  # after ff: mp3, mp2, aac; no mark of UTF-16
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
FLAC_END = 1 << 17  # bytes in which the last frame of a FLAC is looked for
MP3_SEARCHED = 1 << 16  # bytes in which a next frame is looked for
MP3_RATES = (44100, 48000, 32000)  # Hz, of MPEG 1
MP3_HALVED = {3: 0, 2: 1, 0: 2}  # how often these are, by the two bits of MPEG 1, 2 and 2.5
MP3_KILOBITS = {  # by MPEG 1 or not, and layer
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
MP3_KILOBITS[False, 3] = MP3_KILOBITS[False, 2]
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


def shortfall(path: Path, seconds: float) -> str:
    """What is missing of a recording, of which so many seconds were read, by its own container; "" if nothing, or if the
    container does not say."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:4] == b"OggS":
            return _ogg(content)
        if n_missing := missing_bytes(content):
            return f"{CUT}: {n_missing} bytes are missing"
        found = mp3_frames(content) if _is_mp3(content) else Mp3(0, 0.0, 0)
    if seconds < 0.95 * found.seconds - 0.2:  # an encoder's delay is taken off
        return f"{LOST}: {seconds:.1f} of {found.seconds:.1f} s can be read"
    return f"{LOST}: {found.n_strange} bytes are no sound" if found.n_strange else ""


def missing_bytes(content: bytes | mmap.mmap) -> int:
    """How many bytes a file lacks by its header."""
    declared = next((end(content) for is_it, end in ENDS if is_it(content)), None) or 0
    n_missing = declared - len(content)
    return n_missing if declared < UNKNOWN and n_missing > 1 else 0  # some writers leave out the last padding byte


def is_longer(content: bytes | mmap.mmap) -> bool:
    """Whether there is more in a file than libsndfile reads of it: the second stream of an ogg, what follows the number of
    samples or frames that a FLAC or an mp3 declares, or a FLAC or wav that leaves its length open."""
    if content[:4] == b"OggS":
        return content.find(b"OggS\0\2", 4) > 0
    if content[:4] == b"fLaC":
        return not _flac_samples(content) <= (_number(content, 21, 5) & 0xFFFFFFFFF or -1) < 1 << 32
    if content[:4] == b"RIFF":
        at = content.find(b"data", 12, 4096)
        return at > 0 and not _number(content, at + 4) and _number(content, 4, 4, "little") <= at
    if _is_mp3(content) and (at := _xing(content)) and _number(content, at + 4) & 1:
        return mp3_frames(content).n > _number(content, at + 8) + 2  # one holds the number, and some writers count it
    return False


def _number(content: bytes, at: int, size: int = 4, order: str = "big") -> int:
    return int.from_bytes(content[at : at + size], order)


def _ogg(content: mmap.mmap) -> str:
    """Pages are numbered, and the last one of a stream is marked."""
    n_lost, following, is_ended = 0, {}, True
    for kind, serial, number, is_intact in _ogg_pages(content):
        n_lost += max(0, number - following.get(serial, number)) + (not is_intact)
        following[serial], is_ended = number + 1, bool(kind & 4)
    if n_lost:
        return f"{LOST}: {n_lost} pages are missing or damaged"
    return "" if is_ended else f"{CUT}: its last page is missing"


def _ogg_pages(content: mmap.mmap) -> Iterator[tuple[int, int, int, bool]]:
    """Kind, serial number and number of each whole page, and whether it fits its checksum."""
    at = 0
    while (at := content.find(b"OggS", at)) >= 0 and at + 27 <= len(content):
        past = at + 27 + content[at + 26]
        past += sum(content[at + 27 : past])
        is_whole = past <= len(content) and content[past : past + 4] in (b"OggS", b"")
        if is_whole:
            numbers = (_number(content, at + place, 4, "little") for place in (14, 18))
            yield content[at + 5], *numbers, _ogg_sum(content[at:past]) == _number(content, at + 22, 4, "little")
        at = past if is_whole else at + 4


def _ogg_sum(page: bytes) -> int:
    """zlib's checksum, with bits in the other order and none of them inverted."""
    summed = zlib.crc32((page[:22] + bytes(4) + page[26:]).translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{summed:032b}"[::-1], 2)


def _flac_samples(content: bytes | mmap.mmap) -> int:
    """How many samples there are up to the end of the last frame; 0 if none is found."""
    at = len(content)
    while (at := content.rfind(b"\xff", max(42, len(content) - FLAC_END), at)) >= 0:
        if n := _flac_frame(content, at):
            return n
    return 0


def _flac_frame(content: bytes | mmap.mmap, at: int) -> int:
    """The number of the sample that follows the frame at this place; 0 if none begins here."""
    header = content[at : at + 16]
    if len(header) < 16 or header[1] & 0xFE != 0xF8 or header[3] & 1 or header[3] >> 4 > 10 or header[4] == 0xFF:
        return 0
    size, rate, first = header[2] >> 4, header[2] & 15, header[4]
    n_more = max(0, 7 - (first ^ 0xFF).bit_length())  # bytes of the number, as UTF-8 has them
    number = first if not n_more else first & (1 << 6 - n_more) - 1
    for byte in header[5 : 5 + n_more]:
        number = number << 6 | byte & 63
    past = 5 + n_more
    n_size, n_rate = {6: 1, 7: 2}.get(size, 0), {12: 1, 13: 2, 14: 2}.get(rate, 0)
    explicit = 1 + _number(header, past, n_size)
    past += n_size + n_rate
    if not size or rate == 15 or _crc8(header[:past]) != header[past]:
        return 0
    n = explicit if n_size else 192 if size == 1 else 576 << size - 2 if size < 6 else 256 << size - 8
    return (number if header[1] & 1 else number * _number(content, 8, 2)) + n


def _crc8(content: bytes) -> int:
    """As FLAC has it: polynomial x^8 + x^2 + x + 1."""
    rest = 0
    for byte in content:
        rest ^= byte
        for _ in range(8):
            rest = (rest << 1 ^ 7 * (rest >> 7)) & 0xFF
    return rest


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


def _is_mp3(content: bytes | mmap.mmap) -> bool:
    return content[:3] == b"ID3" or content[:1] == b"\xff"


def _xing(content: bytes | mmap.mmap) -> int:
    """The place of the Xing header in the first frame of an mp3; 0 if there is none."""
    start = _tag_size(content)
    return max(0, *(content.find(tag, start, start + 200) for tag in (b"Xing", b"Info")))


def _mp3(content: bytes) -> int | None:
    """By the number of bytes in its first frame, if there is a Xing header."""
    at = _xing(content)
    return _tag_size(content) + _number(content, at + 12) if at and _number(content, at + 4) & 3 == 3 else None


class Mp3(NamedTuple):
    """The frames of an mp3 or mp2, one after another."""

    n: int
    seconds: float
    n_strange: int  # bytes between frames that are no tag


def mp3_frames(content: bytes | mmap.mmap) -> Mp3:
    """What follows the last frame does not count, as anything may."""
    at, n, seconds, n_strange = _next_mp3_frame(content, 0), 0, 0.0, 0
    while at is not None:
        while frame := _mp3_frame(content, at):
            at, n, seconds = at + frame[0], n + 1, seconds + frame[1]
        following = _next_mp3_frame(content, _after_tags(content, at))
        n_strange += following - _after_tags(content, at) if following else 0
        at = following
    return Mp3(n, seconds, n_strange)


def _tag_size(content: bytes | mmap.mmap, at: int = 0) -> int:
    """Bytes of an ID3 tag at this place; 0 if there is none."""
    if content[at : at + 3] == b"ID3" and at + 10 <= len(content):
        return 10 + sum((content[at + 9 - i] & 127) << 7 * i for i in range(4))
    return 128 if content[at : at + 3] == b"TAG" else 0


def _after_tags(content: bytes | mmap.mmap, at: int) -> int:
    while size := _tag_size(content, at):
        at += size
    return at


def _next_mp3_frame(content: bytes | mmap.mmap, at: int) -> int | None:
    """Where the next two frames follow each other."""
    at = _after_tags(content, at)
    past = at + MP3_SEARCHED
    while (at := content.find(b"\xff", at, past)) >= 0:
        if (frame := _mp3_frame(content, at)) and _mp3_frame(content, at + frame[0]):
            return at
        at += 1
    return None


def _mp3_frame(content: bytes | mmap.mmap, at: int) -> tuple[int, float] | None:
    """Bytes and seconds of the frame that begins here; None if none does, or if it does not tell."""
    header = int.from_bytes(content[at : at + 4])
    version, layer, bits, rate = header >> 19 & 3, 4 - (header >> 17 & 3), header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version not in MP3_HALVED or layer not in (2, 3) or not 0 < bits < 15 or rate == 3:
        return None
    hertz = MP3_RATES[rate] >> MP3_HALVED[version]
    samples = 576 if layer == 3 and version != 3 else 1152
    return samples // 8 * MP3_KILOBITS[version == 3, layer][bits - 1] * 1000 // hertz + (header >> 9 & 1), samples / hertz


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
    (_is_mp3, _mp3),
]
