"""Lists of recordings as people write them: a table of formats, each recognised by its columns."""

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from utils.corpora.layout import AUDIO_SUFFIXES, a_span
from utils.corpora.lines import lines_of
from utils.corpora.places import Place, find_place
from utils.errors import UserError

N_SAMPLED = 200  # lines by which a format is recognised
SEPARATORS = "\t|,;"  # the first that is in every line counts
N_JOINED = 50  # lines that a row with line breaks within quotes may have
END_MARKS = ".!?…。！？"
AUDIO, SPEAKER, TEXT, UNUSED, MORE = "audio", "speaker", "text", "-", "..."

# Names of columns, best first; the text with numbers written out is better.
HEADERS = {
    AUDIO: "audio audio_file audio_filepath audio_path file file_name file_path filename path "
    "wav wav_file wav_filename wav_path",
    SPEAKER: "speaker speaker_name speaker_id spk spk_id client_id reader reader_id voice",
    TEXT: "normalized_text text_normalized normalised_text normalized text sentence transcription transcript",
}
# What else lists tell of a recording, and no speaker is called by.
OTHERS = set(
    "accent accents age dataset dataset_name dialect down_votes duration emotion gender id index key lang language length "
    "locale n_frames n_samples offset sample_rate segment sentence_domain sentence_id sex split up_votes utt utt_id "
    "variant".split()
)
# What a list with these columns is called. The first that fits counts.
NAMES = [
    ("Common Voice", {"client_id", "path", "sentence"}),
    ("Coqui", {"audio_file", "text", "speaker_name"}),
    ("HiFiTTS", {"audio_filepath", "text_normalized"}),
    ("NeMo", {"audio_filepath"}),
    ("Hugging Face", {"file_name"}),
]
# Lists without a header.
SHAPES = [
    ("a list", [AUDIO, TEXT]),
    ("a list", [AUDIO, SPEAKER]),
    ("a list", [AUDIO, SPEAKER, TEXT]),
    ("a list", [AUDIO, TEXT, SPEAKER]),
    ("LJSpeech", [AUDIO, TEXT, "normalised"]),
    ("GPT-SoVITS", [AUDIO, SPEAKER, "language", TEXT]),
    ("Bert-VITS2", [AUDIO, SPEAKER, "language", TEXT, UNUSED, UNUSED, UNUSED]),
    ("a list", [AUDIO, SPEAKER, MORE, TEXT]),
]


class Row(NamedTuple):
    """A line of a list. speaker is "" where it names none, and span are start and end in s of a part of the file."""

    audio: str
    speaker: str
    text: str
    span: tuple[float, float] | None = None


class Format(NamedTuple):
    """How to read a line: the separator ("" for JSON), and which columns are which, by number or in JSON by name."""

    name: str
    separator: str
    columns: tuple[str, ...]  # for people
    audio: Any
    speaker: Any = None
    texts: tuple = ()  # best first
    header: str | None = None
    place: Place | None = None  # of the audio, once it is known

    @property
    def told(self) -> str:
        return f"{self.name} ({(self.separator.replace(chr(9), ' ') or ', ').join(self.columns)})"

    def row(self, line: bytes) -> Row | None:
        """None if it is not UTF-8, has more or fewer columns than the first line, or no audio file or no speaker."""
        try:
            text = line.decode("utf-8-sig").strip("\r\n")
            cells = _json(text) if not self.separator else self._cells(text)
            row = Row(_cell(cells, self.audio), _cell(cells, self.speaker), self._text(cells), _span(cells))
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):  # a wrong encoding is a ValueError
            return None
        return row if row.audio and (row.speaker or self.speaker is None) else None

    def is_header(self, line: bytes) -> bool:
        return self.header is not None and line.decode("utf-8-sig", "replace").strip() == self.header

    def _cells(self, text: str) -> list[str]:
        last = len(self.columns) - 1
        cells = split(text, self.separator, last if self.texts == (last,) else -1)  # the text may hold the separator
        if len(cells) != len(self.columns):
            raise ValueError
        return cells

    def _text(self, cells: Any) -> str:
        return next(filter(None, (_cell(cells, key) for key in self.texts)), "")


