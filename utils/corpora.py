"""Where each corpus keeps its speakers, audio, transcripts and word times. One entry per corpus, one signature each.

Finding speakers opens no audio and lists no utterances; these are listed speaker by speaker in the worker processes, so
that memory does not grow with the corpus.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from utils.cli import UserError

AUDIO_SUFFIXES = {".flac", ".wav", ".mp3", ".ogg", ".opus", ".m4a", ".aac"}
SHORT_NAMES = {
    "librispeech_other": ["LibriSpeech/train-other-500"],
    "librispeech_clean": ["LibriSpeech/train-clean-100", "LibriSpeech/train-clean-360"],
    "voxceleb1": ["VoxCeleb1"],
    "voxceleb2": ["VoxCeleb2"],
}
ANGLOPHONE = {"ireland", "uk", "usa", "canada", "australia", "new zealand", "india"}
ALIGNMENT_LINE = re.compile(r'(\S+) "([^"]*)" "([^"]*)"')


class Utterance(NamedTuple):
    """One audio file. words hold "" for silence and end at ends (s); None where not asked for or not known."""

    name: str
    path: Path
    text: str | None = None
    words: tuple[str, ...] | None = None
    ends: tuple[float, ...] | None = None


class Speaker(NamedTuple):
    """One person of a corpus such as "LibriSpeech_train-clean-100", with all audio below one folder."""

    corpus: str
    name: str
    folder: Path

    @property
    def id(self) -> str:
        """Unique over all corpora; names the speaker on disk."""
        return f"{self.corpus}_{self.name}"


class Listing(NamedTuple):
    """A speaker's utterances in a fixed order, and one line (file, what is wrong) for everything that was unusable."""

    utterances: list[Utterance]
    problems: list[str]
    chapters_without_alignments: list[str]  # folders, kept apart from the problems: a missing download, not damage


class Corpus(NamedTuple):
    """How one corpus lies on disk."""

    subsets: Callable[[Path], list[str]]  # corpus folder -> subsets that exist; [] where it has no subsets
    folders: Callable[[Path, str], list[Path]]  # corpus folder, subset ("" for none) -> speakers' folders
    listing: Callable[[Speaker, bool, bool], Listing]  # speaker, texts, alignments
    expects: str  # what is looked for below the corpus folder, for messages


# ---- finding speakers


def find_speakers(datasets_root: Path, names: list[str]) -> list[Speaker]:
    """All speakers of the named corpora, sorted by corpus and name.

    names: "LibriSpeech/<subset>", "VoxCeleb1", "VoxCeleb2" or one of SHORT_NAMES. UserError where datasets_root, a
    corpus or a subset is missing (telling which exist), and where no speaker is found.
    """
    root = Path(datasets_root)
    _check_root(root)
    speakers = {speaker.id: speaker for name in expand(names) for speaker in _speakers_of(root, name)}
    return sorted(speakers.values(), key=lambda speaker: (speaker.corpus, speaker.name))


def split_present(datasets_root: Path, names: list[str]) -> tuple[list[str], list[str]]:
    """(those of the named corpora whose folders exist, those that are absent), short names written out."""
    root = Path(datasets_root)
    _check_root(root)
    present = [name for name in expand(names) if _is_present(root, name)]
    return present, [name for name in expand(names) if name not in present]


def expand(names: list[str]) -> list[str]:
    """Short names written out as "<corpus>" or "<corpus>/<subset>", each once. UserError for a corpus unknown here."""
    full: dict[str, None] = {}
    for name in names:
        for part in SHORT_NAMES.get(name.casefold(), [name]):
            corpus, _, subset = part.strip("/").partition("/")
            known = {key.casefold(): key for key in CORPORA}.get(corpus.casefold())
            if known is None:
                raise UserError(f"{name!r} is no known corpus; known are {_known_names()}", exit_code=2)
            full[f"{known}/{subset}" if subset else known] = None
    return list(full)


def list_utterances(speaker: Speaker, texts: bool = False, alignments: bool = False) -> Listing:
    """The speaker's utterances, sorted by path, with transcripts and word times if these are asked for."""
    return CORPORA[speaker.corpus.partition("_")[0]].listing(speaker, texts, alignments)


def _check_root(root: Path) -> None:
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; datasets_root is the folder that holds LibriSpeech, VoxCeleb1, ...")
    if not any(root.iterdir()):
        raise UserError(f"{root}: this datasets_root is empty; unpack a corpus into it, e.g. {root}/LibriSpeech")


def _is_present(root: Path, name: str) -> bool:
    corpus, _, subset = name.partition("/")
    folder = root / corpus
    return folder.is_dir() and (not subset or subset in CORPORA[corpus].subsets(folder))


def _speakers_of(root: Path, name: str) -> list[Speaker]:
    corpus, _, subset = name.partition("/")
    folder, layout = root / corpus, CORPORA[corpus]
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {root} holds {_enumerate(_folder_names(root))}")
    subsets = layout.subsets(folder)
    if subset not in subsets and (subset or subsets):
        wanted = f"no subset {subset!r}" if subset else f"name a subset ({corpus}/<subset>)"
        raise UserError(f"{folder}: {wanted}; those that exist: {_enumerate(subsets)}")
    folders = layout.folders(folder, subset)
    if not folders:
        raise UserError(f"{folder / subset}: no speaker found; looked for {layout.expects}")
    return [Speaker(name.replace("/", "_"), found.name, found) for found in folders]


def _folder_names(folder: Path) -> list[str]:
    return [found.name for found in _folders_in(folder)]


def _folders_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(found for found in folder.iterdir() if found.is_dir() and not found.name.startswith("."))


