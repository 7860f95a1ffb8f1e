"""The dashboards behind a board: TensorBoard, Visdom, and a picture of all curves."""

import collections
import html
import logging
import sys
import time
import urllib.parse
from pathlib import Path
from socket import create_connection
from typing import Any, NamedTuple

import numpy as np

from utils.boards import plot
from utils.boards.metrics import read_metrics
from utils.data import audio
from utils.data.paths import write_atomically

VISDOM_PORT = 8097


class Sink:
    """A dashboard. Methods for what it does not show do nothing; any method may fail."""

    label = ""

    def __init__(self) -> None:
        self.failures: collections.Counter[str] = collections.Counter()  # in a row, by method

    def text(self, name: str, text: str) -> None: ...

    def scalars(self, step: int, values: dict[str, float]) -> None: ...

    def figure(self, step: int, name: str, figure: Any) -> None: ...

    def audio(self, step: int, name: str, wav: np.ndarray, sample_rate: int) -> None: ...

    def close(self) -> None: ...


class _TensorBoard(Sink):
    label = "TensorBoard"

    def __init__(self, folder: Path, first_step: int) -> None:
        super().__init__()
        from torch.utils.tensorboard import SummaryWriter

        # Hide what a killed run wrote after its checkpoint, as these steps are trained again.
        self.writer = SummaryWriter(folder, purge_step=first_step + 1)

    def text(self, name: str, text: str) -> None:
        self.writer.add_text(name, text.replace("\n", "  \n"))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def figure(self, step: int, name: str, figure: Any) -> None:
        self.writer.add_figure(name, figure, step, close=False)

    def audio(self, step: int, name: str, wav: np.ndarray, sample_rate: int) -> None:
        self.writer.add_audio(name, wav / max(1.0, float(np.abs(wav).max())), step, sample_rate)

    def close(self) -> None:
        self.writer.close()


class _Panel(NamedTuple):
    """Measures that share a Visdom window: their traces by name."""

    title: str
    traces: dict[str, str]


# Every other measure has a window of its own.
PANELS = {
    "eer": _Panel("EER, held out", {"eer": "EER", "eer_low": "95 % interval", "eer_high": "its upper end"}),
    "cosine": _Panel("cosine, held out", {"same_cosine": "same speaker", "different_cosine": "different speakers"}),
}
THIN = {"line": {"dash": "dot", "width": 1, "color": "#888"}}
STYLES = {"95 % interval": THIN, "its upper end": THIN | {"showlegend": False}}  # of traces
FROM_ZERO = ("eer", "steps_per_second", "learning_rate", "grad_norm")  # windows whose vertical axis begins at zero
SHOWN_WHEN_POSITIVE = ("skipped_steps",)


