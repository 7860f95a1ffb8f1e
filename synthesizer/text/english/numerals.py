"""Numbers: cardinals, ordinals, years, decades, decimals, fractions, ranges, series of digits."""

import re
from functools import cache, lru_cache
from typing import Any

LONGEST_NUMBER = 15  # digits; a longer one without commas is not a quantity (a card number) and is read digit by digit
LONGEST_GROUPED = 36  # digits with commas; larger numbers have no name

AMOUNT = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
MAGNITUDES = {
    "k": "thousand",
    "m": "million",
    "mn": "million",
    "b": "billion",
    "bn": "billion",
    "t": "trillion",
    "tn": "trillion",
}
FRACTIONS_BY_HABIT = {"24/7": "twenty-four seven", "9/11": "nine eleven"}

_PHONE = re.compile(
    r"(?<![\w.-])(?<!\d )(?:\+\d[\d\s().-]{6,}\d"
    r"|(?:\d[- ])?\(\d{3,5}\)[- ]?\d{3,4}[- ]\d{3,4}"
    r"|(?:1-)?\d{3}[-.]\d{3}[-.]\d{4}|\d{3}-\d{4}|555-[A-Z]{4}"
    r"|0\d{1,4}(?:[ -]\d{3,}){1,3})(?![\w-])"
)
_LETTERED_PHONE = re.compile(r"(?<![\w-])(?:1-[2-9]\d\d|8\d\d)-(?=[\d-]*[A-Z])(?=(?:[A-Z\d]-?){7,9}(?![\w-]))[A-Z\d-]+")
_SHORT_NUMBER = "(?:[1-9]11|999|112|988)"
_EMERGENCY = re.compile(
    r"(?:(?<=[Cc]all )|(?<=[Dd]ial )|(?<=[Rr]ing )|(?<=called )|(?<=dialed )|(?<=emergency number )|(?<=emergency number is ))"
    rf"{_SHORT_NUMBER}(?:(?:,? or |, | and |/){_SHORT_NUMBER})*\b(?![,.-]\d|\s\w+s\b)"
    r"|\b911(?=[\s-](?:calls?|callers?|operators?|dispatch\w*|centers?|emergenc\w+|services?)\b)"
    r"|(?:^|(?<=[.!?] )|(?<=[Tt]his is )|(?<=\"))911(?=[!?\"]|[.,:](?!\s?\d)|$"
    r"|\s(?:is|was|has|had|can|could|will|would|may|might|should|must|does|did|answers?|answered|asks?|asked|says?|said)\b)"
    rf"|\b{_SHORT_NUMBER}(?=, what(?:'s|\sis)\s(?:your|the)\semergency\b)"
)
_NINE_ELEVEN = re.compile(r"(?<=Porsche )911\b|\b911(?= attacks?\b)")
_PLANE = re.compile(  # no ranges
    r"(?<![\w.,-])(Boeing |(?:[Aa]n?|[Tt]h(?:e|is|at)|[Oo]ne) )?(7\d7)(?:-(\d{1,3}|MAX\b))?(s)?(?![\w-]|[.,]\d)"
)
_DATE = re.compile(
    r"\d{4}-\d\d-\d\d|(?:(?:0?[1-9]|1[0-2])-(?:0?[1-9]|[12]\d|3[01])|(?:1[3-9]|2\d|3[01])-(?:0?[1-9]|1[0-2]))-[12]\d{3}"
)
_SERIAL = re.compile(r"(?<![\w-])\d+(?:-\d+){2,}(?![\w-])")

