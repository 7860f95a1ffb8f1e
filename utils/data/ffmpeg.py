"""Files that libsndfile cannot read (m4a, webm, amr, video), decoded by the FFmpeg in the av wheel, in a process of its own: a
decoder that crashes, hangs or takes all memory ends that process alone. It is started at the first such file, and kept."""

import atexit
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

BLOCK = 65536  # samples sent at a time, about
GAP = 0.1  # s between two pieces of sound
PATIENCE = 60  # s for one block
MEMORY = 4 << 30  # bytes of addresses that the process may use
ROOT = Path(__file__).parents[2]
START = "import sys; sys.path.insert(0, sys.argv[1]); from utils.data.ffmpeg import serve; serve()"


class DecodingError(Exception):
    """Why FFmpeg does not read a file."""


# ---- in the process that wants audio


class _Decoder:
    """The other process, which is started when it is needed."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # a file at a time
        self._process: subprocess.Popen | None = None
        self._owner = 0  # the process that started it: a fork must not share its pipes
        atexit.register(self._end)

    def ask(self, path: Path, what: str) -> Iterator[Any]:
        """Its answers, one after another. A process whose answers are not all read is ended."""
        process, is_done = self._running(), False
        try:
            process.stdin.write(json.dumps([str(path), what]).encode() + b"\n")
            process.stdin.flush()
            while (answer := pickle.load(process.stdout)) is not None:
                if isinstance(answer, str):
                    is_done = True
                    raise DecodingError(answer)
                yield answer
            is_done = True
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise DecodingError(f"its decoder {_ending(process.wait())}; convert it to wav or flac") from error
        finally:
            if not is_done:
                self._end()

    def _running(self) -> subprocess.Popen:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            command, pipe = [sys.executable, "-c", START, str(ROOT)], subprocess.PIPE
            environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment)
            self._owner = os.getpid()
        return self._process

    def _end(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
        self._process = None


def _ending(status: int) -> str:
    if status == -getattr(signal, "SIGALRM", 0):
        return f"did nothing for {PATIENCE} s"
    return f"crashed ({signal.Signals(-status).name if status < 0 else f'exit status {status}'})"


_decoder = _Decoder()


def blocks(path: Path) -> Iterator[Any]:
    """First the sample rate, then float32 blocks (n, channels), and last, if its time stamps leave gaps, their seconds (float).
    DecodingError if the file cannot be decoded."""
    with _decoder.lock:
        yield from _decoder.ask(path, "decode")


def seconds(path: Path) -> float | None:
    """Duration by the file's header; None if it says nothing. DecodingError if the file cannot be opened."""
    with _decoder.lock:
        (found,) = _decoder.ask(path, "seconds")
        return found or None


# ---- in the process that decodes


def serve() -> None:
    """Answer requests on stdin until it ends: for each, pickled items, then None, or else a str, the reason of a failure."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    _limit_memory()
    for request in requests:
        path, what = json.loads(request)
        _watch()
        try:
            for item in _decoded(path) if what == "decode" else _duration(path):
                _watch()
                pickle.dump(item, answers)
                answers.flush()
            pickle.dump(None, answers)
        except ImportError:
            pickle.dump("to read it, pip install av; or convert it to wav or flac", answers)
        except Exception as error:  # whatever FFmpeg raises
            pickle.dump(str(error) if isinstance(error, DecodingError) else "it is damaged or not audio", answers)
        _watch(0)
        answers.flush()


def _limit_memory() -> None:
    with suppress(ImportError, ValueError, OSError):  # Windows has no limits, macOS may refuse them
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _watch(patience: int = PATIENCE) -> None:
    """End this process if the next block does not come for so long; 0: never."""
    if hasattr(signal, "alarm"):
        signal.alarm(patience)


def _open(file: Any) -> Any:
    """By content, as FFmpeg does not see the name; and a playlist opens no other file or address."""
    import av

    av.logging.set_level(None)
    old = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}  # since then always
    return av.open(file, options={"protocol_whitelist": "none"}, **old)


def _duration(path: str) -> Iterator[float]:
    import av

    with open(path, "rb") as file, _open(file) as container:
        yield container.duration / av.time_base if container.duration else 0.0


def _frames(container: Any) -> Iterator[Any]:
    """Of the first audio track. What lies between the frames of an mp3, such as tags of files that were joined, is left out."""
    import av

    stream = container.streams.audio[0]
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            if stream.codec_context.name not in ("mp3", "mp3float"):
                raise


def _decoded(path: str) -> Iterator[Any]:
    import av
    import numpy as np

    with open(path, "rb") as file, _open(file) as container:
        if not container.streams.audio:
            raise DecodingError("it has no audio track")
        to_float, form, waiting, n, due, gaps = None, None, [], 0, None, 0.0
        for frame in _frames(container):
            if not frame.sample_rate:
                raise DecodingError("it tells no sample rate")
            if to_float is None:
                rate, layout = frame.sample_rate, frame.layout.name
                yield rate
            if form != (form := (frame.sample_rate, frame.layout.name, frame.format.name)):  # chained files may change it
                to_float = av.AudioResampler(format="fltp", layout=layout, rate=rate)
            waiting += [out.to_ndarray().T for out in to_float.resample(frame)]
            n += frame.samples
            if frame.time is not None:
                gaps += missing if due is not None and (missing := frame.time - due) > GAP else 0.0
                due = frame.time + frame.samples / frame.sample_rate
            if n >= BLOCK:
                yield np.concatenate(waiting)
                waiting, n = [], 0
        if to_float is None:
            raise DecodingError("it holds no audio")
        waiting += [out.to_ndarray().T for out in to_float.resample(None)]
        if waiting:
            yield np.concatenate(waiting)
        if gaps:
            yield gaps
