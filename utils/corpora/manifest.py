"""A list of recordings: a text file with a line per recording, in any of the formats of formats.py.

Only the encoder can do without texts. Audio may be anywhere (places.py).
"""

from functools import lru_cache, partial
from pathlib import Path, PurePosixPath

from utils.corpora.formats import Format, Row, recognise, rows_of, sample
from utils.corpora.layout import AUDIO_SUFFIXES, Asked, Corpus, Found, Speaker, Utterance, shortened
from utils.corpora.lines import LineIndex
from utils.corpora.places import Place, find_place
from utils.data.paths import one_field
from utils.errors import UserError

NO_SPEAKER = b""  # key of lines that are not used
EVERYONE = b"*"  # key of lines that name no speaker
OF_FOLDERS = "folder"  # --speaker folder: the folder of each recording names the speaker
N_SHOWN = 3  # rows in the preview
IN_FOLDER = ("metadata.csv", "metadata.jsonl", "validated.tsv")  # of LJSpeech, Hugging Face and Common Voice
AUDIO_FOLDERS = {"wavs", "wav", "audio", "clips", "data", "train", "test", "validation"}


def speakers(path: Path, asked: Asked) -> list[tuple[str, Path]]:
    """Speakers as the list names them; else the one of --speaker, or of the list's folder."""
    layout, index = _open(path, asked)
    if layout.speaker is not None or asked.speaker == OF_FOLDERS:
        return [(name, path.parent) for name in _names(index)]
    if not index.keys - {NO_SPEAKER}:
        return []
    folders = {layout.place.path(row.audio).parent for row in _sampled(path, layout)}
    if len(folders) > 1 and not asked.speaker:
        raise UserError(
            f"{path}: names no speakers, and its audio is in several folders; name the one speaker with --speaker NAME, or "
            f"take each folder for a speaker with --speaker {OF_FOLDERS}",
            exit_code=2,
        )
    return [(asked.speaker or path.absolute().parent.name, path.parent)]


def audio(speaker: Speaker, problems: list[str]) -> list[Found]:
    """Utterances, named by their paths in the list. The first speaker reports the unusable lines."""
    layout, index = _open(speaker.source, speaker.asked)
    if speaker.name == _names(index)[0] or EVERYONE in index.keys:
        wrong = [n for n, line in index.find(NO_SPEAKER) if line.strip() and not layout.is_header(line)]
        expected = f"not UTF-8 text in {len(layout.columns)} columns with an audio file and a speaker"
        problems += [f"{speaker.source}, line {number}: {expected}" for number in wrong]
    return [Found(_utterance(layout.place, row), layout.place.path(row.audio), row.span) for row in _rows(speaker)]


def texts(speaker: Speaker, found: dict[str, Utterance], problems: list[str]) -> None:
    """The text column; the first line counts if a recording is named twice."""
    place = _open(speaker.source, speaker.asked)[0].place
    for row in reversed(_rows(speaker)):
        name = _utterance(place, row)
        found[name] = found[name]._replace(text=one_field(row.text) or None)


def transcripts(speaker: Speaker, path: Path) -> list[Path]:
    """The list itself, if it has texts."""
    return [speaker.source] if _open(speaker.source, speaker.asked)[0].texts else []


def described(speaker: Speaker) -> list[str]:
    """How the list is understood, and its first rows."""
    layout, _ = _open(speaker.source, speaker.asked)
    differs = layout.place.told(speaker.source.parent) if layout.place != Place(speaker.source.parent) else ""
    whose = "" if layout.speaker is not None or speaker.asked.speaker == OF_FOLDERS else f"; one speaker: {speaker.name}"
    shown = [f"taken as {layout.told}{f'; audio: {differs}' * bool(differs)}{whose}"]
    for row in _sampled(speaker.source, layout)[:N_SHOWN]:
        path = layout.place.path(row.audio)
        who = row.speaker or (path.parent.name if speaker.asked.speaker == OF_FOLDERS else speaker.name)
        shown.append(f"    audio {path.name}, speaker {who}" + f", text {shortened(row.text)!r}" * bool(layout.texts))
    return shown


def in_folder(folder: Path) -> Path | None:
    """The list in a folder that holds besides it nothing but audio; None if it is a folder of speakers."""
    inner = {path.name.casefold() for path in folder.iterdir() if path.is_dir() and path.name[0] != "."}
    found = next((folder / name for name in IN_FOLDER if (folder / name).is_file()), None)
    return found if inner <= AUDIO_FOLDERS else None


def _utterance(place: Place, row: Row) -> str:
    path = PurePosixPath(*(part for part in row.audio.replace("\\", "/").split("/")[place.dropped :] if part not in ("", "..")))
    name = str(path.with_suffix("") if path.suffix.lower() in AUDIO_SUFFIXES else path).replace("/", "+")
    return name if row.span is None else f"{name}+{round(1000 * row.span[0]):08d}"


def _rows(speaker: Speaker) -> list[Row]:
    layout, index = _open(speaker.source, speaker.asked)
    key = EVERYONE if EVERYONE in index.keys else speaker.name.encode("utf-8", "surrogateescape")
    return [row for _, line in index.find(key) if (row := layout.row(line))]


def _names(index: LineIndex) -> list[str]:
    return sorted(key.decode("utf-8", "surrogateescape") for key in index.keys - {NO_SPEAKER})


def _sampled(path: Path, layout: Format) -> list[Row]:
    lines = (line.encode() for line in sample(path, layout.separator))
    return [row for line in lines if not layout.is_header(line) and (row := layout.row(line))]


def _open(path: Path, asked: Asked) -> tuple[Format, LineIndex]:
    status = path.stat()
    return _opened(path, asked, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _opened(path: Path, asked: Asked, changed: int, size: int) -> tuple[Format, LineIndex]:
    layout = recognise(path, asked.columns)
    names = [row.audio for row in _sampled(path, layout)]
    layout = layout._replace(place=find_place(names, path.parent) or Place(path.parent))
    by_folder = layout.speaker is None and asked.speaker == OF_FOLDERS
    return layout, LineIndex(path, partial(_whose, layout, by_folder), True, partial(rows_of, separator=layout.separator))


def _whose(layout: Format, by_folder: bool, line: bytes) -> bytes:
    """The key of a line: its speaker."""
    row = None if layout.is_header(line) else layout.row(line)
    if row is None:
        return NO_SPEAKER
    if by_folder:
        return layout.place.path(row.audio).parent.name.encode("utf-8", "surrogateescape") or EVERYONE
    return row.speaker.encode() if layout.speaker is not None else EVERYONE


MANIFEST = Corpus("lines audio|speaker|text", speakers, audio, transcripts, texts, described=described, is_list=True)