_EUROPEAN = re.compile(
    r"(?<![\w.,])(?:(\d{1,3}(?:\.\d{3})+),(\d+)|(\d{1,3}(?:\.\d{3}){2,}|(?<=€)\d{1,3}\.\d{3}|\d{1,3}\.\d{3}(?=\s?(?:€|EUR\b|[Ee]uros?\b)))|(0,\d+|\d+,(?:\d\d?|\d{4,})))(?![.,]?\d|\)|\s(?:and|or)\s\d)"
)
_SPACED_EUROPEAN = re.compile(r"(?<![\w.,-])(?<!\d )(\d{1,3}(?: \d{3})+),(\d\d)(?![.,]?\d)")
_IP_ADDRESS = re.compile(r"[12]?\d?\d(?:\.[12]?\d\d){3}")

_ENDLESS = re.compile(r"\d(?:,?\d){100,}")
_PRICE = re.compile(r"(?<![\d,.])([12]),([1-9])(00|[1-9]\d)(?= dollars\b)")
_LABELS = re.compile(r"\b([A-Z])(\d+)-(?=\1\d)")  # Q1-Q3
_LETTER_BEFORE_GROUPS = re.compile(r"(?<=[^\W\d_])(?=\d{1,3}(?:,\d{3})+(?!\d))")
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d])(\.\d+)?(st\b|nd\b|rd\b|th\b)?", re.I)
_SPACED = re.compile(r"(?<![\d.,-])(?<!\d )[1-9]\d{0,2}(?: \d{3}){2,}(?![\d-]| \d)")
_MINUS = re.compile(r"(?<![^\s(])-(?=\.?\d)")
_DIFFERENCE = re.compile(r"(?<=\d)\s?-\s?(?=\d+\s?=)")
_SHORT_YEAR = re.compile(r"\b([12]\d{3})-0([1-9])(?!\d)")
_RANGE = re.compile(r"(?<=[\d%°])-(?=\d)|(?<=\d0s)\s?-\s?(?='?\d+0s)|(?<=\d[snrt][tdh])\s?-\s?(?=\d+(?:st|nd|rd|th)\b)")
_FRACTION = re.compile(r"(?:(?<![\w.,/])(\d+)[ -])?(?<![\w.,/])(\d+)/(\d+)(?![\w/])")
_DECIMAL = re.compile(r"(?<!\d)(\d*)((?:\.\d+)+)")
_ORDINAL = re.compile(r"(?<!\d)(\d+)(?:st|nd|rd|th)\b", re.I)
_PLURAL = re.compile(r"(?<![\d.,])(?:((?<=[A-Za-z]))|'?)(?<!\d)(\d+)'?s\b", re.I)  # 1980s, '80s, 747s, M16s
_CLIPPED_YEAR = re.compile(r"(?<!\w)'(\d\d)\b(?!')")
_MAGNITUDE = re.compile(
    r"(?<![\w.,])(\d[\d,]*(?:\.\d+)?)(?:\s?(bn|mn|tn)|([kKM])(?!\s(?:runs?|races?|walks?|video|TV|resolution|screens?)\b)|(?<=\.\d)([BT])"
    r"|(m)(?=\s(?:people|users|viewers|followers|subscribers|copies|views|customers|jobs|residents|voters)\b))\b(-(?=\d))?"
)
_FORMULA = re.compile(  # H2SO4, NO2
    r"\b(?=[A-Z]+[2-9])(?:(?:Na|Cl|Ca|Mg|Fe|Cu|Zn|Ag|Br|Si|Al|[HCNOSPFK])[2-9]?){2,}\b"
)
_NUMBER = re.compile(r"\d+")
_BORDER = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")


