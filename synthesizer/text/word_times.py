"""When each symbol of a text is spoken, from the times of its words.

alignments.txt has one line for each utterance whose word times are known: mel file|words|ends, the words parted by commas,
silence being the empty word, and the second at which each of them ends.
"""

import difflib
import re
from collections.abc import Container, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthesizer.text import clean
from utils.errors import UserError

LEAST_AGREEMENT = 0.75  # share of the words that text and times must have in common
TAIL = 0.1  # s that the symbols after the last word get at least: where they have none, the end is never attended to

ANY = ""  # the key of a word in figures
LONGEST_READING = 10  # words of text that one in figures may be

_FIGURE = re.compile(r"\d")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


class WordTimes(NamedTuple):
    words: tuple[str, ...]  # "" is silence
    ends: tuple[float, ...]  # s


class _Spoken(NamedTuple):
    key: str  # what is compared
    start: float  # s
    end: float


class _Written(NamedTuple):
    key: str
    start: int  # first symbol
    end: int  # past the last one


def read_lines(path: Path, mels: Container[str]) -> dict[str, str]:
    """The lines of alignments.txt by mel file, of these mel files alone; none where the file is missing.

    They stay text until they are used: a large corpus has hundreds of thousands. UserError for a line of another form.
    """
    lines = {}
    if not path.is_file():
        return lines
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            mel, *columns = line.rstrip("\n").split("|")
            if len(columns) != 2 or columns[0].count(",") != columns[1].count(","):
                raise UserError(f"{path}, line {number}: expected mel file|words|end times, got {line.strip()[:80]!r}; "
                                "preprocess again, or delete the file to train without word times")  # fmt: skip
            if mel in mels:
                lines[mel] = "|".join(columns)
    return lines


def parse(line: str) -> WordTimes | None:
    """What read_lines gives for one mel -> its words and times; None where the times are no growing numbers."""
    words, ends = line.split("|")
    try:
        times = WordTimes(tuple(words.split(",")), tuple(float(end) for end in ends.split(",")))
    except ValueError:
        return None
    growing = all(0 <= a <= b for a, b in zip((0.0, *times.ends), times.ends, strict=False))  # false for nan too
    return times if growing else None


def symbol_ends(text: str, times: WordTimes, duration: float, cleaner: str = "english") -> np.ndarray | None:
    """The second at which each symbol of the cleaned `text` ends, the end symbol being its last: float32 (T,), growing.

    A word's time goes evenly to its letters, a pause to the signs and spaces between its neighbours; what precedes the first
    word goes to the first symbol. None where words and text differ too much. Where a few differ (numbers, say, that are
    written in another way), these share their time. `duration`: of the utterance, in s.
    """
    written = _written(text)
    spoken = _spoken(times, cleaner, {word.key for word in written})
    matcher = difflib.SequenceMatcher(None, [w.key for w in spoken], [w.key for w in written], autojunk=False)
    n_same = sum(
        b_past - b
        for kind, a, a_past, b, b_past in matcher.get_opcodes()
        if kind == "equal" or (kind == "replace" and _may_read(spoken[a:a_past], written[b:b_past]))
    )
    if not spoken or n_same < LEAST_AGREEMENT * max(len(spoken), len(written)):
        return None
    positions, seconds = [0.0], [0.0]  # knots: where the text is when
    for kind, a, a_past, b, b_past in matcher.get_opcodes():
        if kind == "equal":
            for said, word in zip(spoken[a:a_past], written[b:b_past], strict=True):
                positions += [word.start, word.end]
                seconds += [said.start, said.end]
        elif kind == "replace":
            positions += [written[b].start, written[b_past - 1].end]
            seconds += [spoken[a].start, spoken[a_past - 1].end]
    seconds[-1] = max(seconds[-2], min(seconds[-1], duration - TAIL))
    ends = np.interp(np.arange(1, len(text) + 1), [*positions, len(text)], [*seconds, max(seconds[-1], duration)])
    return ends.astype(np.float32)


def _spoken(times: WordTimes, cleaner: str, written: Container[str]) -> list[_Spoken]:
    """The words and when they are said. Those that the text has in another form (BBC) are read as the text was; where that
    makes several of one, they share its time by their letters. Figures, of which other words may be made beside another
    word or sign (5 of "£5"), stand for whatever the text has in their place."""
    found, start = [], 0.0
    for word, end in zip(times.words, times.ends, strict=True):
        lower = word.lower()
        if _FIGURE.search(word):
            found.append(_Spoken(ANY, start, end))
            start = end
            continue
        keys = [_key(part) for part in _WORD.findall(lower if _key(lower) in written else clean(word, cleaner))]
        n_letters = sum(map(len, keys))
        for key in keys:
            part_end = start + (end - start) * len(key) / n_letters
            n_letters -= len(key)
            found.append(_Spoken(key, start, part_end))
            start = part_end
        start = end
    return found


def _may_read(said: Sequence[_Spoken], written: Sequence[_Written]) -> bool:
    """Whether these words of the text can be how figures are read."""
    return all(word.key == ANY for word in said) and len(written) <= LONGEST_READING * len(said)


def _written(text: str) -> list[_Written]:
    return [_Written(_key(match.group()), match.start(), match.end()) for match in _WORD.finditer(text.lower())]


def _key(word: str) -> str:
    return word.replace("'", "")
