"""From text as people write it to the symbols of a model. The cleaner's name is saved with the model."""

import json
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from synthesizer.text import english
from synthesizer.text.sounds import with_sounds
from synthesizer.text.symbols import END, PAD, PHONE_NAMES, SYMBOLS, is_spoken, phones_to_characters, to_ids
from utils.errors import UserError


class TextError(UserError, ValueError):
    """A text that cannot be read aloud."""


class Unread(NamedTuple):
    """A character left out because it has neither symbol nor words."""

    character: str
    around: str  # the text around its first occurrence


class Reading(NamedTuple):
    text: str  # only the model's symbols
    unread: tuple[Unread, ...]  # each character once, in order
    symbols: str  # the text as the model gets it: with words as sounds, if it was trained with them


_PLAIN = str.maketrans(
    dict.fromkeys("“”„‟«»″〝〞", '"')
    | dict.fromkeys("‘’‚‛′´ʼ‹›`", "'")
    | dict.fromkeys("‐‑‒–−", "-")
    | dict.fromkeys("—―", "--")
    | {"…": "..."}
    | {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}  # ligatures: ff, fi, fl, ...
)
_RANGE = re.compile(r"(?<=\d)\s?[–—‒]\s?(?=[$£€]?\d)")


def plain_typography(text: str, symbols: str = "") -> str:
    """Quotes, dashes, ellipses, ligatures and spaces in plain characters, except those that are among `symbols`."""
    if text.isascii() and "`" not in text:
        return text
    text = unicodedata.normalize("NFC", text)
    return "".join(c if c in symbols else _plain(c) for c in _RANGE.sub("-", text))


def _plain(character: str) -> str:
    if unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f":  # invisible
        return ""
    return " " if character.isspace() else character.translate(_PLAIN)


def transliterate(text: str) -> str:
    """Any script to its nearest ASCII: "Zoë’s café" -> "Zoe's cafe". Characters without an equivalent stay."""
    if text.isascii():
        return text
    from unidecode import unidecode

    return "".join(character if character.isascii() else unidecode(character) or character for character in text)


