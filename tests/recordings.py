"""Recordings as people have them, for tests: formats, rates, channels and headers, right and wrong."""

import os
import signal
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from utils.data import audio, decoding


def with_soundfile(rate: int = 16000, subtype: str | None = None, form: str = "WAV", channels: int = 1) -> Callable:
    def write(path: Path, wav: np.ndarray) -> None:
        frames = np.stack([audio.resample(wav, 16000, rate)] * channels, axis=1)
        soundfile.write(path, frames, rate, subtype, format=form)

    return write


def with_ffmpeg(codec: str, form: str, rate: int = 16000, layout: str = "mono") -> Callable:
    import av

    def write(path: Path, wav: np.ndarray) -> None:
        if codec not in av.codecs_available:
            pytest.skip(f"av {av.__version__} cannot write {form}")
        with av.open(str(path), "w", format=form) as container:
            stream = container.add_stream(codec, rate=rate, layout=layout)
            frames = np.stack([audio.resample(wav, 16000, rate)] * stream.codec_context.channels)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(frames, np.float32), "fltp", layout)
            frame.sample_rate = rate
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))

    return write


def patched(write: Callable, change: Callable[[bytearray], bytes]) -> Callable:
    """What another writer made, with bytes changed."""

    def write_patched(path: Path, wav: np.ndarray) -> None:
        write(path, wav)
        path.write_bytes(change(bytearray(path.read_bytes())))

    return write_patched


def id3_with_picture(content: bytes) -> bytes:
    picture = b"\0image/png\0\x03\0" + b"\x89PNG\r\n\x1a\n" + bytes(3000)
    frame = b"APIC" + struct.pack(">I", len(picture)) + b"\0\0" + picture
    size = len(frame)
    return b"ID3\x03\0\0" + bytes((size >> shift) & 127 for shift in (21, 14, 7, 0)) + frame + content


