"""Times of day and dates."""

import re

from synthesizer.text.english.numerals import cardinal, number, ordinal

MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

_SHORT = {month[:3]: month for month in MONTHS} | {"Sept": "September"}
_NAMES = _SHORT | {day[:3]: day for day in DAYS} | {"Tues": "Tuesday", "Thur": "Thursday", "Thurs": "Thursday"}
_ONLY_DAYS = "Tues Thu Thur Thurs Fri".split()  # no other words
_ONLY_MONTHS = "Feb Apr Jun Jul Aug Sept Oct Nov Dec".split()  # no other words before a full stop
_MONTH = rf"(?:({'|'.join(MONTHS)})|({'|'.join(_SHORT)})\b\.?)"
_SHORT_DAY = "|".join([day[:3] for day in DAYS] + ["Tues", "Thurs?"])
_ANY_NAME = rf"(?:{'|'.join(MONTHS + DAYS)}|(?:{_SHORT_DAY}|{'|'.join(_SHORT)})\b\.?)"
_RANGE = re.compile(rf"(?<![\w-]){_ANY_NAME}(?:\s?[-/]\s?{_ANY_NAME})+(?![\w-])", re.I)
_DAY_LIST = re.compile(rf"\b(?:{_SHORT_DAY})\b\.?(?:,?\s(?:(?:and|or|to|through|&)\s)?(?:{_SHORT_DAY})\b\.?)+")
_DAY_OF_DATE = re.compile(
    rf"\b(?:{_SHORT_DAY})\b\.?(?=,?\s+(?:(?:the\s)?\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s)?{_MONTH}|{_MONTH}\s+\d)|,?\s+\d[\d:.]*\s?[ap]\.?m\b)"
)
_LONE = re.compile(rf"\b(?:(?:{'|'.join(_ONLY_DAYS)})\b(?!-)\.?|(?:{'|'.join(_ONLY_MONTHS)})\.)")
_SHORT_NAME = re.compile(rf"\b({'|'.join(sorted(_NAMES, key=len, reverse=True))})\b\.?", re.I)
_SENTENCE_ENDS = re.compile(r"[\"')]*\s*$|\s+[A-Z]")
_HALF = r"(?:\s?([AaPp])\.?\s?[Mm]\b(\.)?)"
_TIME = re.compile(rf"(?<![\w:.,-])(\d{{1,2}}):([0-5]\d)(?::([0-5]\d))?(?![\d:]){_HALF}?")
_HOUR = re.compile(  # 13 to 24 only where the letters can be nothing else
    rf"(?<![\w:.,])(?:(1[0-2]|0?[1-9])|(1[3-9]|2[0-4]|00?)(?=\s?(?:[AP]\.?\s?M|[ap]\.\s?m)\b)){_HALF}"
)
_DOTTED_HOUR = re.compile(r"(?<![\w:.,])(\d{1,2})\.([0-5]\d)(?=\s?[AaPp]\.?\s?[Mm]\b)")
_SPAN = re.compile(
    r"(?<=\d:\d\d)\s?-\s?(?=\d{1,2}:\d\d)|(?:(?<=\d[ap]m)|(?<=\d [ap]m))(?:-(?=\d)|\s-\s(?=\d{1,2}(?::\d\d)?\s?[ap]m))"
)
_HOURS = re.compile(r"(?<![\w:.,/-])(\d{1,2}(?::\d\d)?)\s?-\s?(?=\d{1,2}(?::\d\d)?\s?[ap]\.?m\b)", re.I)
_DASHED = re.compile(rf"\b(\d{{1,2}})-({'|'.join(_SHORT)})-(\d{{4}})\b")
_DATE_AND_TIME = re.compile(r"(?<=\d-\d\d)T(?=\d\d:\d\d)")
_DATE_SPAN = re.compile(rf"({_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?)\s?-\s?(?={_MONTH}\s+\d)")
_RATIO = re.compile(r"(?<![\w:.,])(\d+):(\d+)(?![\d:])")
_ISO = re.compile(r"\b(\d{4})-(\d\d)-(\d\d)\b")
_NUMERIC = re.compile(r"(?<![\w/.])(\d{1,2})([/.-])(\d{1,2})\2(\d{4}|(?<!-)\d\d)(?![\w/]|\.\d)")
_SLASHED = re.compile(
    r"(?:(?<=\bon )|(?<=until )|(?<=since )|(?<=\bdue )|(?<=before )|(?<=after ))"
    r"(1[0-2]|0?[1-9])/(0?[1-9]|[12]\d|3[01])(?![\w/%\"]|\s(?:of|the|an?|as|in)\b)"
)
_DAY = r"(?<![.,:/])(?<!\d\d-)([12]?\d|3[01])(?:st|nd|rd|th)?"
_DAY_FIRST = re.compile(rf"(\b[Tt]he\s+)?\b(?:{_DAY}\s?-\s?)?{_DAY}(\s+of)?\s+{_MONTH}(?![\w-])(?:(,?)\s+(\d{{4}})\b)?")
_JOINED_MONTH = re.compile(rf"\b({'|'.join(_SHORT)})\.(?=\d)")  # Jan.5
_MONTH_FIRST = re.compile(
    rf"\b{_MONTH}\s+([12]?\d|3[01])(?:st|nd|rd|th)?(?:-([12]?\d|3[01])(?:st|nd|rd|th)?)?(?![\w:/%]|[.,]\d)(?:(,?)\s+(\d{{4}})\b)?"
)
_SHORT_MONTH = re.compile(rf"\b({'|'.join(_SHORT)})\.?\s+(?=\d{{4}}\b)")


