"""The part file of a speaker: what came of one, and the sign that the speaker is finished.

One tab-separated line per fact: source (seconds of audio read, audio files, those in folders without
word times, the speaker's folder), row (of train.txt), alignment (of alignments.txt), skipped (reason, what), note (what is
odd, where), unaligned (folder without word times), timed (alignment file of the speaker or the corpus).
"""

from dataclasses import dataclass, field
from pathlib import Path

from utils.data.paths import save_text
from utils.data.rows import Row, format_row, parse_row


@dataclass
class Part:
    """What came of one speaker."""

    rows: list[Row] = field(default_factory=list)
    alignments: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)  # (reason, file or line)
    notes: list[tuple[str, str]] = field(default_factory=list)
    unaligned: list[str] = field(default_factory=list)
    timed: list[str] = field(default_factory=list)
    folder: str = ""
    seconds: float = 0.0  # of audio read
    n_utterances: int = 0  # audio files found
    n_unaligned: int = 0  # those of them in folders without word times

    def save(self, path: Path) -> None:
        lines = [("source", f"{self.seconds:.3f}", str(self.n_utterances), str(self.n_unaligned), self.folder)]
        lines += [("row", format_row(row)) for row in self.rows]
        lines += [("alignment", line) for line in self.alignments]
        lines += [("skipped", *reason) for reason in self.skipped]
        lines += [("note", *note) for note in self.notes]
        lines += [("unaligned", folder) for folder in self.unaligned]
        lines += [("timed", path) for path in self.timed]
        save_text(path, "".join("\t".join(map(one_field, line)) + "\n" for line in lines))


def read_part(path: Path) -> Part:
    """Inverse of Part.save."""
    part = Part()
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        kind, *values = line.split("\t")
        if kind == "source":
            part.seconds, part.n_utterances, part.n_unaligned = float(values[0]), int(values[1]), int(values[2])
            part.folder = values[3]
        elif kind == "row":
            part.rows.append(parse_row(values[0]))
        elif kind == "alignment":
            part.alignments.append(values[0])
        elif kind in ("unaligned", "timed"):
            {"unaligned": part.unaligned, "timed": part.timed}[kind].append(values[0])
        else:
            {"skipped": part.skipped, "note": part.notes}[kind].append((values[0], values[1]))
    return part


def one_field(text: str) -> str:
    """As Part.save stores it."""
    return " ".join(text.split())
