"""The folder that audio preprocessing writes to: what each speaker contributed, and whether a run may continue it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from synthesizer.config import PreprocessSettings
from utils import corpora
from utils.corpora import Speaker
from utils.data.mel_format import MelFormat
from utils.data.names import same_file, within
from utils.data.paths import SynthesizerData, make_durable, one_field, save_text
from utils.data.rows import Row, format_row, has_marks, parse_row, read_parameters, write_parameters
from utils.data.tables import damaged, marked, read_marked
from utils.errors import UserError

REMEDY = "delete the file, and run synthesizer_preprocess_audio.py with --skip_existing, which makes this speaker again"


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
        save_text(path, "".join(marked("\t".join(map(one_field, line)) for line in lines)))


def read_part(path: Path) -> Part:
    """Inverse of Part.save. UserError, with file and line, if anything in it is damaged."""
    part, number = Part(), 0
    for number, line in read_marked(path, REMEDY, must_be_marked=has_marks(SynthesizerData(path.parents[1]))):
        try:
            _take(part, *line.split("\t"))
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(path, number, REMEDY, f"is damaged ({error})") from error
    if not number:
        raise damaged(path, 1, REMEDY, "is missing, the file is cut short")
    return part


def _take(part: Part, kind: str, value: str, *more: str) -> None:
    """Add what a line says. ValueError, KeyError or TypeError if it is no line of a part file."""
    if kind == "source":
        n_utterances, n_unaligned, part.folder = more
        part.seconds, part.n_utterances, part.n_unaligned = float(value), int(n_utterances), int(n_unaligned)
        if not 0 <= part.seconds < float("inf"):
            raise ValueError("no duration")
    elif kind == "unread":
        n, n_rows = map(int, more)
        part.unread.append((value, n, n_rows))
    elif kind in ("skipped", "note"):
        (what,) = more
        {"skipped": part.skipped, "note": part.notes}[kind].append((value, what))
    elif more:
        raise ValueError("too many columns")
    elif kind == "row":
        part.rows.append(parse_row(value))
    else:
        {"alignment": part.alignments, "unaligned": part.unaligned, "timed": part.timed}[kind].append(value)


def missing_files(data: SynthesizerData, part: Part) -> list[Path]:
    """The waves and mels of a part that are not there."""
    files = (path for row in part.rows for path in (within(data.audio_dir, row.audio), within(data.mels_dir, row.mel)))
    return [path for path in files if not path.is_file()]


def check_names(speakers: Sequence[Speaker]) -> None:
    """UserError if files of two speakers would have the same names, but for case: LibriSpeech's subsets share numbers."""
    known: dict[str, Speaker] = {}
    for speaker in speakers:
        other = known.setdefault(same_file(corpora.stem(speaker, "")), speaker)
        if other is not speaker:
            raise UserError(
                f"{speaker.folder} and {other.folder}: files of both would have the same names, but for case; rename one, or "
                "preprocess them into different folders with --out_dir"
            )


def check_replaceable(data: SynthesizerData, speakers: set[str]) -> None:
    """UserError if starting anew would delete speakers that this run does not make again."""
    others = {path.stem for kind in ("*.tsv", "*.old") for path in data.parts_dir.glob(kind)} - speakers
    if others:
        raise UserError(
            f"{data.root}: holds {len(others)} speakers ({min(others)}, ...) that would not be made again; add to them "
            "with --skip_existing, choose another folder with --out_dir, or delete this one"
        )


def is_continuation(data: SynthesizerData, settings: PreprocessSettings, mel_format: MelFormat) -> bool:
    """Whether an earlier run began here. UserError if its parameters were others."""
    if not data.parameters.is_file():
        return False
    if changed := _differences(read_parameters(data), settings, mel_format):
        raise UserError(
            f"{data.parameters}: an earlier run had other parameters ({changed}); "
            "take those again, or leave --skip_existing out to make everything anew"
        )
    _save_parameters(data, settings, mel_format, has_marks(data))  # settings that are newer than the folder
    return True


def begin_anew(data: SynthesizerData, settings: PreprocessSettings, mel_format: MelFormat) -> None:
    """Delete what an earlier run made, embeddings of its audio included."""
    data.parameters.unlink(missing_ok=True)  # first: without it the parts count for nothing
    make_durable(data.root)
    for stale in (data.manifest, data.alignments, data.log):
        stale.unlink(missing_ok=True)
    empty(data.parts_dir, "*.tsv")
    empty(data.parts_dir, "*.old")
    empty(data.audio_dir, "audio-*.npy")
    empty(data.mels_dir, "mel-*.npy")
    empty(data.embeds_dir, "embed-*.npy")
    make_durable(data.root)
    _save_parameters(data, settings, mel_format, marked=True)


def empty(folder: Path, pattern: str) -> None:
    """Make the folder, and delete the files of this pattern in it; other files are not ours."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(pattern):
        stale.unlink()
    make_durable(folder)


def _save_parameters(data: SynthesizerData, settings: PreprocessSettings, mel_format: MelFormat, marked: bool) -> None:
    write_parameters(data, {"mel": asdict(mel_format), "preprocess": asdict(settings), "marked": marked})


def _differences(found: dict[str, Any], settings: PreprocessSettings, mel_format: MelFormat) -> str:
    """What differs from the content of parameters.json, where settings that are newer than the file had their defaults."""
    there = asdict(MelFormat()) | asdict(PreprocessSettings()) | found["mel"] | found["preprocess"]
    here = asdict(mel_format) | asdict(settings)
    changed = [name for name in there | here if there.get(name) != here.get(name)]
    return ", ".join(f"{name}={there.get(name)} there, {here.get(name)} here" for name in changed)
