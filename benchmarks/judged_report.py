"""Figures of judged speech and their targets, as Markdown tables, CSV and JSON."""

import csv
import dataclasses
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.data.paths import save_text, sha256
from utils.errors import UserError

MARKS = ("<!-- judged: begin -->", "<!-- judged: end -->")  # around the tables in a model card
FAULTS = ("stop", "repeat", "gap")


@dataclasses.dataclass(frozen=True)
class Item:
    """One file that the judge rated."""

    kind: str  # clone: spoken text; copy: copy-synthesis of a recording; recording: what was cloned
    voice: str
    is_real: bool  # a person's voice, not a synthetic one
    name: str
    sim: float | None  # cosine to other recordings of the voice, by the published encoder; None if there are none
    sim2: float | None  # by another encoder
    dnsmos: float
    distill_mos: float
    wer: float | None = None  # word error rate, for clones
    heard: str = ""
    text: str = ""
    seconds: float | None = None
    took: float | None = None  # seconds
    faults: Sequence[str] = ()

    @classmethod
    def judged(cls, row: dict[str, str], **known: Any) -> "Item":
        """From a row of the judge's CSV and the remaining fields."""
        figures = {"sim": "sim", "sim2": "sim2", "dnsmos": "ovrl", "distill_mos": "dmos"}
        wer = float(row["wer"]) if row["wer"] else None
        return cls(**known, wer=wer, heard=row["hyp"] or "", **{ours: float(row[its]) for ours, its in figures.items()})

    @property
    def length(self) -> str:
        return self.name.rpartition("_")[0].replace("_", " ")

    @property
    def n_words(self) -> int:
        return len(re.findall(r"[\w']+", self.text))


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ---- figures of a group