def expand_names(text: str) -> str:
    """Days and months: "Mon-Fri" -> "Monday to Friday"."""
    for pattern in (_RANGE, _DAY_LIST, _DAY_OF_DATE, _LONE):
        text = pattern.sub(_names, text)
    return text


def _names(match: re.Match[str]) -> str:
    spoken = re.sub(r"\s?-\s?", " to ", _SHORT_NAME.sub(lambda m: _NAMES[m[1].title()], match[0]))
    return spoken + ("." if match[0].endswith(".") and _SENTENCE_ENDS.match(match.string, match.end()) else "")


def expand(text: str) -> str:
    """ "7:05 pm" -> "seven oh five p m", "4 July 1776" -> "the fourth of July seventeen seventy-six"."""
    text = _DATE_AND_TIME.sub(", ", _DASHED.sub(r"\1 \2 \3", text))
    text = _DATE_SPAN.sub(r"\1 to ", text)
    text = _ISO.sub(lambda m: _date(m[0], int(m[2]), int(m[3]), m[1]), text)
    text = _NUMERIC.sub(_numeric, text)
    text = _SLASHED.sub(lambda m: f"{MONTHS[int(m[1]) - 1]} {ordinal(int(m[2]))}", text)
    text = _DAY_FIRST.sub(_day_first, text)
    text = _MONTH_FIRST.sub(_month_first, _JOINED_MONTH.sub(r"\1 ", text))
    text = _SHORT_MONTH.sub(lambda m: _SHORT[m[1]] + " ", text)
    text = _DOTTED_HOUR.sub(r"\1:\2", text)
    text = _SPAN.sub(" to ", _HOURS.sub(r"\1 to ", text))
    text = _TIME.sub(_time, text)
    text = _HOUR.sub(lambda m: cardinal(int(m[1] or m[2])) + _half(m, 3), text)
    return _RATIO.sub(lambda m: f"{number(m[1])} to {number(m[2])}", text)


def _time(match: re.Match[str]) -> str:
    hour, minute, second = (int(part or 0) for part in match.group(1, 2, 3))
    if hour > 24:
        return match[0]
    half = _half(match, 4)
    if minute:
        spoken = f"{cardinal(hour)} {cardinal(minute) if minute > 9 else 'oh ' + cardinal(minute)}"
    elif half:
        spoken = cardinal(hour)
    else:
        spoken = f"{cardinal(hour)} {'o-clock' if 0 < hour < 13 else 'hundred'}".replace("o-clock", "o'clock")
    if match[3]:
        spoken += f" and {cardinal(second)} second{'' if second == 1 else 's'}"
    return spoken + half


def _half(match: re.Match[str], group: int) -> str:
    """ " p m", with its full stop where that ends the text."""
    if not match[group]:
        return ""
    ends_text = match[group + 1] and not match.string[match.end() :].strip("\"')")
    return f" {match[group].lower()} m" + ("." if ends_text else "")


def _numeric(match: re.Match[str]) -> str:
    """Month/day/year unless the first cannot be a month; with full stops, day.month.year."""
    first, mark, second, year = match.groups()
    month, day = (int(second), int(first)) if mark == "." or int(first) > 12 else (int(first), int(second))
    return _date(match[0], month, day, year)


def _date(written: str, month: int, day: int, year: str) -> str:
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return written.replace("/", " slash ")
    return f"{MONTHS[month - 1]} {ordinal(day)}, {_year(year)}"


def _year(year: str) -> str:
    return f"oh {cardinal(int(year))}" if len(year) == 2 and year[0] == "0" and year != "00" else number(year)


def _day_first(match: re.Match[str]) -> str:
    article, first, day, _, month, short, comma, year = match.groups()
    days = " to ".join(ordinal(int(each)) for each in (first, day) if each)
    return f"{article or 'the '}{days} of {month or _SHORT[short]}" + (f"{comma} {_year(year)}" if year else "")


def _month_first(match: re.Match[str]) -> str:
    month, short, day, last, comma, year = match.groups()
    until = f" to {ordinal(int(last))}" if last else ""
    return f"{month or _SHORT[short]} {ordinal(int(day))}{until}" + (f"{comma} {_year(year)}" if year else "")
