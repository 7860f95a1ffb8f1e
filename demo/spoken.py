"""The demo's result: speech, and a picture of it."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from utils.data.paths import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SYMBOLS = 150  # written beside an alignment; more would be too small to read


class Spoken(NamedTuple):
    """Texts spoken one after another."""

    wav: np.ndarray  # float32 (n,), at sample_rate
    sample_rate: int  # Hz
    texts: list[str]  # as they were read; sounds in braces are one symbol each
    mels: list[np.ndarray]  # (n_mels, T) each
    alignments: list[np.ndarray]  # (decoder steps, symbols + 1 for the end of the text) each
    unfinished: list[int]  # indices of texts that were cut, as the model did not stop by itself
    hop_length: int  # samples
    pause: float  # seconds between two texts
    took: float  # seconds to make all of it

    @property
    def real_time_factor(self) -> float:
        return self.took * self.sample_rate / len(self.wav)


def save_picture(path: Path, spoken: Spoken) -> None:
    """Draw the mel above the alignment, on one time axis, into a PNG file."""
    figure = draw(spoken)
    with write_atomically(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def draw(spoken: Spoken) -> "Figure":
    from matplotlib.figure import Figure

    seconds = [mel.shape[1] * spoken.hop_length / spoken.sample_rate for mel in spoken.mels]
    starts = [0.0, *itertools.accumulate(each + spoken.pause for each in seconds)][:-1]
    times = [(start, start + length) for start, length in zip(starts, seconds, strict=True)]
    figure = Figure(figsize=(12, 9), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.6))
    low, high = min(mel.min() for mel in spoken.mels), max(mel.max() for mel in spoken.mels)
    n_symbols = 0
    for mel, alignment, (start, end) in zip(spoken.mels, spoken.alignments, times, strict=True):
        _image(upper, mel, (start, end, 0, len(mel)), low, high)
        top = n_symbols + alignment.shape[1]
        _image(lower, alignment.T, (start, end, n_symbols - 0.5, top - 0.5), 0, 1)
        n_symbols = top
    upper.set(title="mel spectrogram", ylabel="mel band", xlim=(0, times[-1][1]), ylim=(0, len(spoken.mels[0])))
    lower.set(title="alignment: which symbol is being spoken", xlabel="seconds", ylabel="symbol", ylim=(-0.5, n_symbols - 0.5))
    labels = [label for text in spoken.texts for label in (*text, "end")]
    if len(labels) == n_symbols <= MOST_SYMBOLS:
        lower.set_yticks(range(n_symbols), labels, fontsize=max(4, min(9, 360 / n_symbols)))
    return figure


def _image(axis: object, values: np.ndarray, extent: tuple[float, ...], low: float, high: float) -> None:
    axis.imshow(values, origin="lower", aspect="auto", extent=extent, vmin=low, vmax=high, interpolation="nearest")
