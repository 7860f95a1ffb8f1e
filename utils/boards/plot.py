"""Pictures of training, as matplotlib Figures made without pyplot, so that any thread may draw them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from utils.boards.measures import INTERVAL, is_shown, plot_of, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_TICKS = 40  # names of 8 points that fit beside each other
MIN_UMAP_POINTS = 24  # UMAP looks at the 15 nearest points of each, which must not be nearly all of them


def _figure(width: float, height: float) -> "Figure":
    """Sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def mels(spectrograms: dict[str, np.ndarray], hop_seconds: float, title: str = "") -> "Figure":
    """Mel spectrograms (T, n_mels) by what they are, one above the other on one time axis and one colour scale."""
    figure = _figure(10, 2.6 * len(spectrograms))
    axes = figure.subplots(len(spectrograms), 1, sharex=True, squeeze=False)[:, 0]
    low, high = (f(array.min() if f is min else array.max() for array in spectrograms.values()) for f in (min, max))
    for axis, (name, mel) in zip(axes, spectrograms.items(), strict=True):
        extent = (0, len(mel) * hop_seconds, 0, mel.shape[1])
        image = axis.imshow(mel.T, origin="lower", aspect="auto", extent=extent, vmin=low, vmax=high, interpolation="nearest")
        axis.set(title=name, ylabel="mel band")
    axes[-1].set_xlabel("seconds")
    figure.suptitle(title)
    figure.colorbar(image, ax=axes, pad=0.01, label="level")
    return figure


def alignment(attention: np.ndarray, text: str, title: str, seconds_per_step: float) -> "Figure":
    """Attention (n_steps, n_symbols), of which the last is the end: which symbol each decoder step looks at."""
    figure = _figure(10, 6)
    axis = figure.subplots()
    extent = (0, len(attention) * seconds_per_step, -0.5, attention.shape[1] - 0.5)
    image = axis.imshow(attention.T, origin="lower", aspect="auto", extent=extent, vmin=0, interpolation="nearest")
    axis.set(title=title, xlabel="seconds", ylabel="symbol")
    symbol_ticks(axis, [*text[:-1], "end"])
    figure.colorbar(image, ax=axis, pad=0.01, label="attention weight")
    return figure


def symbol_ticks(axis: "Axes", symbols: Sequence[str]) -> None:
    """Name the symbols on the y axis: each of them, or where these could not be read, words at their first letters."""
    labels = dict(enumerate(symbols))
    if len(symbols) > MOST_TICKS:
        is_first = [k for k, symbol in enumerate(symbols) if symbol != " " and (not k or symbols[k - 1] in (" ", "end"))]
        words = "".join(symbol if len(symbol) == 1 else " " for symbol in symbols)
        labels = {k: words[k:].split(" ", 1)[0][:20] for k in is_first} | {len(symbols) - 1: "end"}
    places: list[int] = []
    for place in sorted(labels, reverse=True):  # the end is always named
        if not places or places[-1] - place >= len(symbols) / MOST_TICKS:
            places.append(place)
    places.reverse()
    axis.set_yticks(places, [labels[place] for place in places], fontsize=8)


def embeddings(vectors: np.ndarray, labels: Sequence[str], title: str) -> "Figure":
    """Vectors (N, E) in two dimensions, with a colour and marker for each label."""
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
    axis.set(title=f"{title} ({method})", xticks=[], yticks=[])
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


def curves(points: dict[str, list[tuple[int, float]]]) -> "Figure":
    """Plots of (step, value)... of each measure, three in a row; held-out losses over those of training."""
    plots: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for measure, values in points.items():
        if is_shown(measure, values[-1][1]):
            plot, trace = plot_of(measure)
            plots.setdefault(plot, {})[trace] = values
    n_rows = -(-len(plots) // 3)
    figure = _figure(12, 2.6 * n_rows)
    axes = figure.subplots(n_rows, 3, squeeze=False).flat
    for (plot, traces), axis in zip(plots.items(), axes, strict=False):
        for trace, values in traces.items():
            label = f"_{trace}" if trace == INTERVAL[1] else trace  # matplotlib's legends leave out what begins with _
            style = {"color": "#888", "linestyle": ":"} if trace in INTERVAL else {"marker": "." if len(values) < 30 else None}
            axis.plot(*zip(*values, strict=True), linewidth=1, label=label, **style)
        axis.set_title(plot.partition("/")[2].replace("_", " "), fontsize=10, loc="left")
        axis.set_xlabel("step", fontsize=8)
        axis.set_ylabel(unit(plot), fontsize=8)
        axis.grid(alpha=0.3)
        if len(traces) > 1:  # above the curves
            axis.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=8, frameon=False, borderpad=0)
    for axis in list(axes):  # unused ones
        axis.set_axis_off()
    return figure