def _enumerate(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _known_names() -> str:
    subsets = ["LibriSpeech/<subset>", *(name for name in CORPORA if name != "LibriSpeech")]
    return _enumerate([*subsets, *SHORT_NAMES])


# ---- LibriSpeech: <subset>/<speaker>/<chapter>/*.flac, *.trans.txt, *.alignment.txt


def _librispeech_folders(folder: Path, subset: str) -> list[Path]:
    return [found for found in _folders_in(folder / subset) if found.name.isdecimal()]


def _librispeech_listing(speaker: Speaker, texts: bool, alignments: bool) -> Listing:
    listing = Listing([], [], [])
    seen: set[str] = set()
    for chapter in _folders_in(speaker.folder):
        prefix = chapter / f"{speaker.name}-{chapter.name}"
        found = {}
        for path in _audio_below(chapter):
            if path.stem in seen:
                listing.problems.append(f"{path}: another file is called {path.stem} too; this one is left out")
                continue
            seen.add(path.stem)
            found[path.stem] = Utterance(path.stem, path)
        if texts and found:
            _add_texts(found, prefix.with_name(prefix.name + ".trans.txt"), listing.problems)
        if alignments:
            path = prefix.with_name(prefix.name + ".alignment.txt")
            if path.is_file():
                _add_alignments(found, path, listing.problems)
            elif found:
                listing.chapters_without_alignments.append(str(chapter))
        listing.utterances.extend(found.values())
    return listing


def _add_texts(found: dict[str, Utterance], path: Path, problems: list[str]) -> None:
    for _, line in _numbered_lines(path, problems):
        name, _, text = line.partition(" ")
        if name in found:
            found[name] = found[name]._replace(text=text.strip())
    untold = [name for name, utterance in found.items() if utterance.text is None]
    if untold and path.is_file():
        problems.append(f"{path}: no line for {_enumerate(untold)}")


def _add_alignments(found: dict[str, Utterance], path: Path, problems: list[str]) -> None:
    named = set()
    for number, line in _numbered_lines(path, problems):
        try:
            name, words, ends = parse_alignment(line)
        except ValueError as error:
            named.update(line.split(" ")[:1])
            problems.append(f"{path}, line {number}: {error}; this utterance goes without word times")
            continue
        named.add(name)
        if name in found:
            found[name] = found[name]._replace(words=words, ends=ends)
    unaligned = [name for name in found if name not in named]
    if unaligned and named:
        problems.append(f"{path}: no line for {_enumerate(unaligned)}")


def parse_alignment(line: str) -> tuple[str, tuple[str, ...], tuple[float, ...]]:
    """(utterance, words with "" for silence, end of each in s) of a line `utt ",A,WORD," "0.2,0.3,0.7,0.9"`.

    ValueError, saying why, where the line has another form, words and times differ in number, or times fall.
    """
    match = ALIGNMENT_LINE.fullmatch(line.strip())
    if match is None:
        raise ValueError('not of the form: utterance "words" "times"')
    words = tuple(match[2].split(","))
    try:
        ends = tuple(float(end) for end in match[3].split(","))
    except ValueError:
        raise ValueError("a time is not a number") from None
    if len(words) != len(ends):
        raise ValueError(f"{len(words)} words but {len(ends)} times")
    if not all(math.isfinite(end) for end in ends) or any(a > b for a, b in zip((0.0, *ends), ends, strict=False)):
        raise ValueError("times do not rise")
    return match[1], words, ends


def _numbered_lines(path: Path, problems: list[str]) -> list[tuple[int, str]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        problems.append(f"{path}: {error.strerror}")
    except UnicodeDecodeError as error:
        problems.append(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8")
    else:
        lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1))
        return [(number, line) for number, line in lines if line]
    return []


def _audio_below(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


# ---- VoxCeleb1: wav/<speaker>/<video>/*.wav, vox1_meta.csv;  VoxCeleb2: dev/aac/<speaker>/<video>/*.m4a


def _no_subsets(folder: Path) -> list[str]:
    return []


def _voxceleb1_folders(folder: Path, subset: str) -> list[Path]:
    """Speakers of anglophone nationality: the synthesizer speaks English, and accents far from it blur the voices."""
    table = folder / "vox1_meta.csv"
    problems: list[str] = []
    rows = [line.split("\t") for _, line in _numbered_lines(table, problems)]
    if problems:
        raise UserError(f"{problems[0]}; download VoxCeleb1's vox1_meta.csv, which tells the nationalities")
    kept = {row[0].strip() for row in rows if len(row) >= 4 and row[3].strip().casefold() in ANGLOPHONE}
    return [found for found in _folders_in(folder / "wav") if found.name in kept]


def _voxceleb2_folders(folder: Path, subset: str) -> list[Path]:
    return _folders_in(folder / "dev" / "aac")


def _audio_only_listing(speaker: Speaker, texts: bool, alignments: bool) -> Listing:
    """Every audio file below the speaker's folder, named by its path there; such corpora have no transcripts."""
    utterances = []
    for path in _audio_below(speaker.folder):
        name = "_".join(path.relative_to(speaker.folder).with_suffix("").parts)
        utterances.append(Utterance(name, path))
    return Listing(utterances, [], [])


CORPORA = {
    "LibriSpeech": Corpus(_folder_names, _librispeech_folders, _librispeech_listing, "<speaker number>/<chapter>/*.flac"),
    "VoxCeleb1": Corpus(
        _no_subsets,
        _voxceleb1_folders,
        _audio_only_listing,
        "wav/<speaker>/<video>/*.wav of speakers whose nationality in vox1_meta.csv is anglophone",
    ),
    "VoxCeleb2": Corpus(_no_subsets, _voxceleb2_folders, _audio_only_listing, "dev/aac/<speaker>/<video>/*.m4a"),
}
