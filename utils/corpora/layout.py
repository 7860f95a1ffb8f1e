"""What a corpus is to the rest of the project, and how folders and texts are read, which several corpora share."""

import hashlib
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from utils.data.containers import is_recording
from utils.data.paths import one_field

AUDIO_SUFFIXES = set(  # files of a folder that are listed unopened; what they hold is seen when they are read
    ".wav .wave .flac .mp3 .mp2 .ogg .oga .opus .m4a .m4b .mp4 .aac .webm .weba .mka .mkv .mov .3gp .amr .wma .ac3 .aiff "
    ".aif .aifc .au .snd .w64 .rf64 .caf .sph .voc .wv .ape .tta".split()
)
OTHER_SUFFIXES = set(".txt .csv .tsv .json .jsonl .list .lab .textgrid .md .html .xml .npy .npz .pt .py .jpg .png .pdf".split())
UNSAFE = re.compile(r"[^\w.+=,~@()&' -]|\s{2,}|[^\S ]|^ |[. ]$")  # in a file name that is also a field of tables
MAX_NAME_BYTES = 180  # file systems take 255, and prefixes and suffixes are added
N_NAMED = 5  # names in one line of a report


class Asked(NamedTuple):
    """What the user says of a list of recordings: its columns, and the speaker if it names none."""

    columns: tuple[str, ...] = ()
    speaker: str = ""


class Found(NamedTuple):
    """An utterance's name and file. A corpus may also give pairs of these."""

    name: str
    path: Path
    span: tuple[float, float] | None = None  # the part of the file that it is, in s; None: all of it


def a_span(start: float, end: float) -> tuple[float, float]:
    """Part of a file, in s. ValueError if it is none."""
    if not 0 <= start < end < math.inf:
        raise ValueError(f"from {start:g} to {end:g} s")
    return start, end


class Utterance(NamedTuple):
    """One audio file, or a part of it. The word "" is silence, and ends are in s; None if not asked for or not known."""

    name: str  # unique within the speaker
    path: Path
    text: str | None = None
    words: tuple[str, ...] | None = None
    ends: tuple[float, ...] | None = None
    span: tuple[float, float] | None = None


class Speaker(NamedTuple):
    """One person of a corpus such as "LibriSpeech_train-clean-100", with all audio below one folder or in one manifest."""

    corpus: str
    name: str
    folder: Path
    layout: str  # key of CORPORA
    source: Path  # the corpus's folder, or the manifest
    asked: Asked = Asked()

    @property
    def id(self) -> str:
        """The speaker's name on disk, unique over all corpora."""
        return disk_name(f"{self.corpus}_{self.name}")

    @property
    def top(self) -> Path:
        """The folder that holds the whole corpus."""
        return self.source if self.source.is_dir() else self.source.parent

    def absolute(self) -> "Speaker":
        """The same speaker, for a process with another current folder."""
        return self._replace(folder=self.folder.absolute(), source=self.source.absolute())


class Listing(NamedTuple):
    """A speaker's utterances in a fixed order, and what was wrong with the corpus's files."""

    utterances: list[Utterance]
    problems: list[str]  # one line each: the file and what is wrong
    chapters_without_alignments: list[str]  # folders; no problem, but a missing download


class Corpus(NamedTuple):
    """The layout of one corpus on disk."""

    expects: str  # what is looked for below the corpus folder, for messages
    # corpus folder, subset or "" -> (speaker, folder); for a list of recordings: its path, Asked -> the same
    speakers: Callable[[Path, Any], list[tuple[str, Path]]]
    audio: Callable[[Speaker, list[str]], Sequence[tuple]]  # -> (utterance, file) in a fixed order; adds to problems
    transcripts: Callable[[Speaker, Path], list[Path]] = (
        lambda speaker, path: []
    )  # audio file -> where its text may be, best first
    texts: Callable[[Speaker, dict[str, Utterance], list[str]], None] | None = None  # sets the texts; adds to problems
    subsets: Callable[[Path], list[str]] | None = None  # corpus folder -> subsets that exist
    selections: tuple[str, ...] = ()  # names given like subsets that select among the same speakers
    folder_name: str = ""  # pattern of the corpus folder's name, if that is not the corpus's name
    passages: bool = False  # files are passages to be cut by word times, which are also the text; else utterances
    is_list: bool = False  # of recordings
    described: Callable[[Speaker], list[str]] = lambda speaker: []  # how it was understood, for the user

    def find_speakers(self, source: Path, subset: str, asked: Asked) -> list[tuple[str, Path]]:
        """(speaker, folder), ..."""
        return self.speakers(source, asked if self.is_list else subset)

    def subsets_of(self, source: Path) -> list[str]:
        return self.subsets(source) if self.subsets else []


