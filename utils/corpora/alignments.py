"""Alignment files, which say when each word is spoken: one line per utterance, `name ",A,WORD," "0.2,0.3,0.7,0.9"`.

The file is <speaker>-<chapter>.alignment.txt in a chapter's folder, as in LibriSpeech, or alignment.txt in the folder of the
audio or any folder above it, up to the corpus's. The nearest line counts. A line names an utterance by its path below the
file's folder, without suffix, by its name or by its file's stem.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from utils.corpora.layout import Utterance, first_few
from utils.corpora.lines import index_of

FILE_NAME = "alignment.txt"
LINE = re.compile(r'(\S.*?) "([^"]*)" "([^"]*)"')


def parse_alignment(line: str) -> tuple[str, tuple[str, ...], tuple[float, ...]]:
    """A line -> (utterance, words, the end of each in s). The word "" is silence.

    ValueError, with the reason, if the line has another form, words and times differ in number, or the times fall.
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


def alignment_line(utterance: str, words: Sequence[str], ends: Sequence[float]) -> str:
    """Inverse of parse_alignment."""
    return f'{utterance} "{",".join(words)}" "{",".join(f"{end:.3f}" for end in ends)}"'


def alignment_files(folder: Path, top: Path) -> list[Path]:
    """The alignment files for the audio in a folder, nearest first."""
    chapter = folder / f"{folder.parent.name}-{folder.name}.{FILE_NAME}"
    above = [folder, *folder.parents]
    inside = above[: above.index(top) + 1] if top in above else [top]
    return [path for path in (chapter, *(place / FILE_NAME for place in inside)) if path.is_file()]


def add_alignments(top: Path, found: dict[str, Utterance], problems: list[str]) -> list[str]:
    """Set words and ends of the utterances in `found`, if known. Returns the folders without any alignment file."""
    files = {folder: alignment_files(folder, top) for folder in dict.fromkeys(u.path.parent for u in found.values())}
    missing: dict[Path, list[str]] = {}
    for name, utterance in found.items():
        places = files[utterance.path.parent]
        aligned = next(filter(None, (_aligned(utterance, place, problems) for place in places)), None)
        if aligned:
            found[name] = aligned
        elif places:
            missing.setdefault(places[0], []).append(name)
    problems += [f"{path}: no line for {first_few(names)}" for path, names in missing.items()]
    return [str(folder) for folder, places in files.items() if not places]


def _aligned(utterance: Utterance, place: Path, problems: list[str]) -> Utterance | None:
    """The utterance with its words, or unchanged if its line in the file is unusable; None if there is no line."""
    of_file = () if utterance.span else (_path_below(utterance.path, place.parent), utterance.path.stem)
    keys = dict.fromkeys((*of_file[:1], utterance.name, *of_file[1:]))
    index = index_of(place, _key_of_line)
    lines = next(filter(None, (index.find(key.encode("utf-8", "surrogateescape")) for key in keys)), None)
    if lines is None:
        return None
    number, line = lines[0]
    try:
        if len(lines) > 1:
            raise ValueError(f"line {lines[1][0]} is for the same utterance")
        _, words, ends = parse_alignment(line.decode("utf-8-sig"))
    except ValueError as error:  # or UnicodeDecodeError, which is a ValueError
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        problems.append(f"{place}, line {number}: {reason}; this utterance goes without word times")
        return utterance
    return utterance._replace(words=words, ends=ends)


def _path_below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix() if folder in path.parents else path.stem


def _key_of_line(line: bytes) -> bytes:
    """The utterance that a line names; the first word of a damaged line."""
    line = line.removeprefix(b"\xef\xbb\xbf").strip()
    return line.partition(b' "' if b' "' in line else b" ")[0]
