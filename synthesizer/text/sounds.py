"""Words as the sounds that a pronouncing dictionary gives for them, so that a model says words that it was never taught.

cmudict/cmudict.dict.gz is the data of CMUdict as published, compressed.
"""

import functools
import gzip
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from synthesizer.text.symbols import PHONE_NAMES, PHONES

_DICTIONARY = Path(__file__).parent / "cmudict" / "cmudict.dict.gz"
# Words that are said in several ways, of which the dictionary has one.
_SEVERAL_WAYS = frozenset(
    (
        "absent affect affects aggregate analyses baths blessed closes collect combats compliment compliments consoles consort "
        "cursed decoy diagnoses discard discourse entrance entrances envelope envelopes escorts exploits export exports "
        "fragment fragments house implement implements initiates inset intern interns intimates inverse invite invites "
        "learned legitimate mandate mouth mouths overhaul overlap overlaps perfume perfumes precipitate proceeds process "
        "rebound rebounds relay relays replay replays reprint reprints transplant transplants used unused"
    ).split()
)
_WEAK_VOWEL = re.compile(r"[A-Z]{2}0 ?")
_HISSING, _VOICELESS = frozenset("S Z SH ZH CH JH".split()), frozenset("P T K F TH".split())

_SOUNDS = "".join(PHONES.values())
_WORD = re.compile(rf"(?<![\w{_SOUNDS}])(?<!\w')(?>[^\W_]{{2,}}(?:'[^\W_]+)*|[^\W_](?:'[^\W_]+)+)(?![{_SOUNDS}])")
_RUN = re.compile(rf"[^\W_]+(?:'[^\W_]+)*|[{_SOUNDS}]+")


@functools.cache
def dictionary() -> dict[str, str]:
    """Words in lower case -> names of sounds, "HH AH0 L OW1". Without words that are said in several ways (read, live, the)."""
    found: dict[str, str] = {}
    several = set(_SEVERAL_WAYS)
    text = re.sub(" #.*", "", gzip.decompress(_DICTIONARY.read_bytes()).decode("ascii"))  # without comments
    for line in text.splitlines():
        word, _, sounds = line.partition(" ")
        if not word.endswith(")"):
            found[word] = sounds
        elif _alike(sounds) != _alike(found[word := word.partition("(")[0]]):
            several.add(word)
    for word in several:
        found.pop(word, None)
    return found


def _alike(sounds: str) -> str:
    """What is left of a pronunciation without the differences that nobody minds: "often" has two, "employee" has one."""
    sounds = sounds.replace("HH W", "W").replace("Y UW", "UW").replace("AA", "AO").replace("ER0", "R")
    return _WEAK_VOWEL.sub("", sounds).strip()


@functools.lru_cache(maxsize=1 << 16)
def sounds_of(word: str) -> str:
    """The sounds of a word in lower case, a character each (symbols.PHONES); "" if it is unknown or said in several ways."""
    names = dictionary().get(word, "").split()
    if not names and word.endswith("'s") and (names := dictionary().get(word[:-2], "").split()):
        names += ["IH0", "Z"] if names[-1] in _HISSING else ["S" if names[-1] in _VOICELESS else "Z"]
    return "".join(PHONES[name] for name in names)


def with_sounds(text: str, share: float = 1.0, utterance: str = "") -> str:
    """A text as it is read, with the words of the dictionary as sounds, a character each; or a share of these words.

    Which of them depends on the utterance's name and the word's place alone. A single letter and an unknown word stay as they
    are.
    """

    def replaced(match: re.Match[str]) -> str:
        return (_is_chosen(share, utterance, match.start()) and sounds_of(match[0])) or match[0]

    return _WORD.sub(replaced, text)


def _is_chosen(share: float, utterance: str, place: int) -> bool:
    digest = hashlib.blake2b(f"{utterance} {place}".encode(), digest_size=4).digest()
    return share >= 1 or int.from_bytes(digest) < share * 2**32


def places(text: str, symbols: str) -> list[int]:
    """Where each character of `text`, and its end, stands in `symbols`, which is the same with some words as sounds."""
    found: list[int] = []
    for written, said in zip(_RUN.finditer(text), _RUN.finditer(symbols), strict=True):
        found += range(said.start() + len(found) - written.start(), said.start())  # what is between words is the same in both
        found += [said.start() + k * len(said[0]) // len(written[0]) for k in range(len(written[0]))]
    return [*found, *range(len(symbols) + len(found) - len(text), len(symbols) + 1)]


def spelled(text: str, symbols: str) -> list[str]:
    """What each of the symbols is in the text (see places): its letter, some letters of its word, or a sound in braces.

    Joined, they are the text as `shown`. "" where a word has more sounds than letters.
    """
    labels = [""] * len(symbols)
    for place, written in zip(places(text, symbols), _one_by_one(text), strict=False):
        labels[place] += written
    return labels


def _one_by_one(text: str) -> Iterator[str]:
    """The text as `shown`, in a part for each character."""
    for before, character, after in zip(" " + text, text, text[1:] + " ", strict=False):
        name = PHONE_NAMES.get(character)
        opening, closing = " " if before in PHONE_NAMES else "{", "" if after in PHONE_NAMES else "}"
        yield f"{opening}{name}{closing}" if name else character
