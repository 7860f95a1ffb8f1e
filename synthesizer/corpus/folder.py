"""The folder that audio preprocessing writes to: what each speaker contributed, and whether a run may continue it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from synthesizer.config import PreprocessSettings
from utils import corpora
from utils.corpora import Speaker
from utils.data.mel_format import MelFormat
from utils.data.paths import SynthesizerData, one_field, save_text
from utils.data.rows import Row, format_row, parse_row
from utils.errors import UserError


@dataclass
class Part:
    """What one speaker contributed. Its file is written last, so its presence says that the speaker is finished."""

    rows: list[Row] = field(default_factory=list)  # of train.txt
    alignments: list[str] = field(default_factory=list)  # lines of alignments.txt
    skipped: list[tuple[str, str]] = field(default_factory=list)  # (reason, file or line)
    notes: list[tuple[str, str]] = field(default_factory=list)  # (what is odd, where)
    unaligned: list[str] = field(default_factory=list)  # folders without word times
    timed: list[str] = field(default_factory=list)  # alignment files of the speaker or the corpus
    unread: list[tuple[str, int, int]] = field(default_factory=list)  # (character that is not said, how often, in n rows)
    folder: str = ""  # the speaker's
    seconds: float = 0.0  # of audio read
    n_utterances: int = 0  # audio files found
    n_unaligned: int = 0  # those of them in folders without word times

    def save(self, path: Path) -> None:
        """Write one tab-separated line per fact; the first column is its kind."""
        lines = [("source", f"{self.seconds:.3f}", str(self.n_utterances), str(self.n_unaligned), self.folder)]
        lines += [("row", format_row(row)) for row in self.rows]
        lines += [("alignment", line) for line in self.alignments]
        lines += [("skipped", *reason) for reason in self.skipped]
        lines += [("note", *note) for note in self.notes]
        lines += [("unread", character, str(n), str(n_rows)) for character, n, n_rows in self.unread]
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
        elif kind == "unread":
            part.unread.append((values[0], int(values[1]), int(values[2])))
        elif kind in ("skipped", "note"):
            {"skipped": part.skipped, "note": part.notes}[kind].append((values[0], values[1]))
        else:
            {"alignment": part.alignments, "unaligned": part.unaligned, "timed": part.timed}[kind].append(values[0])
    return part


def check_names(speakers: Sequence[Speaker]) -> None:
    """UserError if files of two speakers would have the same names: LibriSpeech's subsets share speaker numbers."""
    known: dict[str, Speaker] = {}
    for speaker in speakers:
        other = known.setdefault(corpora.stem(speaker, ""), speaker)
        if other is not speaker:
            raise UserError(
                f"{speaker.folder} and {other.folder}: files of both would have the same names; rename one, or preprocess "
                "them into different folders with --out_dir"
            )


def check_replaceable(data: SynthesizerData, speakers: set[str]) -> None:
    """UserError if starting anew would delete speakers that this run does not make again."""
    others = {path.stem for path in data.parts_dir.glob("*.tsv")} - speakers
    if others:
        raise UserError(
            f"{data.root}: holds {len(others)} speakers ({min(others)}, ...) that would not be made again; add to them "
            "with --skip_existing, choose another folder with --out_dir, or delete this one"
        )


def is_continuation(data: SynthesizerData, settings: PreprocessSettings, mel_format: MelFormat) -> bool:
    """Whether an earlier run began here. UserError if its parameters were others."""
    if not data.parameters.is_file():
        return False
    if changed := _differences(data.parameters.read_text(encoding="utf-8"), settings, mel_format):
        raise UserError(
            f"{data.parameters}: an earlier run had other parameters ({changed}); "
            "take those again, or leave --skip_existing out to make everything anew"
        )
    _save_parameters(data, settings, mel_format)  # settings that are newer than the folder
    return True


def begin_anew(data: SynthesizerData, settings: PreprocessSettings, mel_format: MelFormat) -> None:
    """Delete what an earlier run made, embeddings of its audio included."""
    data.parameters.unlink(missing_ok=True)  # first: without it the parts count for nothing
    for stale in (data.manifest, data.alignments, data.log):
        stale.unlink(missing_ok=True)
    empty(data.parts_dir, "*.tsv")
    empty(data.audio_dir, "audio-*.npy")
    empty(data.mels_dir, "mel-*.npy")
    empty(data.embeds_dir, "embed-*.npy")
    _save_parameters(data, settings, mel_format)


def empty(folder: Path, pattern: str) -> None:
    """Make the folder, and delete the files of this pattern in it; other files are not ours."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(pattern):
        stale.unlink()


def _save_parameters(data: SynthesizerData, settings: PreprocessSettings, mel_format: MelFormat) -> None:
    save_text(data.parameters, json.dumps({"mel": asdict(mel_format), "preprocess": asdict(settings)}, indent=2) + "\n")


def _differences(found: str, settings: PreprocessSettings, mel_format: MelFormat) -> str:
    """What differs from the content of parameters.json, where settings that are newer than the file had their defaults."""
    try:
        there = {name: value for group in json.loads(found).values() for name, value in group.items()}
    except (ValueError, AttributeError):
        return "the file is damaged"
    there = asdict(MelFormat()) | asdict(PreprocessSettings()) | there
    here = asdict(mel_format) | asdict(settings)
    changed = [name for name in there | here if there.get(name) != here.get(name)]
    return ", ".join(f"{name}={there.get(name)} there, {here.get(name)} here" for name in changed)
