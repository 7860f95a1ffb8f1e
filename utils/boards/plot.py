"""Pictures of training, as matplotlib Figures made without pyplot, so that any thread may draw them."""

from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np

from utils.boards.measures import GUESSING, INTERVAL, LIMITS, is_shown, plot_of, unit
from utils.data.mel_format import MelFormat

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_TICKS = 40  # names of 8 points that fit beside each other
GUESS = {"color": "#c33", "linestyle": "--", "linewidth": 1}  # the line of guessing
OUTLIER = 5  # times the range of 99 % of the values: what is cut off
ALIKE = 0.99  # lowest cosine of embeddings whose differences mean nothing
MIN_UMAP_POINTS = 24  # UMAP looks at the 15 nearest points of each, which must not be nearly all of them


def _figure(width: float, height: float) -> "Figure":
    """Sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def mels(spectrograms: dict[str, np.ndarray], f: MelFormat, title: str = "") -> "Figure":
    """Mel spectrograms (T, n_mels) by what they are, one above the other on one time axis and one colour scale."""
    figure = _figure(10, 2.6 * len(spectrograms))
    axes = figure.subplots(len(spectrograms), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, mel) in zip(axes, spectrograms.items(), strict=True):
        extent = (0, len(mel) * f.hop_length / f.sample_rate, 0, mel.shape[1])
        level = (mel.T / f.max_abs - 1) / 2 * -f.min_db  # dB below full scale of the format
        scale = {"vmin": f.min_db, "vmax": 0, "interpolation": "nearest"}
        image = axis.imshow(level, origin="lower", aspect="auto", extent=extent, **scale)
        axis.set(title=name, ylabel="mel band")
    axes[-1].set_xlabel("seconds")
    figure.suptitle(title)
    figure.colorbar(image, ax=axes, pad=0.01, label=f"dB, 0 is a magnitude of {10 ** (f.ref_db / 20):g}")
    return figure


def alignment(attention: np.ndarray, labels: Sequence[str], title: str, seconds_per_step: float) -> "Figure":
    """Attention (n_steps, n_symbols): which symbol each decoder step looks at."""
    figure = _figure(10, 6)
    axis = figure.subplots()
    extent = (0, len(attention) * seconds_per_step, -0.5, attention.shape[1] - 0.5)
    image = axis.imshow(attention.T, origin="lower", aspect="auto", extent=extent, vmin=0, interpolation="nearest")
    axis.set(title=title, xlabel="seconds", ylabel="symbol")
    symbol_ticks(axis, labels)
    figure.colorbar(image, ax=axis, pad=0.01, label="attention weight")
    return figure


def symbol_ticks(axis: "Axes", symbols: Sequence[str]) -> None:
    """Name the symbols on the y axis: each of them, or where these could not be read, words at their first letters."""
    labels = dict(enumerate(symbols))
    if len(symbols) > MOST_TICKS:
        is_first = [k for k, symbol in enumerate(symbols) if symbol != " " and (not k or symbols[k - 1] in (" ", "end"))]
        words = {k: "".join(takewhile(lambda symbol: symbol not in (" ", "end"), symbols[k:])) for k in is_first}
        labels = {k: word[:20] for k, word in words.items()} | {len(symbols) - 1: "end"}
    places: list[int] = []
    for place in sorted(labels, reverse=True):  # the end is always named
        if not places or places[-1] - place >= len(symbols) / MOST_TICKS:
            places.append(place)
    places.reverse()
    axis.set_yticks(places, [labels[place] for place in places], fontsize=8)


def embeddings(vectors: np.ndarray, labels: Sequence[str], title: str) -> "Figure":
    """Vectors (N, E) of length 1 in two dimensions, with a colour and marker for each label."""
    from matplotlib import colormaps

    points, method = project(vectors)
    figure = _figure(8, 7)
    axis = figure.subplots()
    names = sorted(set(labels))
    colours = colormaps["tab10" if len(names) <= 10 else "gist_rainbow"]
    labels = np.asarray(labels)
    for index, name in enumerate(names):
        x, y = points[labels == name].T
        colour = colours(index if len(names) <= 10 else index / len(names))
        axis.scatter(x, y, s=25, color=colour, marker="os^Dv"[index % 5], label=name)
    lowest = float((vectors @ vectors.T).min())
    alike = f"\nall are alike (cosines from {lowest:.5f}), so places mean nothing" if lowest >= ALIKE else ""
    axis.set(title=f"{title} ({method}){alike}", xticks=[], yticks=[])
    if len(names) <= 20:
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


def embedding_heatmap(
    vector: np.ndarray,
    axis: "Axes",
    title: str = "",
    shape: tuple[int, int] | None = None,
    colour_range: tuple[float, float] | None = None,
) -> None:
    """Draw one vector (E,) on an axis as an image of this shape, by default a square."""
    low, high = colour_range or (None, None)
    image = axis.imshow(vector.reshape(shape or (int(len(vector) ** 0.5), -1)), vmin=low, vmax=high)
    axis.figure.colorbar(image, ax=axis, fraction=0.046, pad=0.04)
    axis.set(title=title, xticks=[], yticks=[])


def project(vectors: np.ndarray) -> tuple[np.ndarray, str]:
    """(N, E) -> (N, 2) by UMAP, or by principal components if N is small, and the name of the method."""
    if len(vectors) < MIN_UMAP_POINTS:
        return _principal_components(vectors), "PCA"
    try:
        import umap
    except ImportError:
        return _principal_components(vectors), "PCA; umap-learn is not installed"
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that a fixed seed means one thread, which is what we want
        return umap.UMAP(n_epochs=200, random_state=0, metric="cosine", n_jobs=1).fit_transform(vectors), "UMAP"


def _principal_components(vectors: np.ndarray) -> np.ndarray:
    """(N, E) -> (N, 2): the two directions of largest variance."""
    left, scale, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    points = np.zeros((len(vectors), 2), dtype=vectors.dtype)
    points[:, : min(2, len(scale))] = left[:, :2] * scale[:2]
    return points


def waves(named: dict[str, np.ndarray], sample_rate: int, title: str = "") -> "Figure":
    """Waves (n,) by what they are, one above the other on one time axis."""
    figure = _figure(10, 2 * len(named))
    axes = figure.subplots(len(named), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, wav) in zip(axes, named.items(), strict=True):
        axis.plot(np.arange(len(wav)) / sample_rate, wav, linewidth=0.5)
        axis.set(title=name, ylim=(-1, 1), ylabel="amplitude")
    axes[-1].set_xlabel("seconds")
    figure.suptitle(title)
    return figure


def curves(points: dict[str, list[tuple[int, float]]], stage: str) -> "Figure":
    """Plots of (step, value)... of each measure of a stage, three in a row; held-out losses over those of training."""
    plots: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for measure, values in points.items():
        if is_shown(measure, values[-1][1]):
            plot, trace = plot_of(measure)
            plots.setdefault(plot, {})[trace] = values
    n_rows = -(-len(plots) // 3)
    figure = _figure(12, 2.6 * n_rows)
    axes = figure.subplots(n_rows, 3, squeeze=False).flat
    for (plot, traces), axis in zip(plots.items(), axes, strict=False):
        _curves(axis, plot, traces)
        axis.set_ylabel(unit(plot, stage), fontsize=9)
    for axis in list(axes):  # unused ones
        axis.set_axis_off()
    return figure


def _curves(axis: "Axes", plot: str, traces: dict[str, list[tuple[int, float]]]) -> None:
    """The traces of one plot."""
    for trace, values in traces.items():
        label = f"_{trace}" if trace == INTERVAL[1] else trace  # matplotlib's legends leave out what begins with _
        style = GUESS if trace == "guessing" else {"color": "#888", "linestyle": ":"} if trace in INTERVAL else {}
        marker = "." if len(values) < 30 else None
        axis.plot(*zip(*values, strict=True), marker=marker, label=label, **{"linewidth": 1, **style})
    if plot in GUESSING:
        axis.axhline(GUESSING[plot], label="guessing", **GUESS)
    low, high, cut = _vertical([value for values in traces.values() for _, value in values])
    axis.set_ylim(*LIMITS.get(plot, (low, high)))
    axis.set_title(plot.partition("/")[2].replace("_", " ") + cut, fontsize=10, loc="left")
    axis.set_xlabel("step", fontsize=9)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:.6g}")  # no part of the numbers apart, at the axis's end
    axis.grid(alpha=0.3)
    if len(traces) > 1 or plot in GUESSING:
        axis.legend(loc="best", fontsize=8)


def _vertical(values: list[float]) -> tuple[float, float, str]:
    """The range of an axis, and words for its title: a few far higher values are cut off, and noise is not magnified."""
    low, usual, highest = np.percentile(values, (0, 99, 100))
    is_cut = highest - low > OUTLIER * (usual - low) > 0
    high = usual if is_cut else highest
    margin = max(0.05 * (high - low), 0.05 * abs(high) * (high - low < 0.02 * abs(high)), 1e-9)
    return low - margin, high + margin, f", up to {highest:.3g}" if is_cut else ""
