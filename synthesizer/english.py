"""English as it is read aloud: money, numbers, ordinals, years and abbreviations become words."""

import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

CURRENCIES = {  # symbol: (unit, units, hundredth, hundredths)
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
}
ABBREVIATIONS = {
    "mrs": "missus",
    "mr": "mister",
    "dr": "doctor",
    "drs": "doctors",
    "st": "saint",
    "co": "company",
    "jr": "junior",
    "maj": "major",
    "gen": "general",
    "rev": "reverend",
    "lt": "lieutenant",
    "hon": "honorable",
    "sgt": "sergeant",
    "capt": "captain",
    "esq": "esquire",
    "ltd": "limited",
    "col": "colonel",
    "ft": "fort",
}
SIGNS = {"&": " and ", "%": " percent"}
# Signs that are not read but stand between words: dropping them would glue the words together.
SEPARATORS = re.compile(r"[/\\|_~=<>\[\]{}^*+#@]+")
LONGEST_NUMBER = 15  # digits; longer ones are no quantities (card numbers) and are read digit by digit

_AMOUNT = r"(\d+(?:,\d{3})+|\d+)"
_MONEY = re.compile(rf"([$£€])\s?{_AMOUNT}(?:\.(\d+))?(?:\s+(hundred|thousand|million|billion|trillion)\b)?", re.I)
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?!\d)")
_MINUS = re.compile(r"(?<![^\s(])-(?=\.?\d)")
_DECIMAL = re.compile(r"(\d*)((?:\.\d+)+)")
_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th)\b", re.I)
_DECADE = re.compile(r"'?(\d+0)'?s\b", re.I)
_NUMBER = re.compile(r"\d+")
_ABBREVIATION = re.compile(rf"\b({'|'.join(ABBREVIATIONS)})\.", re.I)


@cache
def _inflect() -> Any:  # imported on first use: that takes more than a second
    import inflect

    return inflect.engine()


def _digits(digits: str) -> str:
    return " ".join(cardinal(int(digit)) for digit in digits)


@lru_cache(maxsize=4096)
def cardinal(number: int) -> str:
    """1234 -> "one thousand, two hundred thirty-four"."""
    return _inflect().number_to_words(number, andword="")


@lru_cache(maxsize=4096)
def ordinal(number: int) -> str:
    """21 -> "twenty-first"."""
    return _inflect().number_to_words(_inflect().ordinal(number), andword="")


@lru_cache(maxsize=4096)
def year(number: int) -> str:
    """1905 -> "nineteen oh five"; for 1001 to 2999, which in running text are mostly years."""
    if number == 2000:
        return "two thousand"
    if 2000 < number < 2010:
        return "two thousand " + cardinal(number % 100)
    if number % 100 == 0:
        return cardinal(number // 100) + " hundred"
    return _inflect().number_to_words(number, andword="", zero="oh", group=2).replace(", ", " ")


def number(digits: str) -> str:
    """A row of digits as words: a cardinal, a year, or digit by digit when it is no quantity ("007")."""
    if len(digits) > LONGEST_NUMBER or (len(digits) > 1 and digits[0] == "0"):
        return _digits(digits)
    value = int(digits)
    return year(value) if 1000 < value < 3000 else cardinal(value)


def _money(match: re.Match[str]) -> str:
    sign, whole, fraction, magnitude = match.groups()
    unit, units, hundredth, hundredths = CURRENCIES[sign]
    whole = whole.replace(",", "").lstrip("0") or "0"
    spoken = cardinal(int(whole)) if len(whole) <= LONGEST_NUMBER else _digits(whole)
    if magnitude or (fraction and len(fraction) != 2):  # "$3.5 million", "$0.125"
        point = f" point {_digits(fraction)}" if fraction else ""
        return f"{spoken}{point} {magnitude.lower() + ' ' if magnitude else ''}{units}"
    parts = [] if whole == "0" and int(fraction or 0) else [f"{spoken} {unit if whole == '1' else units}"]
    if int(fraction or 0):
        parts.append(f"{cardinal(int(fraction))} {hundredth if int(fraction) == 1 else hundredths}")
    return ", ".join(parts)


def _decimal(match: re.Match[str]) -> str:
    whole, rest = match.groups()
    points = "".join(f" point {_digits(part)}" for part in rest.split(".")[1:])
    return (number(whole) + points) if whole else points.strip()


def _ordinal(match: re.Match[str]) -> str:
    digits = match.group(1)
    return ordinal(int(digits)) if len(digits) <= LONGEST_NUMBER else _digits(digits) + "th"


def _decade(match: re.Match[str]) -> str:
    spoken = number(match.group(1))
    return spoken[:-1] + "ies" if spoken.endswith("y") else spoken + "s"


# In this order: each rule leaves text that the later ones can no longer misread.
_RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (_GROUPED, lambda match: match.group().replace(",", "")),
    (_MINUS, lambda match: "minus "),
    (_DECIMAL, _decimal),
    (_ORDINAL, _ordinal),
    (_DECADE, _decade),
    (_NUMBER, lambda match: number(match.group())),
    (_ABBREVIATION, lambda match: ABBREVIATIONS[match.group(1).lower()]),
)


def expand_money(text: str) -> str:
    """ "$3.50" -> "three dollars, fifty cents". Goes before transliteration, which knows no currency signs."""
    return _MONEY.sub(_money, text)


def expand(text: str) -> str:
    """Numbers, ordinals, years, decades, decimals, abbreviations and a few signs of ASCII text as words."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    for sign, words in SIGNS.items():
        text = text.replace(sign, words)
    return SEPARATORS.sub(" ", text)