def spoilt(n: int) -> Callable[[bytearray], bytes]:
    """n bytes of noise in the middle."""

    def change(content: bytearray) -> bytes:
        return set_bytes(len(content) // 2, np.random.default_rng(0).bytes(n))(content)

    return change


def set_bytes(offset: int, value: bytes) -> Callable[[bytearray], bytes]:
    def change(content: bytearray) -> bytes:
        content[offset : offset + len(value)] = value
        return bytes(content)

    return change


def flac_samples(n: int) -> Callable[[bytearray], bytes]:
    """A FLAC header that declares n samples (36 bits)."""

    def change(content: bytearray) -> bytes:
        content[21] = content[21] & 0xF0 | n >> 32
        content[22:26] = struct.pack(">I", n & 0xFFFFFFFF)
        return bytes(content)

    return change


def xing_count(content: bytearray) -> bytes:
    """An mp3 whose Xing or Info header declares 2^31 frames, or which is left without one."""
    for tag in (b"Xing", b"Info"):
        if (at := content.find(tag)) >= 0:
            content[at + 8 : at + 12] = b"\x7f\xff\xff\xff"
    return bytes(content)


WAV, FLAC, MP3 = with_soundfile(), with_soundfile(form="FLAC"), with_soundfile(form="MP3")
OGG = with_soundfile(form="OGG")
# name -> (writer, its usual suffix). All hold the same speech.
GOOD = {
    "8 bit": (with_soundfile(subtype="PCM_U8"), ".wav"),
    "24 bit": (with_soundfile(44100, "PCM_24"), ".wav"),
    "32 bit": (with_soundfile(48000, "PCM_32"), ".wav"),
    "64-bit float": (with_soundfile(subtype="DOUBLE"), ".wav"),
    "mu-law": (with_soundfile(8000, "ULAW"), ".wav"),
    "IMA ADPCM": (with_soundfile(subtype="IMA_ADPCM"), ".wav"),
    "MS ADPCM": (with_soundfile(22050, "MS_ADPCM"), ".wav"),
    "GSM 6.10": (with_soundfile(8000, "GSM610"), ".wav"),
    "4 kHz": (with_soundfile(4000), ".wav"),
    "384 kHz": (with_soundfile(384000), ".wav"),
    "six channels": (with_soundfile(48000, channels=6), ".wav"),
    "aiff": (with_soundfile(form="AIFF"), ".aiff"),
    "au": (with_soundfile(8000, "ULAW", "AU"), ".au"),
    "w64": (with_soundfile(form="W64"), ".w64"),
    "rf64": (with_soundfile(form="RF64"), ".wav"),
    "caf": (with_soundfile(form="CAF"), ".caf"),
    "flac": (FLAC, ".flac"),
    "mp3": (MP3, ".mp3"),
    "opus": (with_soundfile(48000, "OPUS", "OGG"), ".opus"),
    "aac": (with_ffmpeg("aac", "adts", 44100), ".aac"),
    "m4a": (with_ffmpeg("aac", "mp4", 44100), ".m4a"),
    "5.1 m4a": (with_ffmpeg("aac", "mp4", 48000, "5.1"), ".m4a"),
    "webm": (with_ffmpeg("libopus", "webm", 48000), ".webm"),
    "amr": (with_ffmpeg("libopencore_amrnb", "amr", 8000), ".amr"),
    "mp3 with a picture": (patched(MP3, id3_with_picture), ".mp3"),
    "flac with a picture": (patched(FLAC, id3_with_picture), ".flac"),
    "mp3 with a huge count": (patched(MP3, xing_count), ".mp3"),
    "chained ogg": (patched(OGG, lambda content: bytes(content) * 2), ".ogg"),
    "flac of 2^36 samples": (patched(FLAC, flac_samples(2**36 - 1)), ".flac"),
    "flac of a pipe": (patched(FLAC, flac_samples(0)), ".flac"),
    "flac that declares half of it": (patched(FLAC, flac_samples(16000)), ".flac"),
    "wav of a recorder that lost power": (
        patched(WAV, lambda content: set_bytes(4, bytes(4))(content)[:40] + bytes(4) + content[44:]),
        ".wav",
    ),
    "two mp3s joined, with their tags": (patched(MP3, lambda content: id3_with_picture(content) * 2), ".mp3"),
    "wav of a pipe": (patched(WAV, set_bytes(4, b"\xff\xff\xff\xff")), ".wav"),
}
# Of these a file that was cut short is used as far as it goes, and tells it.
CUT = ("aiff", "au", "w64", "rf64", "caf", "mp3", "mp3 with a picture", "opus", "webm")
# name -> (writer, what the message says)
BAD = {
    "0 Hz": (patched(WAV, set_bytes(24, bytes(4))), "cannot be decoded|sample rate"),
    "1 Hz": (patched(WAV, set_bytes(24, b"\1\0\0\0")), "sample rate of 1 Hz"),
    "cut wav": (patched(WAV, lambda content: bytes(content[:20000])), "cut short"),
    "cut flac": (patched(FLAC, lambda content: bytes(content[:20000])), "a"),
    "m4a without its index": (
        patched(with_ffmpeg("aac", "mp4"), lambda content: bytes(content[: len(content) // 2])),
        "damaged",
    ),
    "text": (lambda path, wav: path.write_bytes(b"this is not audio at all\n" * 100), "not audio"),
    "zeros": (lambda path, wav: path.write_bytes(bytes(50000)), "not audio"),
    "noise": (lambda path, wav: path.write_bytes(np.random.default_rng(0).bytes(50000)), "not audio"),
    "playlist": (lambda path, wav: path.write_bytes(b"ffconcat version 1.0\nfile /etc/hostname\n"), "not audio"),
    "nothing": (lambda path, wav: path.write_bytes(b""), "empty"),
    "no samples": (lambda path, wav: soundfile.write(path, wav[:0], 16000, format="WAV"), "no audio"),
    "not a number": (
        lambda path, wav: soundfile.write(path, np.append(wav, np.nan), 16000, "FLOAT", format="WAV"),
        "not numbers",
    ),
    "3e38": (lambda path, wav: soundfile.write(path, np.append(wav, 3e38), 16000, "FLOAT", format="WAV"), "too large"),
}


def without_a_page(content: bytes) -> bytes:
    """An ogg whose fourth page is lost."""
    start, past = (nth_page(content, n) for n in (3, 4))
    return content[:start] + content[past:]


def nth_page(content: bytes, n: int) -> int:
    at = 0
    for _ in range(n):
        at = content.index(b"OggS\0", at + 1)
    return at


# name -> (writer, what is told). Damaged in their middle, where their containers show it.
DAMAGED = {
    "mp3": (patched(MP3, spoilt(300)), "is damaged in its middle: "),
    "mp3 without a count": (
        patched(MP3, lambda content: spoilt(300)(content[content.index(content[:2], 4) :])),
        "is damaged in its middle: ",
    ),
    "opus": (patched(GOOD["opus"][0], spoilt(100)), "is damaged in its middle: 1 pages are missing or damaged"),
    "ogg without a page": (patched(OGG, without_a_page), "is damaged in its middle: 1 pages are missing or damaged"),
    "webm": (patched(GOOD["webm"][0], lambda content: set_bytes(len(content) // 2, bytes(2000))(content)), "has gaps: "),
}


def read_folder(folder: Path) -> list[str]:
    """In a worker: reads a folder of recordings with a decoder that some files crash. Gives names and errors."""
    libsndfile = decoding._libsndfile
    decoding._libsndfile = lambda path: _crash() if "crash" in path.name else libsndfile(path)
    found = []
    try:
        for path in sorted(folder.iterdir()):
            try:
                found.append(f"{path.name} {len(audio.load(path))}")
            except decoding.AudioError as error:
                found.append(str(error))
    finally:
        decoding._libsndfile = libsndfile
    return found


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)
