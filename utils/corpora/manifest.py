"""A manifest: a text file with a line per audio file, its columns separated by tabs or by "|".

Without a header the first columns are audio and speaker, and the last one is text. A header may name them (file, audio or
path; speaker; text) in any order among others. Paths start from the manifest's folder. Only the encoder can do without texts.
"""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from utils.corpora.layout import Corpus, Speaker, Utterance
from utils.corpora.lines import LineIndex, index_of
from utils.data.paths import one_field
from utils.errors import UserError

AUDIO_COLUMNS = ("file", "audio", "path")
NO_SPEAKER = b""  # key of lines without a speaker


class Format(NamedTuple):
    """How to read the lines of a manifest: audio, speaker and text are the indices of their columns."""

    separator: str
    n_columns: int
    audio: int
    speaker: int
    text: int | None
    header: str | None

    def split(self, line: bytes) -> list[str] | None:
        """The columns, stripped; None if there are more or fewer than in the first line, or no file or no speaker."""
        try:
            columns = line.decode("utf-8-sig").rstrip("\r\n").split(self.separator)
        except UnicodeDecodeError:
            return None
        if self.text == self.n_columns - 1 and len(columns) > self.text:  # the text may hold the separator
            columns[self.text :] = [self.separator.join(columns[self.text :])]
        columns = [column.strip() for column in columns]
        return columns if len(columns) == self.n_columns and columns[self.audio] and columns[self.speaker] else None

    def key(self, line: bytes) -> bytes:
        """The speaker of a line."""
        columns = None if self.is_header(line) else self.split(line)
        return columns[self.speaker].encode() if columns else NO_SPEAKER

    def is_header(self, line: bytes) -> bool:
        return self.header is not None and line.decode("utf-8-sig", "replace").strip() == self.header


def speakers(path: Path, subset: str) -> list[tuple[str, Path]]:
    """Speakers as the manifest names them."""
    return [(speaker, path.parent) for speaker in _speakers(_open(path)[1])]


def audio(speaker: Speaker, problems: list[str]) -> list[tuple[str, Path]]:
    """Utterances, named by their paths in the manifest. The first speaker reports the unusable lines."""
    layout, index = _open(speaker.source)
    if speaker.name == _speakers(index)[0]:
        wrong = [n for n, line in index.find(NO_SPEAKER) if line.strip() and not layout.is_header(line)]
        expected = f"not UTF-8 text in {layout.n_columns} columns with an audio file and a speaker"
        problems += [f"{speaker.source}, line {number}: {expected}" for number in wrong]
    return [(name, path) for name, path, _ in _rows(speaker)]


def texts(speaker: Speaker, found: dict[str, Utterance], problems: list[str]) -> None:
    """The text column; the first line counts if a file is named twice."""
    for name, _, text in reversed(_rows(speaker)):
        found[name] = found[name]._replace(text=text or None)


def transcripts(speaker: Speaker, path: Path) -> list[Path]:
    """The manifest itself, if it has texts."""
    return [speaker.source] if _open(speaker.source)[0].text is not None else []


def _rows(speaker: Speaker) -> list[tuple[str, Path, str]]:
    layout, index = _open(speaker.source)
    rows = []
    for columns in filter(None, (layout.split(line) for _, line in index.find(speaker.name.encode()))):
        path = Path(columns[layout.audio])
        name = "+".join(part for part in path.with_suffix("").parts if part not in ("/", ".."))
        text = "" if layout.text is None else one_field(columns[layout.text])
        rows.append((name, speaker.folder / path, text))
    return rows


def _speakers(index: LineIndex) -> list[str]:
    return sorted(key.decode() for key in index.keys - {NO_SPEAKER})


def _open(path: Path) -> tuple[Format, LineIndex]:
    status = path.stat()
    layout = _format(path, status.st_mtime_ns, status.st_size)
    return layout, index_of(path, layout.key, keep_keys=True)


@lru_cache(maxsize=8)
def _format(path: Path, changed: int, size: int) -> Format:
    """Read from the first line that is not empty."""
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"")
    try:
        text = first.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    separator = "\t" if "\t" in text else "|"
    columns = [column.strip().casefold() for column in text.split(separator)]
    audio_columns = [i for i, column in enumerate(columns) if column in AUDIO_COLUMNS]
    if audio_columns and "speaker" in columns:
        position = columns.index("text") if "text" in columns else None
        return Format(separator, len(columns), audio_columns[0], columns.index("speaker"), position, text)
    if len(columns) < 2 or audio_columns:
        raise UserError(
            f"{path}: its first line is neither audio|speaker|text nor a header that names these columns "
            f"({' or '.join(AUDIO_COLUMNS)}; speaker; text), separated by | or tabs"
        )
    n_columns = min(3, len(columns)) if separator == "|" else len(columns)
    return Format(separator, n_columns, 0, 1, n_columns - 1 if n_columns > 2 else None, None)


MANIFEST = Corpus("lines audio|speaker|text", speakers, audio, transcripts, texts)
