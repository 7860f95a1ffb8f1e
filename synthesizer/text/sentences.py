"""Text of any length as pieces that can be spoken in one breath, each with the kind of pause that follows it.

Sentences are found by rules for English that also know the full stops of other scripts.
"""

import bisect
import enum
import itertools
import math
import re
import string
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from synthesizer.text.english.abbreviations import ABBREVIATIONS, BEFORE_NUMBER, LETTERED
from synthesizer.text.english.addresses import ENDINGS
from synthesizer.text.english.signs import FOOTNOTE
from synthesizer.text.english.tables import STARTERS
from synthesizer.text.english.units import UNITS


class Pause(enum.Enum):
    CLAUSE = "clause"
    SENTENCE = "sentence"
    PARAGRAPH = "paragraph"


class Piece(NamedTuple):
    text: str
    pause: Pause  # follows the text


# Characters. About 0.8 s of speech, half the shortest utterance that models train on by default (1.6 s).
SHORT = 12

# ---- marks

_FOREIGN_MARKS = "。！？؟।॥۔։።"
_MARKS = ".!?…" + _FOREIGN_MARKS
_QUOTES = "\"'”’»›"
_CLOSERS = _QUOTES + ")]}>*_」』）"
_BULLETS = "•⁃*-"
_OPENERS = "\"'“‘„«‹([{<*_—–-•⁃¿¡「『（"
_JOINED = re.compile(  # where the space after a sentence is missing: "end.Next", and in scripts that have none
    rf"[{_FOREIGN_MARKS}]+[{re.escape(_CLOSERS)}]*(?=[\w“‘「『（《])"
    r"|(?<![^\W\d_]\.)\b[A-Z]?[a-z]+(?<=[a-z]{2})[.!?…]+[\"”]?(?=[\"“]?([A-Z][a-z]*)(?![\w@]|\.\w))"
)
_LETTERS = re.compile(r"[^\W\d_]{1,2}(?:\.[^\W\d_]{1,2})+")  # U.S, Ph.D
_NUMBERED = re.compile(r"([•⁃]?\(?)(\d{1,3}|[a-z]|[ivx]{2,5})([.)]{1,2}) |[•⁃] ")
_ROMAN = "i ii iii iv v vi vii viii ix x xi xii".split()
_ITEM = re.compile(r"\d{1,3}|[IVX]+|[A-Za-z]")
# A word cut at the end of a line, inter-\nnational; what goes before the hyphen may be a compound already, state-of-\nthe-art.
_CUT_WORD = re.compile(r"(?<![\w-])(\w[\w'’-]*)(?<!-)([-\u2010\u00ad])[^\S\n]*\n\s*([^\W_]+)")
COMPOUNDING = frozenset(  # words that keep a hyphen after them; their hyphens seldom cut a longer word
    (
        "well ill self half quasi cross all non anti high low long short near far old new young big small full hard soft "
        "deep wide late early best better first second third fourth last next left right back front north south east west "
        "black white red blue green grey gray dark light bright one two three four five six seven eight nine twelve "
        "twenty thirty forty fifty sixty seventy eighty ninety hundred mother father brother sister daughter great grand "
        "vice free open home hand heart life time year day good bad much world state"
    ).split()
)
_SAYS = re.compile(  # not in reported speech: Anna asked whether
    r"(?:\S+ )?(?:asked|said|cried|called|replied|answered|shouted|whispered|exclaimed|murmured|added|demanded)\b"
    r"(?! (?:that|what|if|whether|how|why|no|nothing)\b)"
)
# A full stop may follow these inside a sentence.
_NEVER_LAST = frozenset("mr mrs ms messrs dr drs prof mt vs v cf viz ca approx avg incl excl e.g i.e a.k.a".split())
_DATES = frozenset("jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun".split())
_OTHERS = frozenset("n° al ed eds trans ibid sq cu hr hrs pres supt cmdr".split())
_SHORT_FORMS = _DATES | _OTHERS | ABBREVIATIONS.keys() | BEFORE_NUMBER.keys()
_WORDS_TOO = frozenset("no nos art max min mar jun sat sun wed".split())  # short for something only where a number follows
_UNIT_SYMBOLS = frozenset([*UNITS, "in"])
_HALVES = ("a.m", "p.m")
_BEFORE_TIME = frozenset("at by before after around about until till from since on".split())
_AFTER_TIME = frozenset(  # 10 a.m. Monday
    "monday tuesday wednesday thursday friday saturday sunday est edt cst cdt mst mdt pst pdt gmt utc eastern pacific".split()
)
_EXCLAIMED = frozenset("yahoo jeopardy".split())  # names with an exclamation mark


