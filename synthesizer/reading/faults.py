"""Finds skipped, repeated and unfinished words from the alignment."""

import difflib
import re
from typing import NamedTuple

import numpy as np

from synthesizer.text import clean
from synthesizer.text.sounds import places
from synthesizer.text.symbols import is_spoken, phones_to_characters, shown

_AROUND = ".,;:!?…\"'“”‘’()[]«»*_"  # not part of a word, as it is named


class Limits(NamedTuple):
    """Thresholds that separate spoken words from missed ones, tuned against a speech recognizer (docs/text.md)."""

    per_letter: float = 0.005  # s; nobody speaks as fast
    shortest: int = 2  # letters; whether such a short word was skipped cannot be judged by itself
    share: float = 0.2  # of the time that its letters should take; a word with less was skipped
    early: float = 0.5  # of the time, for words after the last symbol on which the attention stayed
    most_share: float = 5.0  # the speech is stuck on a word that takes this share
    longest: float = 1.5  # s, and longer than this
    held: float = 0.1  # s that the attention must stay to count; shorter visits are not heard
    far: int = 5  # symbols beyond a word after which a return to it is a repetition


class Word(NamedTuple):
    """A word as written, or several that are read together, such as "5 kg"."""

    written: str
    start: int  # its first symbol in the text as it is read
    stop: int  # past its last symbol


def words(text: str, reading: str, cleaner: str = "english", symbols: str = "") -> list[Word]:
    """The words of the text, and where each stands in `symbols`, which is how the model gets it (a character a symbol).

    reading: the same with all words in letters, which is meant if symbols are not given.
    """
    tokens = phones_to_characters(text).split()
    alone = [(_key(part), i) for i, token in enumerate(tokens) for part in re.split(r"[\s-]+", clean(token, cleaner))]
    alone = [(key, i) for key, i in alone if key]
    read = [match for match in re.finditer(r"[^\s-]+", reading) if _key(match[0])]
    matcher = difflib.SequenceMatcher(None, [key for key, _ in alone], [_key(match[0]) for match in read], autojunk=False)
    owners: list[tuple[int, int]] = []  # for each word of the reading, the first and the last token that it stands for
    for _, a, a_past, b, b_past in matcher.get_opcodes():
        of = [i for _, i in alone[a:a_past]]
        if len(of) == b_past - b:
            owners += [(i, i) for i in of]
        elif b < b_past:  # read otherwise than alone, as 5 is in "£5"
            first = owners[-1] if owners else (0, 0)
            owners += [(of[0], of[-1]) if of else first] * (b_past - b)
    found: list[tuple[int, int, int, int]] = []
    for match, (first, last) in zip(read, owners, strict=True):
        if found and first <= found[-1][1]:
            was_first, was_last, start, _ = found.pop()
            found.append((was_first, max(was_last, last), start, match.end()))
        else:
            found.append((first, last, match.start(), match.end()))
    spans = ((first, last, *_without_marks(reading, start, stop)) for first, last, start, stop in found)
    at = places(reading, symbols or reading)
    return [Word(_named(tokens[first : last + 1]), at[start], at[stop]) for first, last, start, stop in spans]


def _without_marks(reading: str, start: int, stop: int) -> tuple[int, int]:
    letters = [i for i in range(start, stop) if is_spoken(reading[i])]
    return letters[0], letters[-1] + 1


def _key(word: str) -> str:
    return "".join(filter(is_spoken, word.lower()))


def _named(tokens: list[str]) -> str:
    text = shown(" ".join(tokens))
    return text.strip(_AROUND) or text


def missed_words(alignment: np.ndarray, said: list[Word], step_seconds: float) -> list[str]:
    """Of the words of a text, those with one of the faults of `word_faults`."""
    is_missed = np.any(list(word_faults(alignment, said, step_seconds).values()), axis=0)
    return [word.written for word, missed in zip(said, is_missed, strict=True) if missed]


def word_faults(
    alignment: np.ndarray,
    said: list[Word],
    step_seconds: float,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
) -> dict[str, np.ndarray]:
    """Which words were skipped, not reached, repeated, and which the speech was stuck on: bool (words,) each.

    alignment: (decoder steps, symbols).
    """
    held = np.array([alignment[:, word.start : word.stop].sum() for word in said])  # steps
    starts, lengths = np.array([(word.start, word.stop - word.start) for word in said]).reshape(-1, 2).T
    skipped = held * step_seconds < limits.per_letter * lengths
    if skipped.all():
        return {"skipped": ~skipped, "cut": skipped, "stuck": ~skipped, "repeated": ~skipped}
    expected = lengths * np.median((held / lengths)[~skipped])
    skipped |= held < limits.share * expected
    skipped &= (lengths > limits.shortest) | beside(skipped)
    stuck = (held > limits.most_share * expected) & (held * step_seconds > limits.longest)
    path, n_held = alignment.argmax(axis=1), max(1, round(limits.held / step_seconds))
    windows = np.lib.stride_tricks.sliding_window_view(path, min(n_held, len(path)))
    lowest, highest = windows.min(axis=1), windows.max(axis=1)
    reached = np.maximum.accumulate(lowest)  # the furthest symbol held so far
    cut = (starts > reached[-1]) & np.logical_and.accumulate((held < limits.early * expected)[::-1])[::-1]
    repeated = np.zeros(len(said), bool)
    for i, word in enumerate(said):
        beyond = np.flatnonzero(reached >= word.stop + limits.far)
        if len(beyond):  # said before, and held again
            was_said = alignment[: beyond[0], word.start : word.stop].sum() >= limits.share * expected[i]
            repeated[i] = was_said and ((lowest >= word.start) & (highest < word.stop))[beyond[0] :].any()
    return {"skipped": skipped & ~cut, "cut": cut, "stuck": stuck, "repeated": repeated}


def beside(which: np.ndarray) -> np.ndarray:
    """Those whose neighbour is one of these: bool (n,) -> bool (n,)"""
    padded = np.pad(which, 1)
    return padded[:-2] | padded[2:]
