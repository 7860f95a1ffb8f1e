"""Money: "£1,200", "$3.50", "€5m", "5 EUR", "50p"."""

import re

from synthesizer.text.english.numerals import AMOUNT, MAGNITUDES, cardinal, point, quantity
from synthesizer.text.english.tables import table
from synthesizer.text.english.units import describes, one_of

CURRENCIES = {  # sign: (unit, units, hundredth, hundredths)
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₩": ("won", "won", "jeon", "jeon"),
    "₽": ("ruble", "rubles", "kopek", "kopeks"),
    "₺": ("lira", "lira", "kurush", "kurush"),
    "R$": ("real", "reais", "centavo", "centavos"),
    "CHF": ("swiss franc", "swiss francs", "rappen", "rappen"),
    "CNY": ("yuan", "yuan", "fen", "fen"),
    "SEK": ("swedish krona", "swedish kronor", "ore", "ore"),
    "NOK": ("norwegian krone", "norwegian kroner", "ore", "ore"),
    "DKK": ("danish krone", "danish kroner", "ore", "ore"),
    "PLN": ("zloty", "zlotys", "grosz", "groszy"),
    "ZAR": ("rand", "rand", "cent", "cents"),
    "₿": ("bitcoin", "bitcoins", "cent", "cents"),
}
CODES = {"USD": "$", "GBP": "£", "EUR": "€", "JPY": "¥", "INR": "₹", "KRW": "₩", "RUB": "₽", "CHF": "CHF"}
CODES |= {"CAD": "C$", "AUD": "A$", "NZD": "NZ$", "HKD": "HK$", "SGD": "S$", "MXN": "MX$", "CNY": "CNY", "SEK": "SEK"}
CODES |= {"NOK": "NOK", "DKK": "DKK", "PLN": "PLN", "ZAR": "ZAR"}
COUNTRIES = table(
    "US u s, C canadian, CA canadian, A australian, AU australian, NZ new zealand, HK hong kong, S singapore, MX mexican"
)
_SIGN = rf"(?:\bR\$|[{''.join(sign for sign in CURRENCIES if len(sign) == 1)}])"
_CODE = "|".join(CODES)
_WORDS = r"hundred|thousand|million|billion|trillion"
_MAGNITUDE = rf"(?:[\s-](?P<word>{_WORDS})\b|\s?(?P<letter>{'|'.join(MAGNITUDES)})\b)?"
_PER = r"(?:\s?/\s?(?P<per>[A-Za-z]+)\b)?"
_NUMBER = rf"(?P<whole>{AMOUNT})?(?:\.(?P<fraction>\d+)|,(?P<cents>\d\d)(?![\d,]))?"
_RANGE = re.compile(rf"({_SIGN})(\d+(?:[,.]\d+)*)(?:\s?((?i:{'|'.join(MAGNITUDES)}))\b)?\s?-\s?\1?(?=\d)")
_RANGE_BEFORE_SIGN = re.compile(  # 10$-20$, 10-20 EUR, 5€ - 10€
    rf"(?<![\w.,$£€-])(\d[\d,.]*(?:\s?(?:{'|'.join(MAGNITUDES)}|{_WORDS})\b)?)(?:\s?({_SIGN}|{_CODE})\s?-\s?|-)"
    rf"(?=\d[\d,.]*(?:\s?(?:{'|'.join(MAGNITUDES)}|{_WORDS})\b)?\s?(?(2)\2|(?:{_SIGN}|{_CODE}))(?![\w]))"
)
_MINUS = re.compile(rf"({_SIGN})-(?=\d)")
_BEFORE = re.compile(
    rf"(?P<minus>(?<![^\s(])-)?(?:\b(?P<country>{'|'.join(COUNTRIES)})(?=\$))?(?:(?P<sign>{_SIGN})|\b(?P<code>{_CODE}))\s?(?=\.?\d)"
    rf"{_NUMBER}{_MAGNITUDE}{_PER}(?:\s(?P<code_after>CAD|AUD|NZD|USD)\b)?",
    re.I,
)
_AFTER = re.compile(
    rf"(?P<minus>(?<![^\s(])-)?(?P<country>(?!))?(?<![\d.,])(?P<whole>{AMOUNT})(?:[.,](?P<fraction>\d\d?))?{_MAGNITUDE}"
    rf"\s?(?:(?P<sign>{_SIGN})(?!\d)|(?P<code>{_CODE})\b){_PER}"
)
_RUPEES = re.compile(r"\bRs\.?\s?(?=\d)")
_HUNDREDTH_RANGE = re.compile(r"(?<![\w.,$£€])(\d{1,2})(?:p|c|\s?¢)?-(?=\d{1,2}(?:p|\s?¢)(?![\w¢]))")
_HUNDREDTHS = re.compile(r"(?<![\w.,$£€])(\d{1,2})(p|c|\s?¢)(?![\w¢])(?!\.\s?m\b)")
_HUNDREDTH_NAMES = {"p": ("penny", "pence"), "c": ("cent", "cents"), "¢": ("cent", "cents")}


def expand(text: str) -> str:
    """ "$3.50" -> "three dollars, fifty cents"."""
    text = _RUPEES.sub("₹", text)
    text = _RANGE_BEFORE_SIGN.sub(r"\1 to ", text)
    text = _MINUS.sub(r"-\1", text)
    text = _RANGE.sub(lambda m: f"{m[2]}{' ' + MAGNITUDES[m[3].lower()] if m[3] else ''} to {m[1]}", text)
    text = _BEFORE.sub(_amount, text)
    text = _AFTER.sub(_amount, text)
    text = _HUNDREDTH_RANGE.sub(r"\1 to ", text)
    return _HUNDREDTHS.sub(_hundredths, text)


def _amount(match: re.Match[str]) -> str:
    part = match.groupdict()
    code = part["code"] or part.get("code_after")
    sign = CODES[code.upper()] if code else part["sign"]
    country = COUNTRIES.get((part["country"] or "").upper(), "")
    if sign not in CURRENCIES:  # C$
        country, sign = COUNTRIES[sign[:-1]], sign[-1]
    names = CURRENCIES[sign]
    if describes(match):
        names = (names[0], names[0], names[2], names[3] if names[3] == "pence" else names[2])
    magnitude = (part["word"] or MAGNITUDES.get((part["letter"] or "").lower(), "")).lower()
    minus = "minus " if part["minus"] else ""
    per = f" per {one_of(part['per'])}" if part["per"] else ""
    return minus + _spoken(part["whole"] or "0", part["fraction"] or part.get("cents"), magnitude, country, names) + per


def _spoken(whole: str, fraction: str | None, magnitude: str, country: str, names: tuple[str, str, str, str]) -> str:
    unit, units = (f"{country} {name}".strip() for name in names[:2])
    hundredth, hundredths = names[2:]
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
