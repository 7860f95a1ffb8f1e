"""Figures of judged speech with confidence intervals, as tables and CSV, and the difference of two runs."""

import csv
import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from utils.data.paths import save_text
from utils.errors import UserError

RESULTS = "results.csv"
N_RESAMPLES = 2000
LENGTHS = ((5, "short"), (20, "medium"), (60, "long"), (10**9, "very long"))  # words at most


@dataclasses.dataclass(frozen=True)
class Utterance:
    """One file. A figure is None if it was not measured."""

    kind: str  # speech; copy: a recording through mel and vocoder; recording
    voice: str
    name: str
    file: str  # below the output folder
    text: str
    seconds: float
    took: float | None = None  # seconds to make it
    faults: Sequence[str] = ()
    heard: str | None = None
    word_errors: int | None = None
    n_words: int | None = None
    char_errors: int | None = None
    n_chars: int | None = None
    sim: float | None = None  # cosine to other recordings of the voice, by this project's encoder
    sim2: float | None = None  # by another encoder
    dnsmos: float | None = None
    distill_mos: float | None = None

    @property
    def length(self) -> str:
        return next(name for most, name in LENGTHS if len(self.text.split()) <= most)

    @property
    def wer(self) -> float | None:
        return None if self.word_errors is None else self.word_errors / max(1, self.n_words)

    @property
    def cer(self) -> float | None:
        return None if self.char_errors is None else self.char_errors / max(1, self.n_chars)


# ---- figures


class Figure(NamedTuple):
    """A ratio of two sums over utterances: all errors to all words, or a mean."""

    title: str
    above: Callable[[Utterance], float | None]  # None: not measured
    below: Callable[[Utterance], float]
    more_is_better: bool = True
    is_percent: bool = False

    def parts(self, utterances: Sequence[Utterance]) -> np.ndarray:
        """(n, 2): what is summed above and below, of those that were measured"""
        measured = [u for u in utterances if self.above(u) is not None]
        return np.array([(self.above(u), self.below(u)) for u in measured], dtype=np.float64).reshape(-1, 2)

    def shown(self, value: float, sign: str = "", more: int = 0) -> str:
        """more: digits beyond the usual ones."""
        return f"{100 * value:{sign}.{1 + more}f} %" if self.is_percent else f"{value:{sign}.{2 + more}f}"


def _one(utterance: Utterance) -> float:
    return 1


FIGURES = {
    "wer": Figure("WER", lambda u: u.word_errors, lambda u: u.n_words, False, True),
    "cer": Figure("CER", lambda u: u.char_errors, lambda u: u.n_chars, False, True),
    "sim": Figure("sim", lambda u: u.sim, _one),
    "sim2": Figure("sim2", lambda u: u.sim2, _one),
    "dnsmos": Figure("DNSMOS", lambda u: u.dnsmos, _one),
    "distill_mos": Figure("Distill-MOS", lambda u: u.distill_mos, _one),
    "faults": Figure("faults", lambda u: bool(u.faults) if u.kind == "speech" else None, _one, False, True),
    "real_time_factor": Figure("RTF", lambda u: u.took, lambda u: u.seconds, False),
    "took": Figure("seconds taken", lambda u: u.took, _one, False),
}


class Interval(NamedTuple):
    """A value and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def interval(parts: np.ndarray, minus: np.ndarray | None = None) -> Interval:
    """The ratio of the sums of parts (n, 2), or its difference from that of other parts of the same utterances.

    Bootstrap: the percentiles of it over samples of n utterances drawn with replacement (Efron 1979).
    """
    drawn = np.random.default_rng(0).integers(len(parts), size=(N_RESAMPLES, len(parts)))
    drawn = np.concatenate([np.arange(len(parts))[None], drawn])  # the utterances themselves first
    ratios = _ratios(parts, drawn) - (0 if minus is None else _ratios(minus, drawn))
    low, high = np.percentile(ratios[1:], [2.5, 97.5])
    return Interval(float(ratios[0]), float(low), float(high))


def _ratios(parts: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    above, below = (parts[:, column][drawn].sum(axis=1) for column in (0, 1))
    return above / np.maximum(below, 1e-9)


def value(figure: str, utterances: Sequence[Utterance]) -> float | None:
    parts = FIGURES[figure].parts(utterances)
    return float(parts[:, 0].sum() / max(parts[:, 1].sum(), 1e-9)) if len(parts) else None


# ---- tables

Table = list[list[str]]  # rows of cells, the first is the head


def groups(utterances: Sequence[Utterance]) -> dict[str, list[Utterance]]:
    """Speech by length, by voice and in all, then copies and recordings."""
    speech = [u for u in utterances if u.kind == "speech"]
    voices = dict.fromkeys(u.voice for u in speech)
    found = {f"speech, {length}": [u for u in speech if u.length == length] for _, length in LENGTHS}
    if len(voices) > 1:
        found |= {f"speech, {voice}": [u for u in speech if u.voice == voice] for voice in voices}
    found["speech, all"] = speech
    found |= {
        title: [u for u in utterances if u.kind == kind] for title, kind in (("copies", "copy"), ("recordings", "recording"))
    }
    return {title: chosen for title, chosen in found.items() if chosen}


def table(utterances: Sequence[Utterance], with_bounds: bool = False) -> Table:
    """Each figure with the bounds of its interval, or with ± half its width, to save space."""
    measured = {name: figure for name, figure in FIGURES.items() if len(figure.parts(utterances))}
    lines = [["", "files", *(figure.title for figure in measured.values())]]
    for title, chosen in groups(utterances).items():
        cells = (_cell(figure, figure.parts(chosen), with_bounds) for figure in measured.values())
        lines.append([title, str(len(chosen)), *cells])
    return lines


def _cell(figure: Figure, parts: np.ndarray, with_bounds: bool) -> str:
    if not len(parts):
        return "–"
    found = interval(parts)
    shown = figure.shown(found.value)
    if len(parts) == 1:
        return shown
    low, high, half = (figure.shown(each).removesuffix(" %") for each in (found.low, found.high, (found.high - found.low) / 2))
    return f"{shown} [{low}, {high}]" if with_bounds else f"{shown} ±{half}"


def markdown(rows: Table) -> str:
    """With columns of equal width, to be read as it stands too."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]) + "\n"