def disk_name(name: str) -> str:
    """A name that any table and file system takes. If it must be changed or cut, a digest keeps it unique."""
    cleaned = UNSAFE.sub("_", name)
    if cleaned == name and len(name.encode()) <= MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:10]
    return f"{cleaned.encode()[:MAX_NAME_BYTES].decode(errors='ignore').rstrip()}~{digest}"


def folders_in(folder: Path) -> list[Path]:
    """Sub-folders, sorted, without hidden ones; [] if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in sorted(names)]


def is_audio(entry: Path | os.DirEntry) -> bool:
    """By its suffix; with another or none, by what the file begins with."""
    suffix = os.path.splitext(entry.name)[1].lower()
    if entry.name.startswith(".") or suffix in OTHER_SUFFIXES or not entry.is_file():
        return False
    if suffix in AUDIO_SUFFIXES:
        return True
    try:
        with open(entry, "rb", buffering=0) as file:
            return is_recording(file.read(16))
    except OSError:
        return False


def audio_below(folder: Path) -> list[Path]:
    """All audio files in a folder and its sub-folders, sorted. Opens only those whose names do not tell what they are."""
    return sorted(_audio_below(folder))


def _audio_below(folder: Path, above: frozenset[str] = frozenset()) -> Iterable[Path]:
    """Links to folders are followed, except to one that holds those above."""
    inner, above = [], above | {os.path.realpath(folder)}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    target = os.path.join(os.path.realpath(entry.path), "")
                    if not (entry.is_symlink() and any(f"{each}{os.sep}".startswith(target) for each in above)):
                        inner.append(entry.name)
                elif is_audio(entry):
                    yield folder / entry.name
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in inner:
        yield from _audio_below(folder / name, above)


def relative_name(path: Path, folder: Path, joint: str = "+") -> str:
    """The path of a file below the folder as a name, without the suffix."""
    return joint.join(_without_suffix(path.relative_to(folder)).parts)


def _without_suffix(path: Path) -> Path:
    """A full stop may also be part of a name that has none, as in "utterance.0001"."""
    return path.with_suffix("") if path.suffix.lower() in AUDIO_SUFFIXES or path.suffix[1:].isalpha() else path


# ---- texts


def read_text(path: Path, problems: list[str]) -> str | None:
    """The content of a UTF-8 file; None, and a line in problems, if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        problems.append(f"{path}: {error.strerror}")
    except UnicodeDecodeError as error:
        problems.append(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8")
    return None


def numbered_lines(path: Path, problems: list[str]) -> list[tuple[int, str]]:
    """(number from 1, line) for each line that is not empty."""
    lines = re.split(r"\r\n?|\n", read_text(path, problems) or "")
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def enumerate_names(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def first_few(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return ", ".join(names[:N_NAMED]) + more


def shortened(text: str) -> str:
    """The text of a row in a preview."""
    return text if len(text) <= 60 else text[:60] + "…"


def beside(path: Path) -> list[Path]:
    """Where people put the text of an audio file."""
    stem = _without_suffix(path)
    return [stem.with_name(stem.name + suffix) for suffix in (".txt", ".normalized.txt", ".TXT")]


def texts_in_own_files(
    candidates: Callable[[Speaker, Path], list[Path]],
) -> Callable[[Speaker, dict[str, Utterance], list[str]], None]:
    """Corpus.texts for one text file per utterance, the first of the candidates that exists."""

    def set_texts(speaker: Speaker, found: dict[str, Utterance], problems: list[str]) -> None:
        without = []
        for name, utterance in found.items():
            places = candidates(speaker, utterance.path)
            path = next((place for place in places if place.is_file()), None)
            if path is None:
                without.append(places[0].name)
                continue
            text = read_text(path, problems)
            if text is not None and not text.strip():
                problems.append(f"{path}: is empty")
            elif text is not None:
                found[name] = utterance._replace(text=one_field(text))
        if without:
            problems.append(f"{speaker.folder}: {len(without)} of {len(found)} audio files have no text: {first_few(without)}")

    return set_texts
