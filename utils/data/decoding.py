"""Any recording -> one wave. The decoder is chosen by content, not by name. What a header declares is never trusted for memory:
files are read in blocks, up to a limit. Whatever goes wrong is an AudioError that names the file."""

import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.data import containers, ffmpeg, levels, worker
from utils.data.mel_format import SAMPLE_RATE
from utils.errors import UserError

BLOCK = 1 << 18  # samples read at a time; few calls, as libsndfile seeks after each
RATES = (4000, 384_000)  # Hz, the lowest and the highest
MAX_CHANNELS = 64
MAX_SECONDS = 3600.0
MIN_BYTES = 50  # that a second of audio takes at least


class AudioError(UserError):
    """An audio file that cannot be used. Preprocessing skips such a file and lists it."""


class Recording(NamedTuple):
    wav: np.ndarray  # float32 (n,)
    notes: list[str]  # what was changed of it, in words


def read(path: Path, sample_rate: int = SAMPLE_RATE, max_seconds: float = MAX_SECONDS, cut: bool = False) -> Recording:
    """Decode a file to float32 mono (n,) at `sample_rate`, at a level that speech has.

    With `cut` only the first max_seconds are read. AudioError if the file is missing, empty, cut short, longer than
    max_seconds, not audio, or holds values that are not numbers.
    """
    path = Path(path)
    _check(path)
    try:
        with worker.reading(path), np.errstate(over="ignore", invalid="ignore"):  # what is no number is refused below
            wav, notes = _one_wave(path, sample_rate, max_seconds, cut)
    except AudioError:
        raise
    except ffmpeg.DecodingError as error:
        raise AudioError(f"{path}: cannot be decoded: {error}") from error
    except Exception as error:  # a decoder may raise anything, and one file must not end the work on others
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise AudioError(f"{path}: cannot be decoded ({reason}); it is damaged or not audio") from error
    if wav.size == 0:
        raise AudioError(f"{path}: holds no audio")
    try:
        wav, changed = levels.settle(wav)
    except levels.NotSound as error:
        raise AudioError(f"{path}: holds samples that are not numbers, or too large for sound") from error
    return Recording(wav, notes + changed)


def seconds(path: Path) -> float | None:
    """Duration by a file's header; None if it cannot be read, or if the file is too small for it."""
    try:
        found = _declared_seconds(path)
        return found if found and found < path.stat().st_size / MIN_BYTES else None
    except (ffmpeg.DecodingError, OSError):
        return None


def _declared_seconds(path: Path) -> float | None:
    import soundfile

    try:
        with path.open("rb") as raw, soundfile.SoundFile(raw.fileno(), closefd=False) as file:
            return file.frames / file.samplerate
    except Exception:  # as in `read`
        return ffmpeg.seconds(path)


def read_span(
    path: Path, span: tuple[float, float] | None, sample_rate: int = SAMPLE_RATE, max_seconds: float = MAX_SECONDS
) -> Recording:
    """What lies within `span` (start and end in s) of an audio file of up to max_seconds, or all of it. AudioError as read."""
    if span is None:
        return read(path, sample_rate, max_seconds)
    first, past = (round(seconds * sample_rate) for seconds in span)
    whole = _whole(path, sample_rate, max_seconds)
    part = whole.wav[max(0, first) : past].copy()
    if not len(part):
        raise AudioError(f"{path}: holds nothing from {span[0]:g} to {span[1]:g} s")
    return Recording(part, whole.notes)


@lru_cache(maxsize=1)  # the parts of a file follow each other
def _whole(path: Path, sample_rate: int, max_seconds: float) -> Recording:
    return read(path, sample_rate, max_seconds)


def _check(path: Path) -> None:
    if path in worker.fatal:
        raise AudioError(f"{path}: ended the process that read it; convert it to wav or flac, or leave it out")
    if not path.is_file():
        raise AudioError(f"{path}: {'is a folder, not an audio file' if path.is_dir() else 'no such file'}")
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: is empty (0 bytes)")


def _one_wave(path: Path, sample_rate: int, max_seconds: float, cut: bool) -> tuple[np.ndarray, list[str]]:
    """All channels mixed down to one; takes a second pass where their mean would cancel out."""
    energies, mean_energy, wav, is_cut, gaps = _mixed(path, None, sample_rate, max_seconds, cut)
    notes = [f"only its first {max_seconds / 60:g} minutes are used"] if is_cut else []
    notes += [f"has gaps: {gaps:.1f} s are missing"] if gaps else []
    if lacks := "" if is_cut else containers.shortfall(path, len(wav) / sample_rate):
        if wav.size and _is_wav(path):
            raise AudioError(f"{path}: is cut short, it {lacks}")
        notes.append(lacks)
    if len(energies) == 1:
        return wav, notes
    weights, note = levels.channel_weights(energies, mean_energy)
    if note:
        wav = _mixed(path, weights, sample_rate, max_seconds, cut)[2]
    return wav, notes + [note] * bool(note)


