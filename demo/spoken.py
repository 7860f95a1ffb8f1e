"""What was said: the demo's result, and a picture of it."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from demo.pace import Pace, pace_of
from synthesizer.reading.speech import Said
from utils.boards.plot import symbol_ticks
from utils.data.mel_format import MelFormat
from utils.data.paths import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NAMED = 20  # words


class SpokenPiece(NamedTuple):
    """A piece of a text, as it follows the pieces before it."""

    said: Said
    wav: np.ndarray  # float32 (n,): the silence before it, and its sound
    mel_start: int  # samples from the beginning of wav to the beginning of said.mel


class Spoken(NamedTuple):
    """A text that was said, piece after piece."""

    wav: np.ndarray  # float32 (n,), at sample_rate
    sample_rate: int  # Hz
    texts: list[Sequence[str]]  # the pieces as they were read, in a part for each symbol
    mels: list[np.ndarray]  # (n_mels, T) each
    alignments: list[np.ndarray]  # (decoder steps, symbols + 1 for the end of the text) each
    unfinished: list[int]  # indices of pieces that were cut, as the model did not stop by itself
    hop_length: int  # samples
    starts: list[float]  # seconds at which the mels begin
    took: float  # seconds to make all of it
    missed: list[str] = []  # noqa: RUF012 (never changed); words that were skipped, repeated or not reached, in order


class Record:
    """What has been said so far: figures about all of it, and the pieces that began in the first `keep` seconds."""

    def __init__(self, sample_rate: int, mel_format: MelFormat, keep: float = math.inf) -> None:
        self._sample_rate, self._mel_format, self._keep = sample_rate, mel_format, keep
        self._began = time.perf_counter()
        self._pieces: list[SpokenPiece] = []
        self._starts: list[float] = []
        self._n_characters, self._pace = 0, Pace()
        self.took, self.seconds, self.n_pieces = 0.0, 0.0, 0
        self.missed: list[str] = []
        self.unfinished: list[int] = []

    def add(self, piece: SpokenPiece) -> None:
        if self.seconds <= self._keep:
            self._pieces.append(piece)
            self._starts.append(self.seconds + piece.mel_start / self._sample_rate)
        self._n_characters += len(piece.said.labels)
        self._pace += pace_of(piece.said.mel, self._mel_format)
        self.missed += piece.said.missed
        if not piece.said.stopped:
            self.unfinished.append(self.n_pieces)
        self.n_pieces += 1
        self.seconds += len(piece.wav) / self._sample_rate
        self.took = time.perf_counter() - self._began

    @property
    def is_whole(self) -> bool:
        """Whether every word was said, and the model stopped by itself."""
        return not self.missed and not self.unfinished

    @property
    def n_kept(self) -> int:
        return len(self._pieces)

    def spoken(self, tail: np.ndarray) -> Spoken:
        """The pieces that were kept, with `tail` after them."""
        pieces = self._pieces
        return Spoken(
            wav=np.concatenate([*(piece.wav for piece in pieces), tail]),
            sample_rate=self._sample_rate,
            texts=[piece.said.labels for piece in pieces],
            mels=[piece.said.mel for piece in pieces],
            alignments=[piece.said.alignment for piece in pieces],
            unfinished=self.unfinished,
            hop_length=self._mel_format.hop_length,
            starts=self._starts,
            took=self.took,
            missed=self.missed,
        )

    def report(self, reference_pace: float | None) -> list[str]:
        """Lines for the user: time taken, pace, and what was not said. reference_pace: syllables a second, if known."""
        factor = self.took / max(self.seconds, 1e-9)
        lines = [f"{self.seconds:.2f} s of audio in {self.took:.2f} s (real-time factor {factor:.2f})"]
        pace = f"Pace: {self._n_characters / max(self._pace.seconds, 1e-9):.1f} characters a second"
        if reference_pace:
            pace += f", about {self._pace.rate:.1f} syllables a second; the recording has about {reference_pace:.1f}"
        lines.append(pace)
        if self.missed:
            named = ", ".join(self.missed[:MOST_NAMED])
            more = f" and {len(self.missed) - MOST_NAMED} more" if len(self.missed) > MOST_NAMED else ""
            lines.append(f"Not said, or not said once: {named}{more}")
        if self.unfinished:
            what = "1 piece was" if len(self.unfinished) == 1 else f"{len(self.unfinished)} pieces were"
            lines.append(f"Cut: {what} stopped at the longest that the model may speak, as it did not stop by itself")
        return lines


def save_picture(path: Path, spoken: Spoken) -> None:
    """Draw the mel above the alignment, on one time axis, into a PNG file."""
    figure = draw(spoken)
    with write_atomically(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def draw(spoken: Spoken) -> "Figure":
    from matplotlib.figure import Figure

    seconds = [mel.shape[1] * spoken.hop_length / spoken.sample_rate for mel in spoken.mels]
    times = [(start, start + length) for start, length in zip(spoken.starts, seconds, strict=True)]
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
    symbol_ticks(lower, [label for text in spoken.texts for label in (*text, "end")])
    return figure


def _image(axis: object, values: np.ndarray, extent: tuple[float, ...], low: float, high: float) -> None:
    axis.imshow(values, origin="lower", aspect="auto", extent=extent, vmin=low, vmax=high, interpolation="nearest")
