"""When each symbol of a text is spoken, from the times of its words.

alignments.txt has one line for each utterance whose word times are known: mel file|words|ends, the words parted by commas,
silence being the empty word, and the second at which each of them ends.
"""

import difflib
import re
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthesizer.text import clean
from utils.cli import UserError

LEAST_AGREEMENT = 0.75  # share of the words that text and times must have in common
TAIL = 0.1  # s that the symbols after the last word get at least: where they have none, the end is never attended to

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
    spoken, written = _spoken(times, cleaner), _written(text)
    matcher = difflib.SequenceMatcher(None, [w.key for w in spoken], [w.key for w in written], autojunk=False)
    n_same = sum(block.size for block in matcher.get_matching_blocks())
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


def _spoken(times: WordTimes, cleaner: str) -> list[_Spoken]:
    """The words and when they are said; where the cleaner makes several of one, they share its time by their letters."""
    found, start = [], 0.0
    for word, end in zip(times.words, times.ends, strict=True):
        keys = [_key(part) for part in _WORD.findall(word.lower() if word.isascii() else clean(word, cleaner))]
        n_letters = sum(map(len, keys))
        for key in keys:
            part_end = start + (end - start) * len(key) / n_letters
            n_letters -= len(key)
            found.append(_Spoken(key, start, part_end))
            start = part_end
        start = end
    return found


def _written(text: str) -> list[_Written]:
    return [_Written(_key(match.group()), match.start(), match.end()) for match in _WORD.finditer(text.lower())]


def _key(word: str) -> str:
    return word.replace("'", "")