def recognise(path: Path, columns: Sequence[str] = ()) -> Format:
    """The format of a list, from its first lines, or by the names of its columns (`columns`: audio, speaker, text, -).

    UserError if it is not UTF-8, or could be read in several ways.
    """
    lines = sample(path)
    first = lines[0] if lines else ""
    if first.startswith("{"):
        return _of_json(path, lines, list(columns))
    separator = next((s for s in SEPARATORS if lines and all(s in line for line in sample(path, s))), "|")
    lines = sample(path, separator)
    first = lines[0] if lines else ""
    rows = [split(line, separator) for line in lines]
    names = [cell.casefold() for cell in rows[0]] if rows else []
    if any(name in HEADERS[AUDIO].split() for name in names) and not columns:
        return _of_names(path, separator, names, rows[1:], first)
    if columns:
        return _asked(path, separator, list(columns), rows, first)
    width = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
    whole = [[*row[: width - 1], separator.join(row[width - 1 :])] for row in rows if len(row) >= width]
    found = [(name, shape) for name, shape in SHAPES if whole and _fits(_stretched(shape, width), whole, path.parent)]
    found = found[:-1] if len(found) > 1 and MORE in found[-1][1] else found
    shapes = [_stretched(shape, width) for _, shape in found]
    is_clear = len(found) == 1 and not _is_cut_text(lines, separator, shapes[0])
    if is_clear and not _is_heading([row[shapes[0].index(AUDIO)] for row in whole], path.parent):
        return _format(found[0][0], separator, shapes[0])
    raise UserError(_question(path, separator, first, shapes if len(shapes) > 1 else []), exit_code=2)


def rows_of(file: Iterable[bytes], separator: str) -> Iterator[bytes]:
    """The lines of a list. One with line breaks within quotes is several lines of the file; empty ones keep the numbers."""
    lines = lines_of(file)
    ahead: list[bytes] = []
    while ahead or (ahead := list(islice(lines, 1))):
        n = 1
        if separator in (",", ";") and b'"' in ahead[0]:
            ahead += islice(lines, N_JOINED - len(ahead))
            n = _n_lines(ahead, separator)
        yield b"".join(ahead[:n])
        yield from [b""] * (n - 1)
        del ahead[:n]


