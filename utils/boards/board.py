"""Where numbers, pictures and sounds of a run go: metrics.jsonl, TensorBoard, Visdom, PNG and WAV files, from one call.

Only metrics.jsonl is written at once. The rest is drawn and sent on one background thread with a bounded queue, so that a
board never stops or slows the training: what does not fit the queue is dropped, what fails repeatedly is given up.
"""

import json
import math
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from utils.boards.dashboards import Sink, make_sinks, say, short
from utils.data import audio
from utils.data.paths import save_text, write_atomically

QUEUE_LENGTH = 256
SECONDS_TO_DRAIN = 120  # the most that the end of a run waits for its last pictures
FAILURES_TO_GIVE_UP = 3


class Board:
    """The dashboards of one stage of a run; the stages share the run's folder, and each names its own part of everything.

    `folder` is the run's, `every` thins scalars out for TensorBoard and Visdom; what was written of steps after `first_step`,
    which are now trained again, is forgotten.
    """

    def __init__(self, folder: Path, stage: str, visdom_server: str | None, every: int = 10, first_step: int = 0) -> None:
        self.folder, self.stage, self.every = Path(folder), stage, max(1, every)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._metrics = self.folder / "metrics.jsonl"
        _forget_steps_after(first_step, self._metrics, stage)
        self._sinks: list[Sink] | None = None  # made on the thread: their imports take seconds
        self._visdom_server = visdom_server
        self._first_step = first_step
        self._dropped = 0
        self._warned: set[str] = set()
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(QUEUE_LENGTH)
        self._thread = threading.Thread(target=self._work, name="board", daemon=True)
        self._thread.start()

    def parameters(self, parameters: dict[str, Any]) -> None:
        """The configuration of the run, as a table of text."""
        self._put(lambda: self._send("text", "parameters", "\n".join(f"{k}: {v}" for k, v in parameters.items())))

    def scalars(self, step: int, values: dict[str, float], force: bool = False) -> None:
        """A line of metrics.jsonl for every call; every n-th step (or `force`) goes to the dashboards too."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with self._metrics.open("a", encoding="utf-8") as file:  # opened anew, as another stage may have replaced the file
            file.write(json.dumps({"stage": self.stage, "step": step, **finite}) + "\n")
        if force or step % self.every == 0:
            shown = {name: value for name, value in finite.items() if value is not None}
            self._put(lambda: self._send("scalars", step, shown))

    def figure(self, step: int, name: str, draw: Callable[[], Any], folder: str = "plots") -> None:
        """`draw` returns a matplotlib Figure, on the board's thread; it becomes <folder>/<stage>-<name>-<step>.png."""

        def work() -> None:
            figure = draw()
            with write_atomically(self.folder / folder / f"{self.stage}-{name}-{step:07d}.png") as temporary:
                figure.savefig(temporary, format="png", dpi=100)
            self._send("figure", step, name, figure)

        self._put(lambda: self._attempt(work, f"the picture {name}"))

    def audio(self, step: int, name: str, make: Callable[[], np.ndarray] | np.ndarray, sample_rate: int) -> None:
        """A float wave, or a function that makes it on the board's thread; it becomes wavs/<stage>-<name>-<step>.wav."""

        def work() -> None:
            wav = make() if callable(make) else make
            audio.write_wav(self.folder / "wavs" / f"{self.stage}-{name}-{step:07d}.wav", wav, sample_rate)
            self._send("audio", step, name, wav, sample_rate)

        self._put(lambda: self._attempt(work, f"the audio {name}"))

    def close(self) -> None:
        """Finish what is queued, for a bounded time."""
        try:
            self._queue.put(None, timeout=SECONDS_TO_DRAIN)
        except queue.Full:
            self._dropped += self._queue.qsize()
        self._thread.join(SECONDS_TO_DRAIN)
        if self._dropped:
            say(f"{self._dropped} dashboard updates were left out: drawing was slower than training")

    def _put(self, work: Callable[[], None]) -> None:
        try:
            self._queue.put_nowait(work)
        except queue.Full:
            self._dropped += 1

    def _work(self) -> None:
        self._sinks = make_sinks(self.folder, self.stage, self._visdom_server, self._first_step)
        while (work := self._queue.get()) is not None:
            work()
        self._send("close")

    def _send(self, method: str, *args: Any) -> None:
        for sink in list(self._sinks or []):
            try:
                getattr(sink, method)(*args)
                sink.failures[method] = 0
            except Exception as error:  # whatever a dashboard does must not reach the training
                sink.failures[method] += 1
                if sink.failures[method] >= FAILURES_TO_GIVE_UP:
                    self._sinks.remove(sink)
                    say(f"{sink.label} is given up: {FAILURES_TO_GIVE_UP} failures in a row ({short(error)}); training goes on")

    def _attempt(self, work: Callable[[], None], what: str) -> None:
        try:
            work()
        except Exception as error:  # a missing library or a failing plot costs a line, once
            if what not in self._warned:
                self._warned.add(what)
                say(f"{what} could not be made ({short(error)}); training goes on without it")


class NoBoard:
    """The board of ranks that do not write: does nothing."""

    def parameters(self, parameters: dict[str, Any]) -> None: ...

    def scalars(self, step: int, values: dict[str, float], force: bool = False) -> None: ...

    def figure(self, step: int, name: str, draw: Callable[[], Any], folder: str = "plots") -> None: ...

    def audio(self, step: int, name: str, make: Callable[[], np.ndarray] | np.ndarray, sample_rate: int) -> None: ...

    def close(self) -> None: ...


def _forget_steps_after(first_step: int, path: Path, stage: str) -> None:
    """Drop this stage's lines of steps that are now trained again, and what a killed process left torn."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if _stays(line, stage, first_step)]
        if len(kept) < len(lines):
            save_text(path, "".join(kept))


def _stays(line: str, stage: str, first_step: int) -> bool:
    try:
        row = json.loads(line)
    except ValueError:  # torn when a process was killed
        return False
    return row.get("stage") != stage or row.get("step", 0) <= first_step
