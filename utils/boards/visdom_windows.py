"""Visdom's windows: curves, pictures and sounds in a browser."""

import html
import logging
import queue
import threading
from typing import Any

import numpy as np

from utils.boards.measures import INTERVAL, LIMITS, PANELS, PICTURE, SOUND, is_shown, plot_of, tag, unit
from utils.boards.sink import Sink, say, short
from utils.data import audio

DOTS = {"mode": "lines+markers", "marker": {"size": 3}}  # a line of one point would not be seen
THIN = DOTS | {"line": {"dash": "dot", "width": 1, "color": "#888"}}
STYLES = {"guessing": THIN, INTERVAL[0]: THIN, INTERVAL[1]: THIN | {"showlegend": False}}  # of traces
# Windows whose vertical axis begins at zero.
FROM_ZERO = ("eval/eer", "train/steps_per_second", "train/learning_rate", "train/grad_norm")


class VisdomWindows(Sink):
    """The run's parameters as a table, and windows of equal size: four in a row on a wide screen."""

    label = "Visdom"
    WIDTH, HEIGHT = 400, 300  # pixels of a window
    LINE_HEIGHT = 16  # of the parameters
    TITLE_HEIGHT = 20  # of a window

    SECONDS_TO_ANSWER = 5
    SECONDS_TO_DRAIN = 5  # the longest wait at the end
    FAILURES_TO_GIVE_UP = 10
    QUEUE_LENGTH = 256  # calls that a slow server has not answered; more are dropped

    def __init__(self, server: str, port: int, run: str, stage: str) -> None:
        super().__init__()
        import visdom  # noqa: F401  (an error of its own if it is missing)

        self._stage = stage
        self._calls: queue.Queue[tuple[str, tuple, dict]] = queue.Queue(self.QUEUE_LENGTH)
        self._is_given_up, self._is_over, self._n_dropped = False, False, 0
        self._thread = threading.Thread(target=self._work, args=(server, port, f"{run}_{stage}"), name="visdom", daemon=True)
        self._thread.start()

    def text(self, name: str, text: str) -> None:
        """Show lines "name: value" as a table."""
        lines = [html.escape(line).partition(": ") for line in text.splitlines()]
        cell = "<td style='padding-left:12px;word-break:break-all'>"
        rows = "".join(f"<tr><td>{key}</td>{cell}<b>{value}</b></td></tr>" for key, _, value in lines)
        table = f"<table style='color:#222;font-size:11px;line-height:{self.LINE_HEIGHT}px;margin:4px'>{rows}</table>"
        height = max(self.HEIGHT, 2 * self.TITLE_HEIGHT + self.LINE_HEIGHT * len(lines))
        self._put("text", table, win=name, opts={"title": name, "width": self.WIDTH, "height": height})

    def scalars(self, step: int, values: dict[str, float], group: str) -> None:
        for name, value in values.items():
            if is_shown(name, value):
                window, trace = plot_of(name, group)
                opts = self._line_options(window, trace)
                self._put("line", np.array([value]), np.array([step]), win=window, name=trace, update="append", opts=opts)

    def _line_options(self, window: str, trace: str) -> dict[str, Any]:
        heading = {"text": ""}  # the window's bar has the title; a second one would be under the plot's buttons
        vertical = {"exponentformat": "power", "rangemode": "tozero" if window in FROM_ZERO else "normal"}
        vertical["title"] = {"text": unit(window, self._stage), "standoff": 4, "font": {"size": 11}}
        if window in LIMITS:
            vertical["range"] = LIMITS[window]
        horizontal = {"title": {"text": "step", "standoff": 4, "font": {"size": 11}}}
        legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom", "font": {"size": 11}}
        layout = {"title": heading, "xaxis": horizontal, "yaxis": vertical, "legend": legend, "showlegend": window in PANELS}
        plotly = {"layoutopts": {"plotly": layout}, "traceopts": {"plotly": {trace: STYLES.get(trace, DOTS)}}}
        margins = {"marginleft": 60, "marginright": 15, "margintop": 50, "marginbottom": 35}
        return {"title": window, "width": self.WIDTH, "height": self.HEIGHT, **margins, **plotly}

    def figure(self, step: int, name: str, figure: Any) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[:, :, :3].transpose(2, 0, 1)  # (3, height, width)
        aspect = pixels.shape[1] / pixels.shape[2]
        width = 2 * self.WIDTH  # for the smallest words to be read
        name = tag(PICTURE, name)
        opts = {"title": f"{name}, step {step}", "width": width, "height": round(width * aspect) + self.TITLE_HEIGHT}
        self._put("image", pixels, win=name, opts=opts)

    def audio(self, step: int, name: str, wav: np.ndarray, sample_rate: int) -> None:
        name = tag(SOUND, name)
        opts = {"title": f"{name}, step {step}", "sample_frequency": sample_rate}
        self._put("audio", tensor=audio.to_int16(wav), win=name, opts=opts)

    def close(self) -> None:
        self._is_over = True
        self._put("")  # to wake the thread
        self._thread.join(self.SECONDS_TO_DRAIN)
        if self._thread.is_alive() and not self._is_given_up:
            self._give_up("it does not answer")
        elif self._n_dropped and not self._is_given_up:
            say(f"{self._n_dropped} updates of Visdom were dropped: it was slower than training")

    # ---- a thread of its own, so that a server that hangs delays nothing else

    def _put(self, method: str, *args: Any, **kwargs: Any) -> None:
        if not self._is_given_up:
            try:
                self._calls.put_nowait((method, args, kwargs))
            except queue.Full:
                self._n_dropped += 1

    def _work(self, server: str, port: int, env: str) -> None:
        client, failures, reason = None, 0, ""
        while failures < self.FAILURES_TO_GIVE_UP and not self._is_given_up and not (self._is_over and self._calls.empty()):
            method, args, kwargs = self._calls.get()
            try:
                client = client or _visdom_client(server, port, env, self.SECONDS_TO_ANSWER)
                if method:
                    getattr(client, method)(*args, **kwargs)
                failures = 0
            except Exception as error:  # no failure of a dashboard may stop the training
                failures, reason = failures + 1, short(error)
        if failures:
            self._give_up(f"{failures} failures in a row ({reason})")

    def _give_up(self, why: str) -> None:
        if not self._is_given_up:
            self._is_given_up = True
            say(f"Visdom is given up: {why}; training goes on")


def _visdom_client(server: str, port: int, env: str, seconds: float) -> Any:
    """A Visdom client that does not wait for an answer for ever."""
    from visdom import Visdom

    logging.getLogger("visdom").setLevel(logging.CRITICAL)  # its reports of a lost server fill pages

    class Client(Visdom):
        def _handle_post(self, url: str, data: Any = None) -> str:
            answer = self.session.post(url, data={} if data is None else data, timeout=seconds)
            answer.raise_for_status()
            return answer.text

    return Client(server=server, port=port, env=env, raise_exceptions=True, use_incoming_socket=False)