def sentences(paragraph: str) -> list[str]:
    """The sentences of one paragraph, with single spaces between words."""
    words = list(_words(paragraph))
    found, first = [], 0
    for end in range(1, len(words) + 1):
        if end == len(words) or _ends(words, first, end - 1) or _follows(words[first], words[end]):
            found.append("".join(words[first:end]).rstrip())
            first = end
    return found


def _unwrapped(lines: Iterable[str]) -> str:
    """The lines of a paragraph as one. A hyphen at the end of a line is left out where it cut a word."""
    return " ".join(_CUT_WORD.sub(_mended, "\n".join(lines)).split("\n"))


def _mended(match: re.Match[str]) -> str:
    first, hyphen, rest = match.groups()
    if rest.lower() in ("and", "or", "to", "nor"):  # pre- and post-war
        return f"{first}{hyphen} {rest}"
    is_cut = hyphen == "\u00ad" or (first.isalpha() and rest[0].islower() and first.lower() not in COMPOUNDING)
    return first + ("" if is_cut else hyphen) + rest


def _words(paragraph: str) -> Iterator[str]:
    """The words, each with the space that follows it; "end.Next" is two of them."""
    for word in paragraph.split():
        start = 0
        if "://" not in word and "@" not in word and not word.startswith("www."):
            for match in _JOINED.finditer(word):
                if (match[1] or "").lower() not in ENDINGS:
                    yield word[start : match.end()]
                    start = match.end()
        yield word[start:] + " "


def _follows(item: str, word: str) -> bool:
    """Whether the sentence begins with the number of an item of a list, and this is the next: 1. and 2., (a) and (b)."""
    one, other = _NUMBERED.fullmatch(item), _NUMBERED.fullmatch(word)
    if not (one and other) or one.group(1, 3) != other.group(1, 3):
        return False
    labels = one[2], other[2]
    if None in labels:
        return labels == (None, None)
    if labels[0].isdigit() and labels[1].isdigit():
        return int(labels[1]) == int(labels[0]) + 1
    return labels in itertools.pairwise(_ROMAN) or labels in itertools.pairwise(string.ascii_lowercase)


def _ends(words: list[str], first: int, i: int) -> bool:
    """Whether the sentence that begins with words[first] ends with words[i], which is not the last word."""
    word = FOOTNOTE.sub("", words[i].rstrip())
    body = word.rstrip(_CLOSERS)
    core = body.rstrip(_MARKS)
    marks, closers = body[len(core) :], word[len(body) :]
    following = words[i + 1].rstrip()
    if core.lower() in _HALVES and i - first < 4 and words[first].rstrip().lower() in _BEFORE_TIME:
        return False  # At 5 a.m. Mr. Smith left
    if not marks or core in ("(", "[") or (following[0] in _MARKS and not following.strip(_MARKS + _CLOSERS)):
        return False  # [...] and a spaced . . . ellipsis
    following = following.lstrip(_OPENERS)
    is_lower = following[:1].islower()
    if is_lower and closers:  # "Why?" she asked
        return False
    if closers and closers[-1] in _QUOTES and marks[-1] in "!?" and _names_speaker(words, i + 1):
        return False
    if marks.strip(".…"):
        return not (is_lower and core.lower() in _EXCLAIMED)
    if marks != "." or not core:  # an ellipsis; "I" has a capital everywhere
        return not (is_lower or following[:1].isdigit() or re.match(r"I\b", following))
    previous = words[i - 1].rstrip() if i > first and words[i - 1].rstrip() not in _BULLETS else ""
    return _stop_ends(core.lstrip(_OPENERS), previous, following)


def _names_speaker(words: list[str], i: int) -> bool:
    """Whether "Anna asked" or "Anna Smith asked" stands at words[i]."""
    name = words[i].rstrip()
    return name[:1].isupper() and name.lower() not in STARTERS and bool(_SAYS.match("".join(words[i + 1 : i + 4])))


def _stop_ends(word: str, previous: str, following: str) -> bool:
    """Whether the full stop after `word` ends a sentence; `previous` is empty where the sentence begins with the word."""
    if not previous and _ITEM.fullmatch(word):
        return False  # 1. First
    word = re.split("[-/—–]", word)[-1]
    lower = word.lower()
    is_capital = bool(following) and not following[0].islower() and not following[0].isdigit()
    starts = is_capital and re.match(r"\w*", following)[0].lower() in STARTERS
    if lower in _NEVER_LAST:
        return False
    if lower == "st":
        return starts and previous[:1].isupper()  # on Elm St. They; but: in St. Paul
    if word in _UNIT_SYMBOLS and previous[:1].isdigit():
        return is_capital
    if len(word) == 1 and word.isalpha():
        return _letter_ends(word, previous, following, is_capital, starts)
    if _LETTERS.fullmatch(word):
        is_time = lower in _HALVES and following.rstrip(".,").lower() not in _AFTER_TIME
        return is_capital if is_time else starts
    if lower in _WORDS_TOO:
        return not following[:1].isdigit()
    if lower in BEFORE_NUMBER and re.match(r"[A-Z]+\b", following):
        return False  # Fig. A
    if lower in _SHORT_FORMS:
        return is_capital if lower == "etc" else starts
    is_unknown = word.isascii() and word.isalpha() and not word.isupper() and not re.search("[aeiouy]", lower)
    return is_capital or not is_unknown or following[:1].isdigit()


