"""When each symbol of a text is spoken, from the times of its words.

alignments.txt has a line for each utterance whose word times are known: mel file|words|ends. Words and ends are separated by
commas; the empty word is silence, and an end is the second at which the word ends.
"""

import difflib
import re
from collections.abc import Container, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthesizer.text.cleaners import clean
from synthesizer.text.sounds import places
from utils.data.paths import SynthesizerData
from utils.data.rows import has_marks
from utils.data.tables import damaged, read_marked

LEAST_AGREEMENT = 0.75  # share of the words that text and times must have in common
TAIL = 0.1  # s left for the symbols after the last word; without any, the end symbol is never attended to

ANY = ""  # key of a word with digits: it may match any words of the text
LONGEST_READING = 10  # words of text that one word with digits may match

_DIGIT = re.compile(r"\d")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


class WordTimes(NamedTuple):
    words: tuple[str, ...]  # "" is silence
    ends: tuple[float, ...]  # s


class _TimedWord(NamedTuple):
    key: str  # what is compared
    start: float  # s
    end: float


class _TextWord(NamedTuple):
    key: str
    start: int  # first symbol
    end: int  # past the last one


def read_word_times(path: Path, mels: Container[str]) -> dict[str, str]:
    """The lines of alignments.txt for these mel files, by mel file, to be parsed when used; {} if there is no such file.

    They stay text because a large corpus has hundreds of thousands. UserError for a line of another form.
    """
    lines = {}
    if not path.is_file():
        return lines
    remedy = "preprocess again, or delete the file to train without word times"
    for number, line in read_marked(path, remedy, must_be_marked=has_marks(SynthesizerData(path.parent))):
        mel, *columns = line.split("|")
        if len(columns) != 2 or columns[0].count(",") != columns[1].count(","):
            raise damaged(path, number, remedy, f"expected mel file|words|end times, got {line.strip()[:80]!r}")
        if mel in mels:
            lines[mel] = "|".join(columns)
    return lines


def parse_word_times(line: str) -> WordTimes | None:
    """A value of read_word_times -> words and times; None if the times are not ascending numbers."""
    words, ends = line.split("|")
    try:
        times = WordTimes(tuple(words.split(",")), tuple(float(end) for end in ends.split(",")))
    except ValueError:
        return None
    ascending = all(0 <= a <= b for a, b in zip((0.0, *times.ends), times.ends, strict=False))  # false for nan too
    return times if ascending else None


def symbol_ends(text: str, times: WordTimes, duration: float, cleaner: str = "english", symbols: str = "") -> np.ndarray | None:
    """The second at which each symbol of the cleaned `text` ends: float32 (T,), ascending; the last one is the end symbol.

    symbols: the text with words as sounds, if it has any; T counts its symbols. A word's time is shared evenly by its letters
    or sounds, and a pause by the punctuation and spaces around it. What precedes the first word belongs to the first symbol.
    Words that differ (numbers written in another way) share their time. None if text and words differ too much. `duration` is
    the utterance's, in s.
    """
    text_words = _text_words(text)
    timed_words = _timed_words(times, cleaner, {word.key for word in text_words})
    matcher = difflib.SequenceMatcher(None, [w.key for w in timed_words], [w.key for w in text_words], autojunk=False)
    n_same = sum(
        b_past - b
        for kind, a, a_past, b, b_past in matcher.get_opcodes()
        if kind == "equal" or (kind == "replace" and _may_match(timed_words[a:a_past], text_words[b:b_past]))
    )
    if not timed_words or n_same < LEAST_AGREEMENT * max(len(timed_words), len(text_words)):
        return None
    positions, seconds = [0], [0.0]  # characters of the text, and when they are spoken
    for kind, a, a_past, b, b_past in matcher.get_opcodes():
        if kind == "equal":
            for timed, word in zip(timed_words[a:a_past], text_words[b:b_past], strict=True):
                positions += [word.start, word.end]
                seconds += [timed.start, timed.end]
        elif kind == "replace":
            positions += [text_words[b].start, text_words[b_past - 1].end]
            seconds += [timed_words[a].start, timed_words[a_past - 1].end]
    seconds[-1] = max(seconds[-2], min(seconds[-1], duration - TAIL))
    symbols = symbols or text
    at = places(text, symbols)
    positions = [at[position] for position in (*positions, len(text))]
    ends = np.interp(np.arange(1, len(symbols) + 1), positions, [*seconds, max(seconds[-1], duration)])
    return ends.astype(np.float32)


def _timed_words(times: WordTimes, cleaner: str, text_keys: Container[str]) -> list[_TimedWord]:
    """The words with their times, cleaned as the text was unless the text has them as they are.

    Where cleaning makes several words of one (BBC), they share its time by their letters. Words with digits match anything:
    how they are read depends on their neighbours (5 in "£5").
    """
    found, start = [], 0.0
    for word, end in zip(times.words, times.ends, strict=True):
        if _DIGIT.search(word):
            found.append(_TimedWord(ANY, start, end))
            start = end
            continue
        lower = word.lower()
        keys = [_key(part) for part in _WORD.findall(lower if _key(lower) in text_keys else clean(word, cleaner))]
        n_letters = sum(map(len, keys))
        for key in keys:
            part_end = start + (end - start) * len(key) / n_letters
            n_letters -= len(key)
            found.append(_TimedWord(key, start, part_end))
            start = part_end
        start = end
    return found


def _may_match(timed: Sequence[_TimedWord], words: Sequence[_TextWord]) -> bool:
    """Whether these words of the text can be the reading of words with digits."""
    return all(word.key == ANY for word in timed) and len(words) <= LONGEST_READING * len(timed)


def _text_words(text: str) -> list[_TextWord]:
    return [_TextWord(_key(match.group()), match.start(), match.end()) for match in _WORD.finditer(text.lower())]


def _key(word: str) -> str:
    return word.replace("'", "")
