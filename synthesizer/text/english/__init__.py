"""English as it is read aloud: numbers, signs and abbreviations become words, one rule after another.

The order matters, because each rule removes what a later one would misread: addresses before full stops, roman numerals
before initials, telephone numbers before ranges, units before bare numbers.
"""

import re
from collections.abc import Callable

from synthesizer.text.english import abbreviations, acronyms, addresses, clock, money, numerals, places, roman, signs, units

Rule = Callable[[str], str]
_WORD_RULES: tuple[Rule, ...] = (
    addresses.expand,
    roman.expand,
    places.expand,
    abbreviations.expand,
    clock.expand_names,
    units.expand_alone,
    acronyms.expand_pairs,
    acronyms.expand_mixed,
)
_NUMBER_RULES: tuple[Rule, ...] = (
    numerals.expand_endless,
    numerals.expand_european,
    signs.expand_beside_numbers,
    numerals.expand_serials,
    clock.expand,
    money.expand,
    numerals.expand_magnitudes,
    units.expand,
    numerals.expand,
)
_DIGIT = re.compile(r"\d")
_PLAIN = re.compile(r"[a-z',;:!?()\"\s-]*\.?")  # only words in lower case
_SHORT_FORM = re.compile(
    rf"\b(?:per [a-z]+|mrs?|dr|prof|hon|vs|ave|blvd|hwy|[ivx]{{2,}}|[a-y]{{3,5}}-[a-y]{{3,5}}|{'|'.join(units.VOWELLESS)})\b"
    r"|\b[iv][).]|\betc\b|\b(?:co|inc|ltd|corp|bros|jr|sr|esq|dept|govt|univ)\.$"
)


def expand(text: str) -> str:
    """Write out numbers, money, times, dates, units, fractions, abbreviations, initials, addresses and signs.

    The text may be in any script. Signs without a name stay.
    """
    text = signs.plain_characters(text)
    if _PLAIN.fullmatch(text) and not _SHORT_FORM.search(text):
        return text
    is_shouted = acronyms.is_shouted(text)  # before numbers become lower-case words
    for rule in _WORD_RULES:
        text = rule(text)
    if _DIGIT.search(text):
        for rule in _NUMBER_RULES:
            text = rule(text)
    return acronyms.expand(signs.expand(text), is_shouted)