def _letter_ends(letter: str, previous: str, following: str, is_capital: bool, starts: bool) -> bool:
    """The same for a single letter: an initial, "plan B." or "it is I."."""
    if letter == "I":
        return starts or not (previous.istitle() or re.match(r"[A-Z]\.", following))
    if letter.islower():
        return is_capital
    return starts or (is_capital and previous.title() in LETTERED)


# ---- pieces

_BREAK = re.compile(
    r"(?P<whole>\{[A-Z0-2 ]+\}|\d{1,3}(?: \d{3}){1,6}(?!\d)|(?:https?://|www\.)\S+)"
    r"|(?P<clause>(?<=[,;:—–)\]]) |(?<=[,;:)\]][\"'”’]) |(?<= -) | (?=[(\[])"
    r"|(?<=[，、；：])(?=\S)|(?<=[^\W\d_][—–,;])(?=[^\W\d_]))"
    r"|(?P<conjunction> (?=(?:and|but|or|nor|because|which|who|that|while|when|where|if|though|although|unless|until|since"
    r"|before|after|as)\b))"
    r"|(?P<space> )"
)


def split(text: str, limit: int = 200) -> list[Piece]:
    """The text as pieces of at most `limit` characters; only a word, number or {sounds} longer than that is longer.

    Nothing but white space is left out. An empty line parts paragraphs; the last piece has the pause of a paragraph.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    found = []
    for is_text, lines in itertools.groupby(text.splitlines(), key=lambda line: bool(line.strip())):
        if is_text:
            pieces = [piece for sentence in sentences(_unwrapped(lines)) for piece in _cut(sentence, limit)]
            *others, last = _join_short(pieces, limit)
            found += [*others, last._replace(pause=Pause.PARAGRAPH)]
    return found


def _cut(sentence: str, limit: int) -> list[Piece]:
    """A sentence as parts of similar length: at clause marks, or else at conjunctions, or else at spaces."""
    if len(sentence) <= limit:
        return [Piece(sentence, Pause.SENTENCE)]
    found = [(match.lastgroup, match.end()) for match in _BREAK.finditer(sentence) if match.lastgroup != "whole"]
    clauses, conjunctions = ([end for kind, end in found if kind == wanted] for wanted in ("clause", "conjunction"))
    anywhere = [end for _, end in found]

    def parts(start: int, stop: int) -> Iterator[str]:
        length = len(sentence[start:stop].rstrip())
        n_parts = math.ceil(length / limit)
        middle = start + length * (n_parts // 2) / n_parts
        for positions in (clauses, conjunctions, anywhere):
            tolerance = length if positions is anywhere else length / n_parts / 2
            nearest = _nearest(positions, middle, start, stop)
            if n_parts > 1 and nearest is not None and abs(nearest - middle) <= tolerance:
                yield from parts(start, nearest)
                yield from parts(nearest, stop)
                return
        yield sentence[start:stop].strip()

    *others, last = parts(0, len(sentence))
    return [*(Piece(part, Pause.CLAUSE) for part in others), Piece(last, Pause.SENTENCE)]


def _nearest(positions: list[int], middle: float, start: int, stop: int) -> int | None:
    """The position nearest to the middle, between start and stop."""
    i = bisect.bisect(positions, middle)
    inside = [position for position in positions[max(i - 1, 0) : i + 1] if start < position < stop]
    return min(inside, key=lambda position: abs(position - middle), default=None)


def _join_short(pieces: list[Piece], limit: int) -> list[Piece]:
    """Short pieces together with a neighbour, where both fit the limit."""
    joined = pieces[:1]
    for piece in pieces[1:]:
        last = joined[-1]
        if (_is_short(last.text) or _is_short(piece.text)) and len(last.text) + 1 + len(piece.text) <= limit:
            joined[-1] = Piece(f"{last.text} {piece.text}", piece.pause)
        else:
            joined.append(piece)
    return joined


def _is_short(text: str) -> bool:
    """Whether a model would fail on it alone: a few characters, or one word (of a script that has spaces)."""
    return len(text) < SHORT or (" " not in text and len(text) < 2 * SHORT)