def _mixed(
    path: Path, weights: np.ndarray | None, sample_rate: int, max_seconds: float, cut: bool
) -> tuple[np.ndarray, float, np.ndarray, bool, float]:
    """Energy of each channel (C,) and of their mean (0 for a single channel), the wave that the weights (C,) make of them
    (None: the mean), whether there is more in the file than max_seconds, and the seconds of its gaps."""
    rate, blocks = _opened(path)
    _check_rate(path, rate)
    resampler, left = _Resampler(rate, sample_rate), round(max_seconds * rate)
    energies, mean_energy, parts, is_longer, gaps = 0.0, 0.0, [], False, 0.0
    for block in blocks:  # (n, C)
        if isinstance(block, float):
            gaps = block
            break
        if block.shape[1] > MAX_CHANNELS:
            raise AudioError(f"{path}: has {block.shape[1]} channels; up to {MAX_CHANNELS} can be read")
        if is_longer := len(block) > left:
            if not cut:
                raise AudioError(f"{path}: is longer than {max_seconds:g} s; cut it, or raise --max_seconds")
            block = block[:left]
        left -= len(block)
        mono = block[:, 0]
        if block.shape[1] > 1:
            mono = block.mean(axis=1) if weights is None else block @ weights
            energies += np.einsum("ij,ij->j", block, block, dtype=np.float64)
            mean_energy += float(np.dot(mono, mono))
        parts.append(resampler.add(mono.astype(np.float32, copy=False)))
        if is_longer:
            break
    if len(end := resampler.end()):
        parts.append(end)
    wav = parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.float32), *parts])
    return np.atleast_1d(energies), mean_energy, wav, is_longer, gaps


def _check_rate(path: Path, rate: int) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(f"{path}: has a sample rate of {rate} Hz; {RATES[0]} to {RATES[1]} can be read")


class _Resampler:
    """Resamples a wave that comes in parts."""

    def __init__(self, rate: int, to: int) -> None:
        self._stream = None
        if rate != to:
            import soxr

            self._stream = soxr.ResampleStream(rate, to, 1, dtype="float32")

    def add(self, part: np.ndarray) -> np.ndarray:
        return self._stream.resample_chunk(part) if self._stream else part

    def end(self) -> np.ndarray:
        empty = np.zeros(0, np.float32)
        return self._stream.resample_chunk(empty, last=True) if self._stream else empty


# ---- decoders


def _opened(path: Path) -> tuple[int, Iterator[np.ndarray]]:
    """Sample rate, and float32 blocks (n, channels), of libsndfile if it knows the format, else of FFmpeg."""
    import soundfile

    first_error = ""
    if not _is_for_ffmpeg(path):
        blocks = _libsndfile(path)
        try:
            return next(blocks), blocks
        except soundfile.LibsndfileError as error:
            first_error = str(error).partition(": ")[2].rstrip(".")  # without "Error opening <number>"
    blocks = ffmpeg.blocks(path)
    try:
        return next(blocks), blocks
    except ffmpeg.DecodingError as error:
        known = f" ({first_error})" if first_error and "not recognised" not in first_error else ""
        raise AudioError(f"{path}: cannot be decoded: {error}{known}") from error


def _is_wav(path: Path) -> bool:
    with path.open("rb", buffering=0) as file:
        return file.read(4) == b"RIFF"


def _is_for_ffmpeg(path: Path) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return containers.is_longer(content)


def _libsndfile(path: Path) -> Iterator:
    """First the sample rate, then the blocks."""
    import soundfile

    with path.open("rb") as raw:
        with _quiet():
            file = soundfile.SoundFile(raw.fileno(), closefd=False)  # without its name
        with file:
            yield file.samplerate
            n, expected = 0, file.frames
            hush = _quiet if file.format == "MP3" else nullcontext
            while True:
                with hush():
                    block = file.read(BLOCK // file.channels, dtype="float32", always_2d=True)
                if not len(block):
                    break
                n += len(block)
                yield block
            if file.format == "FLAC" and n < expected:
                rate = file.samplerate
                raise AudioError(f"{path}: is cut short, {n / rate:.2f} of {expected / rate:.2f} s can be read")


_stderr = threading.RLock()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what a decoder's C code writes to the terminal: of a damaged file, libmpg123 tells every frame."""
    with _stderr:
        kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nothing, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nothing)
