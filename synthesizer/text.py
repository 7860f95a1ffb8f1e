"""Text as the synthesizer reads it: a named cleaner, then one id per symbol, then the end symbol.

Both the symbols and the cleaner's name are saved with a model, so that another alphabet is a matter of configuration.
"""

import re
from collections.abc import Callable, Sequence

from synthesizer import english
from utils.cli import UserError

PAD, END = "_", "~"
SYMBOLS = PAD + END + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!'\"(),-.:;? "  # 66, as in the published models


class TextError(UserError, ValueError):
    """A text of which nothing can be read."""


def transliterate(text: str) -> str:
    """Any script to its nearest ASCII: "Zoë’s café" -> "Zoe's cafe"."""
    if text.isascii():
        return text
    from unidecode import unidecode

    return unidecode(text)


def collapse_whitespace(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def basic_cleaner(text: str) -> str:
    """Lower case, single spaces; for alphabets of one's own."""
    return collapse_whitespace(text.lower())


def transliteration_cleaner(text: str) -> str:
    """Any script to lower-case ASCII; for languages other than English."""
    return basic_cleaner(transliterate(text))


def english_cleaner(text: str) -> str:
    """Lower-case ASCII with money, numbers, ordinals, years and abbreviations written out."""
    return collapse_whitespace(english.expand(transliterate(english.expand_money(text)).lower()))


CLEANERS: dict[str, Callable[[str], str]] = {
    "english": english_cleaner,
    "transliteration": transliteration_cleaner,
    "basic": basic_cleaner,
}


def clean(text: str, cleaner: str = "english") -> str:
    """The text as it will be read aloud. `cleaner`: a key of CLEANERS; another one is a UserError."""
    if cleaner not in CLEANERS:
        raise UserError(f"no cleaner is named {cleaner!r}: there are {', '.join(CLEANERS)}")
    return CLEANERS[cleaner](text)


def text_to_ids(text: str, symbols: str = SYMBOLS, cleaner: str = "english") -> list[int]:
    """Ids (indices in `symbols`) of the cleaned text, with the end symbol's id appended.

    Characters that are not in `symbols` are dropped. TextError when no letter or digit is left.
    """
    index = {symbol: i for i, symbol in enumerate(symbols)}
    kept = [character for character in clean(text, cleaner) if character in index and character not in PAD + END]
    if not any(character.isalnum() for character in kept):
        raise TextError(f"nothing to read in the text {text[:80]!r}: none of its letters is among the model's symbols")
    return [index[character] for character in kept] + [index[END]]


def spoken_length(ids: Sequence[int], symbols: str = SYMBOLS) -> int:
    """How many of the symbols come before those that end the text without being spoken: signs and the end symbol."""
    return max(i for i, symbol in enumerate(ids_to_text(ids, symbols), 1) if symbol.isalnum())


def ids_to_text(ids: Sequence[int], symbols: str = SYMBOLS) -> str:
    """The text that `ids` spell, end and padding symbols included."""
    return "".join(symbols[i] for i in ids)