@cache
def _inflect() -> Any:  # takes more than a second to import
    import inflect

    return inflect.engine()


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
    """1905 -> "nineteen oh five"; for 1001 to 2999, which are mostly years in running text."""
    if number % 1000 == 0:
        return cardinal(number)
    if number % 1000 < 10:
        return f"{cardinal(number // 1000)} thousand {cardinal(number % 10)}"
    if number % 100 == 0:
        return cardinal(number // 100) + " hundred"
    return _inflect().number_to_words(number, andword="", zero="oh", group=2).replace(", ", " ")


def digit_by_digit(text: str) -> str:
    """ "007" -> "zero zero seven"."""
    return " ".join(cardinal(int(digit)) for digit in text if digit.isdigit())


def expand_endless(text: str) -> str:
    """Numbers of over a hundred digits, which no other rule can take, are read digit by digit."""
    return _ENDLESS.sub(lambda match: digit_by_digit(match[0]), text)


def number(digits: str) -> str:
    """Digits as words: a cardinal, a year, or digit by digit if they are not a quantity ("007")."""
    if len(digits) > LONGEST_NUMBER or (len(digits) > 1 and digits[0] == "0"):
        return digit_by_digit(digits)
    value = int(digits)
    return year(value) if 1000 < value < 3000 else cardinal(value)


def quantity(amount: str) -> str:
    """A cardinal, with or without commas: "1,200" -> "one thousand, two hundred"."""
    digits = amount.replace(",", "").lstrip("0") or "0"
    longest = LONGEST_GROUPED if "," in amount else LONGEST_NUMBER
    return cardinal(int(digits)) if len(digits) <= longest else digit_by_digit(digits)


def point(decimals: str | None) -> str:
    """ "25" -> " point two five"; None -> ""."""
    return f" point {digit_by_digit(decimals)}" if decimals else ""


# ---- rules


def expand_european(text: str) -> str:
    """Decimal commas and full stops between thousands, where they can be nothing else: "1.234,56" -> "1,234.56"."""
    text = _SPACED_EUROPEAN.sub(lambda m: m[1].replace(" ", ",") + f".{m[2]}", text)
    return _EUROPEAN.sub(_american, text)


def _american(match: re.Match[str]) -> str:
    thousands, decimals, groups, decimal = match.groups()
    if groups and _IP_ADDRESS.fullmatch(groups):
        return match[0]
    if decimal:
        return decimal.replace(",", ".")
    return (thousands or groups).replace(".", ",") + (f".{decimals}" if decimals else "")


def expand_serials(text: str) -> str:
    """Telephone and serial numbers, digit by digit with a pause between groups. 1 000 000 gets commas."""
    text = _LETTERED_PHONE.sub(_groups, text)
    text = _PHONE.sub(_groups, text)
    text = _EMERGENCY.sub(lambda m: _NUMBER.sub(lambda d: digit_by_digit(d[0]), m[0]), text)
    text = _NINE_ELEVEN.sub("nine eleven", text)
    text = _PLANE.sub(_plane, text)
    text = _SPACED.sub(lambda m: m[0].replace(" ", ","), text)
    return _SERIAL.sub(lambda m: m[0] if _DATE.fullmatch(m[0]) else _groups(m), text)


def _groups(match: re.Match[str]) -> str:
    plus = "plus " if match[0].startswith("+") else ""
    groups = re.findall(r"\d+|[A-Z]+", match[0])
    if match.re is not _SERIAL:
        groups = ["eight hundred" if group == "800" else group for group in groups]
    return plus + ", ".join(digit_by_digit(group) if group.isdigit() else group for group in groups)


def _plane(match: re.Match[str]) -> str:
    """ "two 737-800s" -> "two seven thirty-seven eight hundreds"; "737-800" alone may be a range, and 747 a number."""
    before, model, variant, ending = match.groups()
    is_boeing, is_maximum = before == "Boeing ", variant == "MAX"
    if not (is_boeing or (variant and (before or ending or is_maximum or int(model) > int(variant) > 99))):
        return match[0]
    words = [_model(model), "max" if is_maximum else _model(variant) if variant else ""]
    spoken = (before or "") + " ".join(words).strip()
    return _in_plural(spoken) if ending else spoken


def expand_magnitudes(text: str) -> str:
    """ "1.5M" -> "1.5 million"."""
    return _MAGNITUDE.sub(_magnitude, text)


def _magnitude(match: re.Match[str]) -> str:
    amount, *letters, until = match.groups()
    if match[0] in ("4K", "8K", "3M"):  # screens, and a company
        return match[0]
    return f"{amount} {MAGNITUDES[next(filter(None, letters)).lower()]}" + (" to " if until else "")


def expand(text: str) -> str:
    """Write out all other numbers."""
    text = _PRICE.sub(lambda m: year(int("".join(m.groups()))), text)  # how the published models read prices
    text = _DIFFERENCE.sub(" minus ", text)
    text = _MINUS.sub("minus ", text)
    text = _SHORT_YEAR.sub(lambda m: f"{m[1]} to oh {cardinal(int(m[2]))}", text)
    text = _RANGE.sub(" to ", _LABELS.sub(r"\1\2 to ", text))
    text = _GROUPED.sub(_grouped, _LETTER_BEFORE_GROUPS.sub(" ", text))
    text = _FRACTION.sub(_fraction, text)
    text = _ORDINAL.sub(lambda m: ordinal(int(m[1])) if len(m[1]) <= LONGEST_NUMBER else digit_by_digit(m[1]) + "th", text)
    text = _PLURAL.sub(_plural, text)
    text = _CLIPPED_YEAR.sub(lambda m: _after_hundreds(int(m[1])), text)
    text = _FORMULA.sub(lambda m: " ".join(re.findall(r"[A-Za-z]|\d", m[0])), text)
    text = _BORDER.sub(" ", text)
    text = _DECIMAL.sub(lambda m: (number(m[1]) if m[1] else "") + "".join(map(point, m[2].split(".")[1:])), text)
    return _NUMBER.sub(lambda m: number(m[0]), text)


def _grouped(match: re.Match[str]) -> str:
    amount = re.match(r"[\d,]+", match[0])[0]
    if match[2] and len(amount) <= LONGEST_GROUPED:
        return ordinal(int(amount.replace(",", "")))
    return quantity(amount) + point((match[1] or "")[1:])


def _fraction(match: re.Match[str]) -> str:
    whole, over, under = match.groups()
    if f"{over}/{under}" in FRACTIONS_BY_HABIT and not whole:
        return FRACTIONS_BY_HABIT[f"{over}/{under}"]
    n, d = int(over), int(under)
    before = f"{number(whole)} " if whole else ""
    if n == d and n > 1:
        return f"{before}{number(over)} {number(under)}"
    if len(over) == 4:  # 2019/20
        return f"{before}{number(over)} to {number(under)}"
    if n > d or d > 1000 or d < 2 or len(over) > LONGEST_NUMBER:
        return f"{before}{number(over)} over {number(under)}"
    part = {2: "half", 4: "quarter"}.get(d, ordinal(d))
    if n != 1:
        part = "halves" if d == 2 else part + "s"
    if not whole:
        return f"{cardinal(n)} {part}"
    return f"{before}and {('an' if part.startswith('eigh') else 'a') if n == 1 else cardinal(n)} {part}"


def _plural(match: re.Match[str]) -> str:
    """ "1980s" -> "nineteen eighties", "747s" -> "seven forty-sevens"."""
    return ("" if match[1] is None else " ") + plural(match[2])


def _model(digits: str) -> str:
    """ "747" -> "seven forty-seven"."""
    is_model = len(digits) == 3 and digits[0] != "0" and digits[1:] != "00"
    return f"{cardinal(int(digits[0]))} {_after_hundreds(int(digits[1:]))}" if is_model else number(digits)


def plural(digits: str) -> str:
    """ "1980" -> "nineteen eighties", "747" -> "seven forty-sevens"."""
    return _in_plural(_model(digits))


def _in_plural(spoken: str) -> str:
    return spoken[:-1] + "ies" if spoken.endswith("y") else spoken + ("es" if spoken.endswith("x") else "s")


def _after_hundreds(value: int) -> str:
    """The last two digits of a year: '05 -> "oh five"."""
    return cardinal(value) if value >= 10 else f"oh {cardinal(value)}"
