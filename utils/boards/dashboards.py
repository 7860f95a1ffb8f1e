"""The dashboards behind a board: TensorBoard, Visdom, and a picture of all curves."""

import functools
import time
import urllib.parse
from pathlib import Path
from socket import create_connection
from typing import Any

import numpy as np

from utils.boards import plot
from utils.boards.measures import PICTURE, SOUND, charts, tag
from utils.boards.metrics import read_metrics
from utils.boards.sink import Sink, say, short
from utils.boards.visdom_windows import VisdomWindows
from utils.data.paths import write_atomically

VISDOM_PORT = 8097


class _TensorBoard(Sink):
    label = "TensorBoard"
    LARGEST = 2**26  # bytes of a file
    CALLS_BETWEEN = 20  # two looks at its size

    def __init__(self, folder: Path, first_step: int) -> None:
        super().__init__()
        from torch.utils.tensorboard import SummaryWriter

        self.folder = folder
        # Hide what a killed run wrote after its checkpoint, as these steps are trained again.
        self._open = functools.partial(SummaryWriter, folder)
        self.writer = self._open(purge_step=first_step + 1)
        lines = {panel: ["Multiline", [f"^{each}$" for each in tags]] for panel, tags in charts().items()}
        self.writer.add_custom_scalars({"held out over training": lines})
        self._n_calls = 0

    def text(self, name: str, text: str) -> None:
        self.writer.add_text(name, text.replace("\n", "  \n"))

    def scalars(self, step: int, values: dict[str, float], group: str) -> None:
        for name, value in values.items():
            self.writer.add_scalar(tag(group, name), value, step)
        self._rotate()

    def figure(self, step: int, name: str, figure: Any) -> None:
        self.writer.add_figure(tag(PICTURE, name), figure, step, close=False)
        self._rotate()

    def audio(self, step: int, name: str, wav: np.ndarray, sample_rate: int) -> None:
        self.writer.add_audio(tag(SOUND, name), wav / max(1.0, float(np.abs(wav).max())), step, sample_rate)
        self._rotate()

    def _rotate(self) -> None:
        """Begin another file when this one is large. TensorBoard reads them all."""
        self._n_calls += 1
        if self._n_calls % self.CALLS_BETWEEN == 0:
            newest = max(self.folder.glob("events.*"), key=lambda path: path.name)
            if newest.stat().st_size > self.LARGEST:
                self.writer.close()
                self.writer = self._open(filename_suffix=f".{self._n_calls}")

    def close(self) -> None:
        self.writer.close()


class _Curves(Sink):
    """All curves in one picture, plots/<stage>-curves.png, for people without TensorBoard and Visdom."""

    label = "The picture of the curves"
    MAX_POINTS = 2000  # of each curve; beyond that, every other point is dropped
    SECONDS_BETWEEN = 60  # the least time between two drawings

    def __init__(self, folder: Path, stage: str) -> None:
        super().__init__()
        self.path, self.stage = folder / "plots" / f"{stage}-curves.png", stage
        self.points: dict[str, list[tuple[int, float]]] = {}
        self._drawn = time.monotonic()
        for row in read_metrics(folder / "metrics.jsonl"):
            if row["stage"] == stage:  # measured before the run was resumed
                self._add(row["step"], {k: v for k, v in row.items() if k not in ("stage", "step") and v is not None})

    def scalars(self, step: int, values: dict[str, float], group: str) -> None:
        self._add(step, values)
        if time.monotonic() - self._drawn > self.SECONDS_BETWEEN:
            self._draw()

    def close(self) -> None:
        if self.points:
            self._draw()

    def _add(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            points = self.points.setdefault(name, [])
            if not points or step > points[-1][0]:
                points.append((step, value))
            if len(points) > self.MAX_POINTS:
                del points[1::2]

    def _draw(self) -> None:
        with write_atomically(self.path) as temporary:
            plot.curves(self.points, self.stage).savefig(temporary, format="png", dpi=80)
        self._drawn = time.monotonic()


def make_sinks(folder: Path, stage: str, visdom_server: str | None, first_step: int) -> list[Sink]:
    """The dashboards that are available here; one line for each that is not."""
    sinks: list[Sink] = [_Curves(folder, stage)]
    try:
        sinks.append(_TensorBoard(folder / "tensorboard" / stage, first_step))
    except Exception as error:  # not installed, or its log cannot be written
        say(f"TensorBoard is off ({short(error)})")
    if visdom_server:
        try:
            server, port = _server_and_port(visdom_server)
            create_connection((urllib.parse.urlparse(server).hostname, port), timeout=3).close()
            sinks.append(VisdomWindows(server, port, folder.name, stage))
        except Exception as error:  # refused, unknown host, no visdom installed, a server of another kind
            reason = short(error)
            say(f"Visdom is off: none answers at {visdom_server} ({reason}); start it with `visdom`, or pass --no_visdom")
    return sinks


def _server_and_port(url: str) -> tuple[str, int]:
    parsed = urllib.parse.urlparse(url if "//" in url else f"http://{url}")
    return f"{parsed.scheme}://{parsed.hostname}", parsed.port or VISDOM_PORT
