"""English as it is read aloud: what is written in figures, signs and short forms becomes words, rule by rule.

Each rule leaves text that the later ones can no longer misread, so the order is part of the rules: addresses before full
stops, numerals before initials, telephone numbers before ranges, units before bare numbers.
"""

import re
from collections.abc import Callable

from synthesizer.text.english import abbreviations, acronyms, addresses, clock, money, numerals, signs, units

Step = Callable[[str], str]
_OF_WORDS: tuple[Step, ...] = (addresses.expand, numerals.expand_roman, abbreviations.expand)
_OF_NUMBERS: tuple[Step, ...] = (
    signs.expand_beside_numbers,
    numerals.expand_serials,
    clock.expand,
    money.expand,
    units.expand,
    numerals.expand,
)
_FIGURE = re.compile(r"\d")
_PLAIN = re.compile(r"[a-z',;:!?()\"\s-]*\.?")  # nothing but words in lower case


def expand(text: str) -> str:
    """Numbers, money, times, dates, units, fractions, abbreviations, initials, addresses and signs as words.

    Text in any script; signs that have no words stay as they are.
    """
    text = signs.plain_typography(text)
    if _PLAIN.fullmatch(text):
        return text
    is_shouted = acronyms.is_shouted(text)  # told from the whole text, before its figures become words in lower case
    for step in _OF_WORDS:
        text = step(text)
    if _FIGURE.search(text):
        for step in _OF_NUMBERS:
            text = step(text)
    return acronyms.expand(signs.expand(text), is_shouted)
