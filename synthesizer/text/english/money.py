"""Money: "£1,200", "$3.50", "€5m", "5 EUR", "50p"."""

import re

from synthesizer.text.english.numerals import AMOUNT, cardinal, point, quantity
from synthesizer.text.english.units import one_of

CURRENCIES = {  # sign: (unit, units, hundredth, hundredths)
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₩": ("won", "won", "jeon", "jeon"),
    "₽": ("ruble", "rubles", "kopek", "kopeks"),
    "₺": ("lira", "lira", "kurush", "kurush"),
    "₿": ("bitcoin", "bitcoins", "cent", "cents"),
}
CODES = {"USD": "$", "GBP": "£", "EUR": "€", "JPY": "¥", "INR": "₹", "KRW": "₩", "RUB": "₽"}
MAGNITUDES = {
    "k": "thousand",
    "m": "million",
    "mn": "million",
    "b": "billion",
    "bn": "billion",
    "t": "trillion",
    "tn": "trillion",
}

_SIGN = f"[{''.join(map(re.escape, CURRENCIES))}]"
_CODE = "|".join(CODES)
_WORDS = r"hundred|thousand|million|billion|trillion"
_MAGNITUDE = rf"(?:[\s-](?P<word>{_WORDS})\b|\s?(?P<letter>{'|'.join(MAGNITUDES)})\b)?"
_PER = r"(?:\s?/\s?(?P<per>[A-Za-z]+)\b)?"
_NUMBER = rf"(?P<whole>{AMOUNT})?(?:\.(?P<fraction>\d+)|,(?P<cents>\d\d)(?![\d,]))?"
_RANGE = re.compile(rf"({_SIGN})(\d+(?:[,.]\d+)*)\s?-\s?\1?(?=\d)")
_BEFORE = re.compile(
    rf"(?P<minus>(?<![^\s(])-)?(?:\b(?P<country>US|AU|CA|NZ|HK|A|C))?(?:(?P<sign>{_SIGN})|\b(?P<code>{_CODE}))\s?(?=\.?\d)"
    rf"{_NUMBER}{_MAGNITUDE}{_PER}",
    re.I,
)
_AFTER = re.compile(
    rf"(?P<minus>(?<![^\s(])-)?(?P<country>(?!))?(?<![\d.,])(?P<whole>{AMOUNT})(?:[.,](?P<fraction>\d\d?))?{_MAGNITUDE}"
    rf"\s?(?:(?P<sign>{_SIGN})(?!\d)|(?P<code>{_CODE})\b){_PER}"
)
_HUNDREDTHS = re.compile(r"(?<![\w.,$£€])(\d{1,2})(p|c|\s?¢)(?![\w¢])(?!\.\s?m\b)")
_HUNDREDTH_NAMES = {"p": ("penny", "pence"), "c": ("cent", "cents"), "¢": ("cent", "cents")}


def expand(text: str) -> str:
    """ "$3.50" -> "three dollars, fifty cents"."""
    text = _RANGE.sub(r"\2 to \1", text)
    text = _BEFORE.sub(_amount, text)
    text = _AFTER.sub(_amount, text)
    return _HUNDREDTHS.sub(_hundredths, text)


def _amount(match: re.Match[str]) -> str:
    part = match.groupdict()
    names = CURRENCIES[part["sign"] or CODES[part["code"].upper()]]
    magnitude = (part["word"] or MAGNITUDES.get((part["letter"] or "").lower(), "")).lower()
    minus = "minus " if part["minus"] else ""
    country = " ".join(part["country"] or "").lower()
    per = f" per {one_of(part['per'])}" if part["per"] else ""
    return minus + _spoken(part["whole"] or "0", part["fraction"] or part.get("cents"), magnitude, country, names) + per


def _spoken(whole: str, fraction: str | None, magnitude: str, country: str, names: tuple[str, str, str, str]) -> str:
    unit, units, hundredth, hundredths = (f"{country} {name}".strip() for name in names)
    if magnitude or (fraction and len(fraction) != 2):  # "$3.5 million", "$0.125"
        return f"{quantity(whole)}{point(fraction)} {magnitude}".strip() + f" {units}"
    small = int(fraction or 0)
    is_nothing = not int(whole.replace(",", ""))
    parts = [] if is_nothing and small else [f"{quantity(whole)} {unit if whole == '1' else units}"]
    if small:
        parts.append(f"{cardinal(small)} {hundredth if small == 1 else hundredths}")
    return ", ".join(parts)


def _hundredths(match: re.Match[str]) -> str:
    one, many = _HUNDREDTH_NAMES[match[2].strip()]
    return f"{cardinal(int(match[1]))} {one if int(match[1]) == 1 else many}"
