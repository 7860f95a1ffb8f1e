"""Text as the synthesizer reads it: a named cleaner, then one id per symbol, then the end symbol.

Both the symbols and the cleaner's name are saved with a model, so that another alphabet is a matter of configuration.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from synthesizer.text import english
from synthesizer.text.english.listed import listed
from utils.errors import UserError

PAD, END = "_", "~"
SYMBOLS = PAD + END + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!'\"(),-.:;? "  # 66, as in the published models

_VOWELS = listed("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW")
_CONSONANTS = listed("B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH")
# One character stands for each sound of ARPAbet, of those that Unicode leaves to everybody's own use, so that a text has as
# many characters as ids.
PHONES = {
    phone: chr(0xE000 + i)
    for i, phone in enumerate([*_CONSONANTS, *(vowel + stress for vowel in _VOWELS for stress in ("", "0", "1", "2"))])
}
_PHONE_NAMES = {character: phone for phone, character in PHONES.items()}
_IN_BRACES = re.compile(rf"\{{\s*((?:{'|'.join(PHONES)})(?:\s+(?:{'|'.join(PHONES)}))*)\s*\}}")
_IN_SOUNDS = re.compile(f"[{''.join(_PHONE_NAMES)}]+")

SYMBOL_SETS = {"english": SYMBOLS, "arpabet": SYMBOLS + "".join(PHONES.values())}


class TextError(UserError, ValueError):
    """A text of which nothing can be read."""


class Reading(NamedTuple):
    text: str  # of the model's symbols alone
    unread: tuple[str, ...]  # characters that have no symbol and no words, each once, in the order of the text


# ---- cleaners


def transliterate(text: str) -> str:
    """Any script to its nearest ASCII: "Zoë’s café" -> "Zoe's cafe". What has no likeness stays."""
    if text.isascii():
        return text
    from unidecode import unidecode

    composed = unicodedata.normalize("NFC", text)
    return "".join(character if character.isascii() else unidecode(character) or character for character in composed)


def collapse_whitespace(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def basic_cleaner(text: str) -> str:
    """Lower case, single spaces, letters and their accents as one character; for alphabets of one's own."""
    return collapse_whitespace(unicodedata.normalize("NFC", text).lower())


def transliteration_cleaner(text: str) -> str:
    """Any script to lower-case ASCII; for languages other than English."""
    return basic_cleaner(transliterate(text))


def english_cleaner(text: str) -> str:
    """Lower-case ASCII with everything that is written short written out, as it is said in English."""
    return collapse_whitespace(transliterate(english.expand(text)).lower())


CLEANERS: dict[str, Callable[[str], str]] = {
    "english": english_cleaner,
    "transliteration": transliteration_cleaner,
    "basic": basic_cleaner,
}


def clean(text: str, cleaner: str = "english") -> str:
    """The text as it will be read aloud, with the characters that no cleaner has words for. `cleaner`: a key of CLEANERS;
    another one is a UserError."""
    if cleaner not in CLEANERS:
        raise UserError(f"no cleaner is named {cleaner!r}: there are {', '.join(CLEANERS)}")
    return CLEANERS[cleaner](text)


# ---- symbols


def resolve_symbols(setting: str) -> str:
    """What a configuration says of the symbols -> all of them, the first being padding and end.

    A key of SYMBOL_SETS; "+äöüß": those of "english" and these; a UTF-8 file with every character that there is to be beside
    the space; or the symbols themselves, as this function gives them. UserError for anything else.
    """
    if setting in SYMBOL_SETS:
        return SYMBOL_SETS[setting]
    if setting.startswith(PAD + END):
        return setting
    if setting.startswith("+"):
        return _unique(SYMBOLS + setting[1:])
    try:
        characters = Path(setting).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"symbols={setting}: is none of {', '.join(SYMBOL_SETS)}, does not begin with +, and is no file of "
                        f"UTF-8 text ({error})", exit_code=2) from error  # fmt: skip
    found = _unique(PAD + END + " " + "".join(characters.split()))
    if not any(character.isalpha() for character in found):
        raise UserError(f"symbols={setting}: the file holds no letter", exit_code=2)
    return found


def _unique(characters: str) -> str:
    return "".join(dict.fromkeys(unicodedata.normalize("NFC", characters)))


def is_spoken(symbol: str) -> bool:
    """Whether it is a letter, a figure or a sound, and no sign."""
    return symbol.isalnum() or symbol in _PHONE_NAMES


def read(text: str, symbols: str = SYMBOLS, cleaner: str = "english") -> Reading:
    """The text as the model reads it, and what it leaves out.

    Sounds may stand in braces, {HH AH0 L OW1}, if they are among the symbols. TextError where they are not, and where no
    letter or figure is left.
    """
    cleaned = clean(_IN_BRACES.sub(_sounds, text), cleaner)
    unread = dict.fromkeys(c for c in cleaned if (c not in symbols or c in PAD + END) and not c.isspace())
    if sounds := [_PHONE_NAMES[c] for c in unread if c in _PHONE_NAMES]:
        raise TextError(f"the model has no symbol for the sound {sounds[0]} in {text[:80]!r}: write letters, or use a model "
                        "trained with --hparams symbols=arpabet")  # fmt: skip
    if unread:
        # A sign parts words, as in a|b; a letter or its accent does not.
        gaps = {c: "" if c.isalpha() or unicodedata.combining(c) else " " for c in unread}
        cleaned = collapse_whitespace("".join(gaps.get(c, c) for c in cleaned))
    if not any(map(is_spoken, cleaned)):
        raise TextError(f"nothing to read in the text {text[:80]!r}: none of its letters is among the model's symbols")
    return Reading("".join(c for c in cleaned if c in symbols), tuple(unread))


def _sounds(match: re.Match[str]) -> str:
    return "".join(PHONES[phone] for phone in match[1].split())


def shown(text: str) -> str:
    """A text as a person can read it: sounds in braces again."""
    return _IN_SOUNDS.sub(lambda match: "{" + " ".join(_PHONE_NAMES[c] for c in match[0]) + "}", text)


# ---- ids


def text_to_ids(text: str, symbols: str = SYMBOLS, cleaner: str = "english") -> list[int]:
    """Ids (indices in `symbols`) of the text as `read` gives it, with the end symbol's id appended. TextError as there."""
    index = {symbol: i for i, symbol in enumerate(symbols)}
    return [index[character] for character in read(text, symbols, cleaner).text] + [index[END]]


def spoken_length(ids: Sequence[int], symbols: str = SYMBOLS) -> int:
    """How many of the symbols come before those that end the text without being spoken: signs and the end symbol."""
    return max(i for i, symbol in enumerate(ids_to_text(ids, symbols), 1) if is_spoken(symbol))


def ids_to_text(ids: Sequence[int], symbols: str = SYMBOLS) -> str:
    """The text that `ids` spell, end and padding symbols included; sounds as one character each, see `shown`."""
    return "".join(symbols[i] for i in ids)
