"""The rows of train.txt and synthesized.txt, whose columns only this file knows, and the mel format of a folder."""

import json
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from utils.config import rebuilt
from utils.data.mel_format import MelFormat
from utils.data.names import fault, within
from utils.data.paths import SynthesizerData, save_text, write_atomically
from utils.data.tables import ROW_MARK, first_line, json_object, marked_rows, read_marked
from utils.errors import UserError
from utils.report_lines import say_once

REMEDY = "preprocess again; if you have edited the file, keep its first six columns alone (cut -d'|' -f1-6)"
MAX_LENGTH = 2**40  # samples: two years


_COPY = re.compile(r"@\d\.\d{3}$")


def copy_name(name: str, factor: float) -> str:
    """What an utterance's copy at `factor` of its speed is called."""
    return f"{name}@{factor:.3f}"


class Row(NamedTuple):
    """One utterance. Files are names inside their folders. The lengths are here so that filtering opens no audio."""

    audio: str
    mel: str
    embed: str
    n_samples: int
    n_frames: int
    text: str

    @property
    def name(self) -> str:
        """The utterance's name: that of its files without prefix and suffix."""
        return self.mel.removeprefix("mel-").removesuffix(".npy")

    @property
    def original(self) -> str:
        """The name of the utterance that this one is a copy of, at another speed; else its own name."""
        return _COPY.sub("", self.name)


def format_row(row: Row) -> str:
    """One line without its newline. The text must hold neither | nor newlines."""
    return "|".join(str(value) for value in row)


def parse_row(line: str) -> Row:
    """Inverse of format_row. Raises ValueError, also for a name that is not that of a file in its folder."""
    audio, mel, embed, n_samples, n_frames, text = line.rstrip("\n").split("|")
    row = Row(audio, mel, embed, int(n_samples), int(n_frames), text)
    for name in row[:3]:
        if problem := fault(name):
            raise ValueError(f"{name[:80]!r} is not a file's name: {problem}")
        if not name.endswith(".npy"):
            raise ValueError(f"{name[:80]!r} is no .npy file")
    if not (0 <= row.n_samples <= MAX_LENGTH and 0 <= row.n_frames <= MAX_LENGTH):
        raise ValueError("a length is negative or absurd")
    return row


def read_rows(path: Path) -> list[Row]:
    """All rows. UserError if the file is missing or empty, or a line does not parse."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: not found; run the script before this one first (its -h says what it writes)")
    if not ROW_MARK.fullmatch(first_line(path)):
        say_once(f"{path}: has no checksums, so another program wrote or changed it; it is taken as it is")
    rows = []
    for number, line in read_marked(path, REMEDY, ROW_MARK):
        try:
            rows.append(parse_row(line))
        except ValueError as error:
            problem = f"expected audio|mel|embed|n_samples|n_mel_frames|text, got {line.strip()[:80]!r} ({error})"
            raise UserError(f"{path}, line {number}: {problem}; {REMEDY}") from error
    if not rows:
        raise UserError(f"{path}: holds no utterance; run the preprocessing again and read its log for the reason")
    return rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write all rows, atomically, with checksums (utils.data.tables.marked_rows)."""
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(marked_rows(map(format_row, rows)))


def write_parameters(data: SynthesizerData, parameters: dict[str, Any]) -> None:
    """Write parameters.json, with a CRC that tells whether it is whole."""
    save_text(data.parameters, json.dumps(parameters | {"crc32": _crc(parameters)}, indent=2) + "\n")


def read_parameters(data: SynthesizerData) -> dict[str, Any]:
    """{"mel": fields of MelFormat, "preprocess": settings, "marked": whether parts and alignments.txt must carry marks} of
    parameters.json. UserError if it is missing or damaged.
    """
    try:
        found = json_object(data.parameters)
        crc = found.pop("crc32", None)
        if crc != _crc(found) and (crc or found.get("marked")):  # older folders have none
            raise ValueError("a byte has changed")
        rebuilt(MelFormat, found["mel"])
        return {"mel": found["mel"], "preprocess": dict(found.get("preprocess", {})), "marked": found.get("marked") is True}
    except FileNotFoundError as error:
        raise UserError(f"{data.parameters}: not found; synthesizer_preprocess_audio.py writes it") from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{data.parameters}: is damaged or does not hold the mel format; preprocess again") from error


def has_marks(data: SynthesizerData) -> bool:
    """Whether the tables in this folder carry marks by its parameters.json; those of an older version may not."""
    return data.parameters.is_file() and read_parameters(data)["marked"]


def read_mel_format(data: SynthesizerData) -> MelFormat:
    """The format of the mels in a folder. UserError as read_parameters."""
    return MelFormat(**read_parameters(data)["mel"])


def _crc(parameters: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(parameters, sort_keys=True).encode()):08x}"


def rows_with_files(rows: Sequence[Row], **folders: Path) -> list[Row]:
    """The rows whose files exist, e.g. rows_with_files(rows, mel=mels_dir, embed=embeds_dir). Prints how many do not.

    UserError if no row is left. Each folder is listed once, which is faster than a look-up for each of millions of rows.
    """
    present = {column: _names(folder) for column, folder in folders.items()}
    kept, gone = [], []
    for row in rows:
        missing = [
            within(folders[column], getattr(row, column)) for column in folders if getattr(row, column) not in present[column]
        ]
        if missing:
            gone.append(missing[0])
        else:
            kept.append(row)
    if not kept:
        raise UserError(
            f"{gone[0]}: not found, nor the files of any of the other {len(gone) - 1} rows; run the preprocessing again"
        )
    if gone:
        say_once(f"{len(gone)} of {len(rows)} rows are left out because their files are gone, the first: {gone[0]}")
    return kept


def rows_with_content(rows: Sequence[Row], path: Path) -> list[Row]:
    """The rows with text and frames. Prints how many have none. UserError, naming the file at `path`, if no row is left."""
    kept = [row for row in rows if row.n_frames > 0 and any(character.isalnum() for character in row.text)]
    if not kept:
        raise UserError(f"{path}: no row has both text and frames; run synthesizer_preprocess_audio.py again")
    if len(kept) < len(rows):
        say_once(f"{len(rows) - len(kept)} of {len(rows)} rows are left out because they have no text or no frames")
    return kept


def readable_rows(rows: Sequence[Row], path: Path, can_read: Callable[[str], bool]) -> list[Row]:
    """The rows whose text a model can say. Prints how many others there are. UserError, naming the file at `path`, if no row
    is left."""
    kept = [row for row in rows if can_read(row.text)]
    if not kept:
        raise UserError(f"{path}: no text has a letter that the model has a symbol for; see docs/text.md")
    if len(kept) < len(rows):
        first = next(row.name for row in rows if not can_read(row.text))
        n, why = len(rows) - len(kept), "none of their letters is among the model's symbols"
        say_once(f"{n} of {len(rows)} rows are left out because {why}, the first: {first}")
    return kept


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