def figures(items: Sequence[Item]) -> dict[str, float | None]:
    """Word error rate over all words, shares and means over the files; None for what is unknown. The order is that of the
    columns in the tables."""
    clones = [item for item in items if item.wer is not None]
    timed = [item for item in items if item.took is not None]
    n_words = sum(item.n_words for item in clones)
    return {
        "files": len(items),
        "wer": sum(item.wer * item.n_words for item in clones) / n_words if n_words else None,
        **{name: _mean([getattr(item, name) for item in items]) for name in ("sim", "sim2", "dnsmos", "distill_mos")},
        "without_fault": _mean([float(not item.faults) for item in timed]),
        "real_time_factor": sum(item.took for item in timed) / sum(item.seconds for item in timed) if timed else None,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


@dataclasses.dataclass(frozen=True)
class Target:
    """A figure of some of the files, the least it must reach, and the aim."""

    name: str
    figure: str
    at_least: float
    aim: float
    is_meant: Callable[[Item], bool]

    def line(self, items: Sequence[Item]) -> dict[str, Any]:
        value = figures([item for item in items if self.is_meant(item)])[self.figure]
        known = {"measure": self.name, "figure": self.figure, "at_least": self.at_least, "aim": self.aim}
        return {**known, "measured": value, "verdict": self._verdict(value)}

    def _verdict(self, value: float | None) -> str:
        if value is None:
            return "not measured"
        sign = 1 if self.aim > self.at_least else -1
        if sign * value >= sign * self.aim:
            return "aim reached"
        short = self.at_least - value
        return "reached" if sign * short <= 0 else f"short by {_shown(self.figure, abs(short))}"


def _clone(*lengths: str, real: bool | None = None) -> Callable[[Item], bool]:
    return lambda item: (
        item.kind == "clone" and (not lengths or item.length in lengths) and (real is None or item.is_real == real)
    )


TARGETS = (
    Target("word error rate, medium and long", "wer", 0.08, 0.03, _clone("medium", "long")),
    Target("word error rate, short", "wer", 0.15, 0.05, _clone("short")),
    Target("word error rate, very long", "wer", 0.15, 0.05, _clone("very long")),
    Target("sim2, synthetic voices", "sim2", 0.70, 0.85, _clone(real=False)),
    Target("sim2, real voices", "sim2", 0.55, 0.70, _clone(real=True)),
    Target("Distill-MOS, whole system", "distill_mos", 3.3, 4.2, _clone()),
    Target("Distill-MOS, copy-synthesis", "distill_mos", 3.6, 4.3, lambda item: item.kind == "copy"),
    Target("without a stop miss, a repeat or a gap over 0.7 s", "without_fault", 0.95, 1.0, _clone()),
    Target("real-time factor, long sentences", "real_time_factor", 1.0, 0.4, _clone("long")),
)


# ---- tables

TITLES = {
    "files": "files",
    "wer": "word error rate",
    "sim": "sim",
    "sim2": "sim2",
    "dnsmos": "DNSMOS",
    "distill_mos": "Distill-MOS",
    "without_fault": "without fault",
    "real_time_factor": "real-time factor",
}


def groups(items: Sequence[Item]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Figures by table and row: clones by voice, by length and in total; and copy-synthesis and recordings for comparison."""
    clones = [item for item in items if item.kind == "clone"]
    by_voice = {
        f"{voice}{' (real)' * is_real}": [item for item in clones if item.voice == voice]
        for voice, is_real in dict.fromkeys((item.voice, item.is_real) for item in clones)
    }
    by_length = {
        length: [item for item in clones if item.length == length] for length in dict.fromkeys(i.length for i in clones)
    }
    kinds = (("synthetic", False), ("real", True))
    overall = {f"{kind} voices": [item for item in clones if item.is_real == is_real] for kind, is_real in kinds}
    overall["all"] = clones
    ceilings = {
        f"{title}, {kind} voices": [item for item in items if item.kind == what and item.is_real == is_real]
        for what, title in (("copy", "copy-synthesis"), ("recording", "the recordings"))
        for kind, is_real in kinds
    }
    tables = {"voice": by_voice, "length": by_length, "in total": overall, "without a synthesizer": ceilings}
    return {title: {name: figures(chosen) for name, chosen in rows.items() if chosen} for title, rows in tables.items()}


def markdown(items: Sequence[Item]) -> str:
    lines = ["| measure | at least | aim | measured | |", "|---|---|---|---|---|"]
    for target in TARGETS:
        line = target.line(items)
        shown = " | ".join(_shown(target.figure, line[key]) for key in ("at_least", "aim", "measured"))
        lines.append(f"| {target.name} | {shown} | {line['verdict']} |")
    for title, rows in groups(items).items():
        columns = [key for key in TITLES if any(row[key] is not None for row in rows.values())]
        lines += ["", f"| {title} | {' | '.join(TITLES[key] for key in columns)} |", "|---" * (len(columns) + 1) + "|"]
        lines += [f"| {name} | {' | '.join(_shown(key, row[key]) for key in columns)} |" for name, row in rows.items()]
    clones = [item for item in items if item.kind == "clone"]
    counts = Counter(fault for item in clones for fault in item.faults)
    told = ", ".join(f"{counts[fault]} {name}" for fault, name in zip(FAULTS, ("stop misses", "repeats", "gaps"), strict=True))
    return "\n".join([*lines, "", f"In {len(clones)} utterances: {told}.", ""])


def _shown(figure: str, value: float | None) -> str:
    if value is None:
        return "–"
    if figure in ("wer", "without_fault"):
        return f"{100 * value:.1f} %"
    return str(value) if figure == "files" else f"{value:.2f}"


def models(paths: dict[str, Path]) -> str:
    """A table of the models' sizes, steps and checksums, from {stage: file}."""
    import torch

    from utils.models import checkpoint

    lines = ["| model | weights | steps | file |", "|---|---|---|---|"]
    for stage, path in paths.items():
        content = checkpoint.load(path, stage, published=True)
        tensors = [value for value in content.get("model_state", content).values() if isinstance(value, torch.Tensor)]
        n_weights = sum(value.numel() for value in tensors if value.is_floating_point())
        steps = f"{content['step']:,}" if "step" in content else "–"
        file = f"{path.stat().st_size / 1e6:.1f} MB, SHA-256 {sha256(path)[:16]}…"
        lines.append(f"| {stage} | {n_weights / 1e6:.2f} M | {steps} | {file} |")
    return "\n".join([*lines, ""])


def filled(card: Path, text: str) -> str:
    """The card's content with the text between its two marks. UserError if it has no marks."""
    parts = re.split(f"({'|'.join(map(re.escape, MARKS))})", card.read_text(encoding="utf-8"))
    if tuple(parts[1::2]) != MARKS:
        raise UserError(f"{card}: has no place for the results; write {MARKS[0]} and {MARKS[1]}, each on a line of its own")
    return f"{parts[0]}{MARKS[0]}\n{text}{MARKS[1]}{parts[4]}"


def write(out: Path, items: Sequence[Item], files: dict[str, Path], card: Path | None) -> None:
    """Write results.md, results.csv (a row per file) and results.json, and the tables into the card, if there is one. `files`
    are the models by stage. Prints results.md."""
    text = f"{models(files)}\n{markdown(items)}"
    save_text(out / "results.md", text)
    if card:
        save_text(card, filled(card, text))
    rows = [dataclasses.asdict(item) | {"faults": " ".join(item.faults)} for item in items]
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    save_text(out / "results.csv", table.getvalue())
    summary = {"targets": [target.line(items) for target in TARGETS], **groups(items)}
    save_text(out / "results.json", json.dumps(summary, indent=1) + "\n")
    print(f"{text}\nWritten: {out / 'results.md'}, results.csv and results.json")
