"""The symbols that a model reads. They are saved with its weights, so another alphabet is a setting."""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from utils.errors import UserError

PAD, END = "_", "~"
SYMBOLS = PAD + END + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!'\"(),-.:;? "  # 66, as in the published models

_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split()
_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split()
# Each ARPAbet phone is one character of Unicode's private use area, so a text has as many characters as ids.
PHONES = {
    phone: chr(0xE000 + i)
    for i, phone in enumerate([*_CONSONANTS, *(vowel + stress for vowel in _VOWELS for stress in ("", "0", "1", "2"))])
}
PHONE_NAMES = {character: phone for phone, character in PHONES.items()}
_ANY_PHONE = "|".join(PHONES)
_IN_BRACES = re.compile(rf"\{{\s*((?:{_ANY_PHONE})(?:\s+(?:{_ANY_PHONE}))*)\s*\}}")
_PHONE_CHARACTERS = re.compile(f"[{''.join(PHONE_NAMES)}]+")

SYMBOL_SETS = {"english": SYMBOLS, "arpabet": SYMBOLS + "".join(PHONES.values())}


def resolve_symbols(setting: str) -> str:
    """The value of the setting `symbols` -> all symbols, padding and end first.

    A key of SYMBOL_SETS; "+äöüß", which adds these to "english"; a UTF-8 file that lists every character besides the space;
    or a string of symbols that this function returned earlier. UserError for anything else.
    """
    if setting in SYMBOL_SETS:
        return SYMBOL_SETS[setting]
    if setting.startswith(PAD + END):
        return setting
    if setting.startswith("+"):
        return _unique(SYMBOLS + setting[1:])
    try:
        characters = Path(setting).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        known = ", ".join(SYMBOL_SETS)
        problem = f"is none of {known}, does not begin with +, and is no file of UTF-8 text ({error})"
        raise UserError(f"symbols={setting}: {problem}", exit_code=2) from error
    found = _unique(PAD + END + " " + "".join(characters.split()))
    if not any(character.isalpha() for character in found):
        raise UserError(f"symbols={setting}: the file holds no letter", exit_code=2)
    return found


def _unique(characters: str) -> str:
    """Each once, without those that nobody sees, such as control characters."""
    seen = dict.fromkeys(unicodedata.normalize("NFC", characters))
    return "".join(c for c in seen if unicodedata.category(c) not in ("Cc", "Cf"))


def is_spoken(symbol: str) -> bool:
    """Whether it is a letter, a digit or a phone, rather than punctuation."""
    return symbol.isalnum() or symbol in PHONE_NAMES


def spoken_length(ids: Sequence[int], symbols: str = SYMBOLS) -> int:
    """Number of symbols up to the last one that is spoken: without final punctuation and the end symbol."""
    return max(i for i, symbol in enumerate(ids_to_text(ids, symbols), 1) if is_spoken(symbol))


def to_ids(text: str, symbols: str = SYMBOLS) -> list[int]:
    """Indices in `symbols` of a text of these symbols, then the end symbol's."""
    index = {symbol: i for i, symbol in enumerate(symbols)}
    return [index[character] for character in text + END]


def ids_to_text(ids: Sequence[int], symbols: str = SYMBOLS) -> str:
    """The text that `ids` spell, end and padding included. A phone is one character; `shown` makes it readable."""
    return "".join(symbols[i] for i in ids)


def phones_to_characters(text: str) -> str:
    """Phones in braces, {HH AH0 L OW1}, as one character each."""
    return _IN_BRACES.sub(lambda match: "".join(PHONES[phone] for phone in match[1].split()), text)


def shown(text: str) -> str:
    """A text for people to read: phones in braces again."""
    return _PHONE_CHARACTERS.sub(lambda match: "{" + " ".join(PHONE_NAMES[c] for c in match[0]) + "}", text)