def collapse_whitespace(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def basic_cleaner(text: str) -> str:
    """Lower case. For alphabets of your own."""
    return collapse_whitespace(unicodedata.normalize("NFC", text.lower()))


def transliteration_cleaner(text: str) -> str:
    """Any script to lower-case ASCII. For languages other than English."""
    return basic_cleaner(transliterate(text))


def english_cleaner(text: str) -> str:
    """Lower-case ASCII, with numbers, abbreviations and signs written out as they are said in English."""
    return collapse_whitespace(transliterate(english.expand(text)).lower())


CLEANERS: dict[str, Callable[[str], str]] = {
    "english": english_cleaner,
    "transliteration": transliteration_cleaner,
    "basic": basic_cleaner,
}


RULES = "rules:"  # then JSON, as resolve_cleaner makes it from a file


def resolve_cleaner(setting: str) -> str:
    """The value of the setting `cleaner` -> a key of CLEANERS, or the rules in a file of lines `written<tab>spoken`.

    The rules go wherever the setting goes, such as into a checkpoint. UserError for anything else.
    """
    if setting in CLEANERS or setting.startswith(RULES):
        return setting
    try:
        lines = Path(setting).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        known = f"cleaner must be one of {', '.join(CLEANERS)}, or a file of rules in UTF-8"
        raise UserError(f"{known}, not {setting} ({error})", exit_code=2) from error
    rules = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
    if wrong := [rule for rule in rules if len(rule) != 2 or not rule[0].strip()]:
        raise UserError(f"cleaner={setting}: {wrong[0][0][:40]!r} is not of the form: written, a tab, spoken", exit_code=2)
    return RULES + json.dumps(dict(rules), ensure_ascii=False)


@lru_cache(maxsize=8)
def _by_rules(cleaner: str) -> Callable[[str], str]:
    """The cleaner that rules describe: they apply in their order, then everything is lower case.

    A rule of one character applies everywhere, a longer one only where its letters are not part of a longer word.
    """
    rules = []
    for written, spoken in json.loads(cleaner.removeprefix(RULES)).items():
        whole = [r"(?<!\w)" * written[0].isalnum(), r"(?!\w)" * written[-1].isalnum()] if len(written) > 1 else ["", ""]
        rules.append((re.compile(f"{whole[0]}{re.escape(unicodedata.normalize('NFC', written))}{whole[1]}"), spoken))

    def apply(text: str) -> str:
        for written, spoken in rules:
            text = written.sub(lambda match, spoken=spoken: spoken, text)
        return basic_cleaner(text)

    return apply


def clean(text: str, cleaner: str = "english", symbols: str = SYMBOLS) -> str:
    """The text as it will be read aloud. `cleaner` is a key of CLEANERS or rules (resolve_cleaner), else UserError.

    Every cleaner gets accented letters as one character and plain typography, except what is among `symbols`. Characters
    that the cleaner has no words for stay; `read` leaves them out.
    """
    if cleaner not in CLEANERS and not cleaner.startswith(RULES):
        raise UserError(f"no cleaner is named {cleaner!r}: there are {', '.join(CLEANERS)}")
    apply = CLEANERS[cleaner] if cleaner in CLEANERS else _by_rules(cleaner)
    return apply(plain_typography(text, symbols))


def read(text: str, symbols: str = SYMBOLS, cleaner: str = "english", sounds: float = 0.0, utterance: str = "") -> Reading:
    """The text as the model reads it, and the characters that it leaves out.

    sounds: the share of the words of the dictionary that become sounds, for symbols with phones; which depends on the
    utterance's name (with_sounds). Phones may be given in braces, {HH AH0 L OW1}. TextError if the model has no symbols for
    them, or if no letter or digit is left.
    """
    cleaned = clean(phones_to_characters(text), cleaner, symbols)
    unread = dict.fromkeys(c for c in cleaned if (c not in symbols or c in PAD + END) and not c.isspace())
    if phones := [PHONE_NAMES[c] for c in unread if c in PHONE_NAMES]:
        raise TextError(
            f"the model has no symbol for the sound {phones[0]} in {text[:80]!r}: write letters, or use a model trained with "
            "--hparams symbols=arpabet"
        )
    if unread:
        # A sign separates words, as in a|b; a letter or an accent does not.
        gaps = {c: "" if c.isalpha() or unicodedata.combining(c) else " " for c in unread}
        cleaned = collapse_whitespace("".join(gaps.get(c, c) for c in cleaned))
    if not any(map(is_spoken, cleaned)):
        raise TextError(f"nothing to read in the text {text[:80]!r}: none of its letters is among the model's symbols")
    written = (_written(c, text) for c in unread)
    left_out = tuple(Unread(c, _around(c, text, cleaned)) for c in written)
    read_as = "".join(c for c in cleaned if c in symbols)
    return Reading(read_as, left_out, with_sounds(read_as, sounds, utterance) if sounds else read_as)


def _written(character: str, text: str) -> str:
    """What became this character, such as • for *, where the text does not hold it."""
    return character if character in text else next((c for c in text if character in transliterate(c)), character)


def _around(character: str, text: str, cleaned: str, width: int = 12) -> str:
    """The text around a character: as it was written, or as it was cleaned if it was written in another way."""
    text = " ".join((text if character in text else cleaned).split())
    at = text.find(character)
    start, end = max(0, at - width), at + width + 1
    return ("…" if start else "") + text[start:end].strip() + ("…" if end < len(text) else "")


def text_to_ids(text: str, symbols: str = SYMBOLS, cleaner: str = "english", sounds: float = 0.0) -> list[int]:
    """Indices in `symbols` of the text as `read` returns it, then the end symbol's. TextError as for `read`."""
    return to_ids(read(text, symbols, cleaner, sounds).symbols, symbols)