def _n_lines(lines: list[bytes], separator: str) -> int:
    """How many of them are the first CSV row; 1 if its quotes are wrong or not closed."""
    rows = csv.reader((line.decode("latin-1") for line in lines), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        next(rows)
    except csv.Error:
        return 1
    return rows.line_num


def sample(path: Path, separator: str = "") -> list[str]:
    """The first lines that are not empty, without those that are not UTF-8. UserError if the first is none, or for UTF-16."""
    with path.open("rb") as file:
        start = file.read(4)
        if start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start:
            raise UserError(f"{path}: is UTF-16; save it as UTF-8, e.g. iconv -f UTF-16 -t UTF-8 {path.name} > new.txt")
        file.seek(0)
        lines: list[str] = []
        for line in rows_of(file, separator):
            try:
                text = line.decode("utf-8-sig").strip("\r\n")
            except UnicodeDecodeError as error:
                if not lines:
                    raise UserError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
                continue
            if text.strip():
                lines.append(text)
            if len(lines) == N_SAMPLED:
                break
    return lines


def split(line: str, separator: str, most: int = -1) -> list[str]:
    """The cells of a line, cut at `most` separators.

    Quotes are part of a text, except in comma-separated files and where a quote in them is doubled.
    """
    if separator in ",;" and '"' in line:
        try:
            row = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
        except csv.Error:  # longer than csv.field_size_limit()
            row = line.split(separator)
        cells = [" ".join(cell.splitlines()).strip() for cell in row]
        return cells if most < 0 or len(cells) <= most else [*cells[:most], f"{separator} ".join(cells[most:])]
    cells = [cell.strip() for cell in line.split(separator, most)]
    return [
        cell[1:-1].replace('""', '"') if len(cell) > 4 and cell[0] == cell[-1] == '"' and '""' in cell[1:-1] else cell
        for cell in cells
    ]


# ---- which format


def _of_json(path: Path, lines: list[str], columns: list[str]) -> Format:
    """A list that names its columns on every line; `columns` are in the order of the first."""
    try:
        names = list(_json(lines[0]))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: its first line begins like JSON but is none; mend or delete it") from error
    rows = []
    for line in lines:
        with suppress(ValueError, RecursionError):
            cells = _json(line)
            rows.append([_cell(cells, name) if name in cells else "" for name in names])
    if not columns:
        return _of_names(path, "", names, rows, lines[0])
    layout = _asked(path, "", columns, rows, lines[0])
    speaker = None if layout.speaker is None else names[layout.speaker]
    texts = tuple(names[i] for i in layout.texts)
    return layout._replace(columns=tuple(names), audio=names[layout.audio], speaker=speaker, texts=texts, header=None)


def _of_names(path: Path, separator: str, names: list[str], rows: list[list[str]], first: str) -> Format:
    """A list that names its columns, in a header or (separator "") on every line. Several names for audio are one where the
    files of one exist; what may be the speaker is asked for."""
    at = {kind: [names.index(name) for name in known.split() if name in names] for kind, known in HEADERS.items()}
    if not at[AUDIO]:
        known = HEADERS[AUDIO].replace(" ", ", ")
        raise UserError(f"{path}: none of {', '.join(names)} is a name for audio ({known}); rename one", exit_code=2)
    several = [i for known in HEADERS[AUDIO].split() for i, name in enumerate(names) if name == known]
    exist = [i for i in several if find_place([row[i] for row in rows if len(row) > i], path.parent)]
    is_known = len(names) == 1 or bool(at[SPEAKER] or at[TEXT])
    if not is_known or (len(several) > 1 and (not exist or (not separator and len(exist) > 1))):
        raise UserError(_question(path, separator, first, []), exit_code=2)
    whole = [row for row in rows if len(row) == len(names)]
    taken = [*several, *at[TEXT]]
    for i, name in enumerate(names):
        values = [row[i] for row in whole if row[i]]
        if not at[SPEAKER] and i not in taken and name not in OTHERS and len(set(values)) > 1 and _may_name_people(values):
            raise UserError(_question(path, separator, first, [], f"do not tell whether {name!r} is the speaker"), exit_code=2)
    name = next((name for name, has in NAMES if has <= set(names)), "a table" if separator else "JSON lines")
    keys = range(len(names)) if separator else names
    speaker = keys[at[SPEAKER][0]] if at[SPEAKER] else None
    texts = tuple(keys[i] for i in at[TEXT])
    return Format(
        name, separator, tuple(names), keys[(exist or several)[0]], speaker, texts, first.strip() if separator else None
    )


def _may_name_people(values: list[str]) -> bool:
    """Whether they are words or whole numbers, and neither files nor measures."""
    return _may_be_speaker(values, Path()) and not all(
        re.fullmatch(r"-?\d+\.\d*(e-?\d+)?|true|false", v.lower()) for v in values
    )


def _asked(path: Path, separator: str, columns: list[str], rows: list[list[str]], line: str) -> Format:
    if wrong := [name for name in columns if name not in (AUDIO, SPEAKER, TEXT, UNUSED)]:
        raise UserError(f"--columns: {wrong[0]!r} is none of audio, speaker, text and -", exit_code=2)
    if columns.count(AUDIO) != 1 or columns.count(SPEAKER) > 1 or columns.count(TEXT) > 1:
        raise UserError("--columns: names audio once, and speaker and text at most once", exit_code=2)
    first = rows[0] if rows else []
    if len(first) < len(columns) or (len(first) > len(columns) and columns[-1] != TEXT):
        has = f"{len(first)} columns: {separator.join(first)[:80]}"
        raise UserError(f"{path}: --columns names {len(columns)} columns, but the first line has {has}", exit_code=2)
    column = columns.index(AUDIO)
    is_header = first[column].casefold() in HEADERS[AUDIO].split()
    is_header = is_header or _is_heading([row[column] for row in rows if len(row) > column], path.parent)
    return _format("asked", separator, columns, line.strip() if is_header else None)


def _format(name: str, separator: str, columns: list[str], header: str | None = None) -> Format:
    texts = [i for text in ("normalised", TEXT) for i, column in enumerate(columns) if column == text]
    speaker = columns.index(SPEAKER) if SPEAKER in columns else None
    return Format(name, separator, tuple(columns), columns.index(AUDIO), speaker, tuple(texts), header)


def _stretched(shape: list[str], width: int) -> list[str]:
    """`...` stands for any number of columns."""
    more = [UNUSED] * (width - len(shape) + 1)
    return [column for part in shape for column in (more if part == MORE else [part])]


def _fits(shape: list[str], rows: list[list[str]], folder: Path) -> bool:
    if len(shape) != len(rows[0]):
        return False
    columns = dict(zip(shape, zip(*rows, strict=True), strict=True))
    before = list(zip(shape, zip(*rows, strict=True), strict=True))[: shape.index(TEXT) if TEXT in shape else 0]
    if any(kind == UNUSED and _is_other_text(list(values), columns[TEXT]) for kind, values in before):
        return False
    if not all(FITS[kind](list(filter(None, values)), folder) for kind, values in columns.items()):
        return False
    return "normalised" not in shape or _same_words(columns[TEXT], columns["normalised"])


def _is_audio(values: list[str], folder: Path) -> bool:
    return _are_files(values) or find_place(values, folder) is not None


def _is_cut_text(lines: list[str], separator: str, shape: list[str]) -> bool:
    """Whether the speakers of a list without quotes may be parts of sentences that hold the separator."""
    if separator not in ",;" or SPEAKER not in shape or any('"' in line for line in lines):
        return False
    rows = [cells for line in lines if len(cells := line.split(separator, len(shape) - 1)) == len(shape)]
    speakers = {cells[shape.index(SPEAKER)] for cells in rows}
    return any(cell.startswith(" ") for cells in rows for cell in cells) or len(speakers) > max(1, 0.8 * len(rows))


def _is_heading(values: list[str], folder: Path) -> bool:
    """Whether the first of these audio files is none, while the others are: a header of unknown names."""
    if not values or Path(values[0]).suffix.lower() in AUDIO_SUFFIXES:
        return False
    place = find_place(values[1:], folder)
    return not os.path.isfile(place.path(values[0])) if place else _are_files(values[1:])


def _are_files(values: list[str]) -> bool:
    return 2 * sum(Path(value).suffix.lower() in AUDIO_SUFFIXES for value in values) > len(values)


def _share_of_words(values: list[str]) -> float:
    """Of values that are more than one word."""
    return sum(map(_is_words, values)) / len(values) if values else 0.0


def _is_words(value: str) -> bool:
    """Whether it has a space, an end mark, or letters of a script without spaces (Japanese, Chinese, Korean)."""
    return " " in value or value[-1] in END_MARKS or any("\u3040" <= c <= "\ud7a3" for c in value)


def _may_be_text(values: list[str], folder: Path) -> bool:
    """Sentences, or single words that do not come again."""
    is_name = len(set(values)) < len(values) or all(value.isdecimal() for value in values)
    return not _are_files(values) and (_share_of_words(values) >= 0.5 or not is_name)


def _is_other_text(values: list[str], texts: Sequence[str]) -> bool:
    """Whether these are sentences, and others than the texts."""
    return _share_of_words(list(filter(None, values))) >= 0.5 and not _same_words(values, texts)


def _may_be_speaker(values: list[str], folder: Path) -> bool:
    """Single words, or what comes again and is no sentence."""
    if not values or _are_files(values):
        return False
    comes_again = len(set(values)) <= len(values) / 2 and not any(value[-1] in END_MARKS for value in values)
    return _share_of_words(values) < 0.5 or comes_again


def _is_language(values: list[str], folder: Path) -> bool:
    return bool(values) and all(len(value) <= 7 and value.replace("_", "").replace("-", "").isalpha() for value in values)


FITS: dict[str, Callable[[list[str], Path], bool]] = {
    AUDIO: _is_audio,
    SPEAKER: _may_be_speaker,
    TEXT: _may_be_text,
    "normalised": _may_be_text,
    "language": _is_language,
    UNUSED: lambda values, folder: True,
}


def _same_words(ones: Sequence[str], others: Sequence[str]) -> bool:
    """Whether most pairs of texts share half of their words, or the second is empty."""
    pairs = [(set(one.casefold().split()), set(other.casefold().split())) for one, other in zip(ones, others, strict=True)]
    return sum(2 * len(a & b) >= min(len(a), len(b)) for a, b in pairs) > len(pairs) / 2


def _question(
    path: Path,
    separator: str,
    first: str,
    shapes: list[list[str]],
    problem: str = "do not tell which is audio, speaker and text",
) -> str:
    ways = " or ".join(separator.join(shape) for shape in shapes)
    problem = f"could be {ways}" if ways else problem
    return (
        f"{path}: its columns {problem} (the first line: {first[:80]!r}); name them with --columns audio,text,speaker, in "
        "their order, with - for others"
    )


# ---- cells


def _json(line: str) -> dict[str, Any]:
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError
    return {key.casefold(): value for key, value in values.items()}


def _cell(cells: Any, key: Any) -> str:
    if key is None or (isinstance(cells, dict) and cells.get(key) is None):
        return ""
    return str(cells[key]).strip()


def _span(cells: Any) -> tuple[float, float] | None:
    """NeMo's offset and duration."""
    if not isinstance(cells, dict) or cells.get("offset") is None:
        return None
    return a_span(float(cells["offset"]), float(cells["offset"]) + float(cells["duration"]))
