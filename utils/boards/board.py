"""A run's numbers, pictures and sounds, sent by one call to metrics.jsonl, TensorBoard, Visdom, PNG and WAV files.

Only metrics.jsonl is written at once. The rest is drawn and sent by a background thread with a bounded queue, so that a board
never stops or slows the training: updates that do not fit the queue are dropped, and dashboards that keep failing given up.
"""

import json
import math
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from utils.boards.dashboards import make_sinks
from utils.boards.measures import EVAL, TRAIN
from utils.boards.metrics import forget_steps_after
from utils.boards.sink import Sink, say, short
from utils.data import audio
from utils.data.names import within
from utils.data.paths import write_atomically

QUEUE_LENGTH = 256
SECONDS_TO_DRAIN = 120  # the longest wait for the last pictures at the end of a run
SECONDS_AFTER_SIGNAL = 20  # the same after a signal, as who sends it does not wait for ever
FAILURES_TO_GIVE_UP = 3


class Board:
    """The dashboards of one stage. Stages may share a run's folder: file names begin with the stage.

    Every `every`-th step's scalars go to TensorBoard and Visdom. Lines of steps after `first_step` are removed from
    metrics.jsonl, as these steps are trained again.
    """

    def __init__(self, folder: Path, stage: str, visdom_server: str | None, every: int = 10, first_step: int = 0) -> None:
        self.folder, self.stage, self.every = Path(folder), stage, max(1, every)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._metrics = within(self.folder, "metrics.jsonl", to_write=True)
        forget_steps_after(first_step, self._metrics, stage)
        self._sinks: list[Sink] | None = None  # made on the thread, as their imports take seconds
        self._visdom_server = visdom_server
        self._first_step = first_step
        self._dropped = 0
        self._warned: set[str] = set()
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(QUEUE_LENGTH)
        self._thread = threading.Thread(target=self._work, name="board", daemon=True)
        self._thread.start()

    def parameters(self, parameters: dict[str, Any]) -> None:
        """The run's configuration, shown as a table."""
        self._put(lambda: self._send("text", "parameters", "\n".join(f"{k}: {v}" for k, v in parameters.items())))

    def note(self, name: str, line: str) -> None:
        """A line of text, shown under this name."""
        self._put(lambda: self._send("text", name, line))

    def scalars(self, step: int, values: dict[str, float], held_out: bool = False) -> None:
        """Append a line to metrics.jsonl. Send it to the dashboards every `every`-th step, or if it is of held-out data."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._attempt(lambda: self._append(json.dumps({"stage": self.stage, "step": step, **finite}) + "\n"), "metrics.jsonl")
        if held_out or step % self.every == 0:
            shown = {name: value for name, value in finite.items() if value is not None}
            self._put(lambda: self._send("scalars", step, shown, EVAL if held_out else TRAIN))

    def _append(self, line: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)  # somebody may have removed it
        with self._metrics.open("a", encoding="utf-8") as file:  # reopened, as another stage may have replaced the file
            file.write(line)

    def figure(self, step: int, name: str, draw: Callable[[], Any], folder: str = "plots") -> None:
        """Show the matplotlib Figure that `draw` returns, and save it as <folder>/<stage>-<name>-<step>.png.

        `draw` is called on the board's thread.
        """

        def work() -> None:
            figure = draw()
            with write_atomically(within(self.folder, folder) / f"{self.stage}-{name}-{step:07d}.png") as temporary:
                figure.savefig(temporary, format="png", dpi=100)
            self._send("figure", step, name, figure)

        self._put(lambda: self._attempt(work, f"the picture {name}"))

    def audio(self, step: int, name: str, make: Callable[[], np.ndarray] | np.ndarray, sample_rate: int) -> None:
        """A float wave, or a function that returns it on the board's thread, saved as wavs/<stage>-<name>-<step>.wav."""

        def work() -> None:
            wav = make() if callable(make) else make
            audio.write_wav(self.folder / "wavs" / f"{self.stage}-{name}-{step:07d}.wav", wav, sample_rate)
            self._send("audio", step, name, wav, sample_rate)

        self._put(lambda: self._attempt(work, f"the audio {name}"))

    def close(self, seconds: float = SECONDS_TO_DRAIN) -> None:
        """Finish the queue, for a limited time."""
        until = time.monotonic() + seconds
        try:
            self._queue.put(None, timeout=seconds)
        except queue.Full:
            self._dropped += self._queue.qsize()
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            say(f"the last pictures are left out: drawing them takes longer than {seconds:g} s; metrics.jsonl has all numbers")
        if self._dropped:
            say(f"{self._dropped} dashboard updates were dropped: drawing was slower than training")

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
            except Exception as error:  # no failure of a dashboard may stop the training
                sink.failures[method] += 1
                if sink.failures[method] >= FAILURES_TO_GIVE_UP:
                    self._sinks.remove(sink)
                    say(f"{sink.label} is given up: {FAILURES_TO_GIVE_UP} failures in a row ({short(error)}); training goes on")

    def _attempt(self, work: Callable[[], None], what: str) -> None:
        try:
            work()
        except Exception as error:  # a missing library or a failing plot costs one line
            if what not in self._warned:
                self._warned.add(what)
                say(f"{what} could not be made ({short(error)}); training goes on without it")


class NoBoard:
    """The board of the other ranks: does nothing, whatever is asked of it."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **options: None