# ---- two runs


def compare(ours: Sequence[Utterance], theirs: Sequence[Utterance]) -> Table:
    """Ours minus theirs, over utterances of the same kind, voice, name and text. UserError if there are none."""
    others = {_identity(u): u for u in theirs}
    both = [u for u in ours if _identity(u) in others]
    if not both:
        raise UserError("the two runs have no utterance in common; use the same references and texts for both")
    lines = [["", "figure", "files", "this run", "other run", "difference", ""]]
    for title, chosen in groups(both).items():
        lines += _differences(title, chosen, [others[_identity(u)] for u in chosen])
    return lines


def _identity(u: Utterance) -> tuple[str, ...]:
    return u.kind, u.voice, u.name, u.text


def _differences(title: str, ours: list[Utterance], theirs: list[Utterance]) -> Iterator[list[str]]:
    for figure in FIGURES.values():
        pairs = [pair for pair in zip(ours, theirs, strict=True) if None not in map(figure.above, pair)]
        if not pairs:
            continue
        mine, other = (figure.parts(side) for side in zip(*pairs, strict=True))
        difference = interval(mine, minus=other)
        low, high = (figure.shown(each, "+").removesuffix(" %") for each in (difference.low, difference.high))
        shown = figure.shown(difference.value, "+") + (f" [{low}, {high}]" if len(pairs) > 1 else "")
        values = (figure.shown(interval(parts).value) for parts in (mine, other))
        yield [title, figure.title, str(len(pairs)), *values, shown, _verdict(difference, figure, len(pairs))]


def _verdict(difference: Interval, figure: Figure, n_pairs: int) -> str:
    if n_pairs == 1 or difference.low <= 0 <= difference.high:
        return ""
    return "better" if (difference.value > 0) == figure.more_is_better else "worse"


# ---- CSV

DERIVED = ("length", "wer", "cer")  # columns for the reader alone
MEASURED = ("sim", "sim2", "dnsmos", "distill_mos")
COUNTED = ("word_errors", "n_words", "char_errors", "n_chars")


def write_csv(out: Path, utterances: Sequence[Utterance]) -> None:
    """A row for each utterance."""
    lines = io.StringIO()
    fields = [field.name for field in dataclasses.fields(Utterance)]
    writer = csv.DictWriter(lines, [*fields, *DERIVED], lineterminator="\n")
    writer.writeheader()
    for u in utterances:
        derived = {name: getattr(u, name) for name in DERIVED}
        writer.writerow(dataclasses.asdict(u) | derived | {"faults": " ".join(u.faults)})
    save_text(out / RESULTS, lines.getvalue())


def read_csv(out: Path) -> list[Utterance]:
    """What write_csv wrote. UserError if it is not there."""
    path = out / RESULTS
    if not path.is_file():
        raise UserError(f"{path}: no such file; name the output folder of a finished run")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_utterance(row) for row in csv.DictReader(file)]
    except (KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        raise UserError(f"{path}: is not a table that this command wrote ({str(error)[:200]})") from error


def _utterance(row: dict[str, str]) -> Utterance:
    known: dict[str, Any] = {field.name: row[field.name] for field in dataclasses.fields(Utterance)}
    for names, number in (((*MEASURED, "seconds", "took"), float), (COUNTED, int)):
        known |= {name: number(row[name]) if row[name] else None for name in names}
    return Utterance(**known | {"faults": tuple(row["faults"].split())})
