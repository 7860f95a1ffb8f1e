"""When each word is spoken, from alignment files: one line per utterance, `name ",A,WORD," "0.2,0.3,0.7,0.9"`.

The file is <speaker>-<chapter>.alignment.txt in a chapter's folder, as for LibriSpeech, or alignment.txt in the audio's
folder or any above it, up to the corpus's. The nearest line counts. An utterance goes by its path below that folder without
suffix, by its name or by its file's stem.
"""

import math
import re
from pathlib import Path

from utils.corpora.layout import Utterance, some_of
from utils.corpora.lines import index_of

FILE_NAME = "alignment.txt"
LINE = re.compile(r'(\S.*?) "([^"]*)" "([^"]*)"')


def parse_alignment(line: str) -> tuple[str, tuple[str, ...], tuple[float, ...]]:
    """(utterance, words with "" for silence, end of each in s) of a line `utt ",A,WORD," "0.2,0.3,0.7,0.9"`.

    ValueError, saying why, where the line has another form, words and times differ in number, or times fall.
    """
    match = LINE.fullmatch(line.strip())
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


def alignment_files(folder: Path, top: Path) -> list[Path]:
    """The alignment files that tell of the audio in a folder, nearest first."""
    chapter = folder / f"{folder.parent.name}-{folder.name}.{FILE_NAME}"
    above = [folder, *folder.parents]
    inside = above[: above.index(top) + 1] if top in above else [top]
    return [path for path in (chapter, *(place / FILE_NAME for place in inside)) if path.is_file()]


def add_alignments(top: Path, found: dict[str, Utterance], problems: list[str]) -> list[str]:
    """Put in the words and their ends where they are known. Returns the folders that have no alignment file at all."""
    files = {folder: alignment_files(folder, top) for folder in dict.fromkeys(u.path.parent for u in found.values())}
    unnamed: dict[Path, list[str]] = {}
    for name, utterance in found.items():
        places = files[utterance.path.parent]
        timed = next(filter(None, (_timed(utterance, place, problems) for place in places)), None)
        if timed:
            found[name] = timed
        elif places:
            unnamed.setdefault(places[0], []).append(name)
    problems += [f"{path}: no line for {some_of(names)}" for path, names in unnamed.items()]
    return [str(folder) for folder, places in files.items() if not places]


def _timed(utterance: Utterance, place: Path, problems: list[str]) -> Utterance | None:
    """With its words if the file has a line for it, and without them if that line is of no use; None if it has none."""
    keys = dict.fromkeys((_path_below(utterance.path, place.parent), utterance.name, utterance.path.stem))
    index = index_of(place, _key_of_line)
    lines = next(filter(None, (index.find(key.encode("utf-8", "surrogateescape")) for key in keys)), None)
    if lines is None:
        return None
    number, line = lines[0]
    try:
        if len(lines) > 1:
            raise ValueError(f"line {lines[1][0]} is of the same utterance")
        _, words, ends = parse_alignment(line.decode("utf-8-sig"))
    except ValueError as error:  # of which UnicodeDecodeError is one
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        problems.append(f"{place}, line {number}: {reason}; this utterance goes without word times")
        return utterance
    return utterance._replace(words=words, ends=ends)


def _path_below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix() if folder in path.parents else path.stem


def _key_of_line(line: bytes) -> bytes:
    """The utterance that a line speaks of; of a damaged line its first word."""
    line = line.removeprefix(b"\xef\xbb\xbf").strip()
    return line.partition(b' "' if b' "' in line else b" ")[0]