class _Visdom(Sink):
    """The run's parameters as a table, and windows of equal size: four in a row on a wide screen."""

    label = "Visdom"
    WIDTH, HEIGHT = 400, 300  # pixels of a window
    LINE_HEIGHT = 16  # of the parameters
    TITLE_HEIGHT = 20  # of a window

    def __init__(self, server: str, port: int, env: str) -> None:
        super().__init__()
        from visdom import Visdom

        logging.getLogger("visdom").setLevel(logging.CRITICAL)  # its reports of a lost server fill pages
        self.client = Visdom(server=server, port=port, env=env, raise_exceptions=True, use_incoming_socket=False)
        self.window_of = {measure: window for window, panel in PANELS.items() for measure in panel.traces}

    def text(self, name: str, text: str) -> None:
        """Show lines "name: value" as a table."""
        lines = [html.escape(line).partition(": ") for line in text.splitlines()]
        cell = "<td style='padding-left:12px;word-break:break-all'>"
        rows = "".join(f"<tr><td>{key}</td>{cell}<b>{value}</b></td></tr>" for key, _, value in lines)
        table = f"<table style='color:#222;font-size:11px;line-height:{self.LINE_HEIGHT}px;margin:4px'>{rows}</table>"
        height = max(self.HEIGHT, 2 * self.TITLE_HEIGHT + self.LINE_HEIGHT * len(lines))
        self.client.text(table, win=name, opts={"title": name, "width": self.WIDTH, "height": height})

    def scalars(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            if value > 0 or name not in SHOWN_WHEN_POSITIVE:
                window = self.window_of.get(name, name)
                trace = PANELS[window].traces[name] if window in PANELS else name.replace("_", " ")
                opts = self._line_options(window, trace)
                self.client.line(np.array([value]), np.array([step]), win=window, name=trace, update="append", opts=opts)

    def _line_options(self, window: str, trace: str) -> dict[str, Any]:
        panel = PANELS.get(window)
        title = panel.title if panel else window.replace("_", " ")
        heading = {"text": title, "x": 0.02, "xanchor": "left", "font": {"size": 15}}  # clear of the window's buttons
        vertical = {"exponentformat": "power", "rangemode": "tozero" if window in FROM_ZERO else "normal"}
        horizontal = {"title": {"text": "step", "standoff": 4, "font": {"size": 11}}}
        legend = {"x": 0.99, "xanchor": "right", "y": 0.7, "bgcolor": "rgba(255,255,255,0.7)", "font": {"size": 11}}
        layout = {"title": heading, "xaxis": horizontal, "yaxis": vertical, "legend": legend, "showlegend": panel is not None}
        plotly = {"layoutopts": {"plotly": layout}, "traceopts": {"plotly": {trace: STYLES.get(trace, {})}}}
        margins = {"marginleft": 50, "marginright": 15, "margintop": 35, "marginbottom": 35}
        return {"title": title, "width": self.WIDTH, "height": self.HEIGHT, **margins, **plotly}

    def figure(self, step: int, name: str, figure: Any) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[:, :, :3].transpose(2, 0, 1)  # (3, height, width)
        aspect = pixels.shape[1] / pixels.shape[2]
        width = self.WIDTH if aspect > 0.8 else 2 * self.WIDTH  # wide pictures, such as mels, take two windows
        opts = {"title": f"{name}, step {step}", "width": width, "height": round(width * aspect) + self.TITLE_HEIGHT}
        self.client.image(pixels, win=name, opts=opts)

    def audio(self, step: int, name: str, wav: np.ndarray, sample_rate: int) -> None:
        opts = {"title": f"{name}, step {step}", "sample_frequency": sample_rate}
        self.client.audio(tensor=audio.to_int16(wav), win=f"audio-{name}", opts=opts)


class _Curves(Sink):
    """All curves in one picture, plots/<stage>-curves.png, for people without TensorBoard and Visdom."""

    label = "The picture of the curves"
    MAX_POINTS = 2000  # of each curve; beyond that, every other point is dropped
    SECONDS_BETWEEN = 60  # the least time between two drawings

    def __init__(self, folder: Path, stage: str) -> None:
        super().__init__()
        self.path = folder / "plots" / f"{stage}-curves.png"
        self.points: dict[str, list[tuple[int, float]]] = {}
        self._drawn = time.monotonic()
        for row in read_metrics(folder / "metrics.jsonl"):
            if row["stage"] == stage:  # measured before the run was resumed
                self._add(row["step"], {k: v for k, v in row.items() if k not in ("stage", "step") and v is not None})

    def scalars(self, step: int, values: dict[str, float]) -> None:
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
            plot.curves(self.points).savefig(temporary, format="png", dpi=80)
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
            sinks.append(_Visdom(server, port, f"{folder.name}_{stage}"))
        except Exception as error:  # refused, unknown host, no visdom installed, a server of another kind
            reason = short(error)
            say(f"Visdom is off: none answers at {visdom_server} ({reason}); start it with `visdom`, or pass --no_visdom")
    return sinks


def _server_and_port(url: str) -> tuple[str, int]:
    parsed = urllib.parse.urlparse(url if "//" in url else f"http://{url}")
    return f"{parsed.scheme}://{parsed.hostname}", parsed.port or VISDOM_PORT


def short(error: Exception) -> str:
    """The first line of an error."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:120]


def say(line: str) -> None:
    """Print to stderr without breaking a progress bar."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)
