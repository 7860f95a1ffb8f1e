"""Roman numerals: "Henry VIII", "World War II", "I, II and III", "(iv)"."""

import re

from synthesizer.text.english.numerals import cardinal, number, ordinal

RULERS = (
    "Adrian Albert Alexander Alfonso Benedict Boniface Carl Catherine Charles Christian Clement Constantine Edward "
    "Elizabeth Ferdinand Francis Franz Frederick Friedrich Gaius George Gregory Gustav Haakon Harald Henri Henry Innocent "
    "Isabella Ivan James John Joseph Juan Julius Karl Leo Leopold Louis Ludwig Margaret Mary Mehmed Murad Napoleon "
    "Nicholas Olaf Otto Paul Pedro Peter Philip Pius Ptolemy Rameses Ramses Richard Robert Rudolf Sigismund Sixtus Stephen "
    "Theodosius Umberto Urban Victor Emmanuel Victoria Wilhelm William"
).split()
TITLES = "King Queen Pope Emperor Empress Tsar Czar Kaiser Sultan Prince Duke".split()
HEADINGS = (
    "Act Annex Appendix Article Book Canto Chapter Class Division Episode Figure Grade Level Mark Page Part Phase Rule "
    "Scene Section Stage Stanza Table Title Type Verse Volume"
).split()
SECTIONS = "Introduction Background Overview Summary Methods Materials Results Discussion Conclusions? References".split()

_ROMAN = r"(?=[IVXLCDM]+\b)M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})(?<=[IVXLCDM])"
_SMALL = r"(?=[IVX]{2,}\b)X{0,3}(?:IX|IV|V?I{0,3})(?<=[IVXLCDM])"  # no English word among them
_INITIAL = r"(?!\.\s+[A-Z])"  # "Henry V. Smith" has a middle name
_JOINT = r"(?:\)?(?:,\s(?:and\s|or\s)?|\s(?:and|or|to|&)\s|-|\s-\s)\(?)"
_RULER = f"(?i:{'|'.join(RULERS)})"
_REGNAL_LIST = re.compile(rf"\b({_RULER})\s+([IVX]+(?:{_JOINT}[IVX]+\b)+)")
_REGNAL = re.compile(
    rf"\b({_RULER}),?\s+(?:({_SMALL}|[VX]{_INITIAL})|(I)(?=\s+of\b|'s\b|[.,;:!?)]|\s*$))(?![\w-])"
    rf"|\b((?:{'|'.join(TITLES)})\s+[A-Z][a-z]+)\s+({_SMALL}|[IVX])(?![\w-])"
)
_STUDIED = r"\s(?:errors?|trials?|stud(?:y|ies)|cancers?|diabetes|collagen|survivors?|civilizations?)\b"  # Type I error
_HEADING = re.compile(
    rf"\b({'|'.join(HEADINGS)})\s+({_ROMAN}(?<!\sI)|I(?=[.,:;)]|\s*$|\s+of\b|{_STUDIED}|\s(?:and|or|to|versus|vs\.?)\s(?:[a-z]+\s)?[IVX]{{2,}}\b))(?![\w-])",
    re.I,
)
_WAR = re.compile(r"\b(?:World War\s(I)|WW(I{1,2}))\b")
_SMALL_PAGE = r"(?=[ivx]+\b)x{0,3}(?:ix|iv|v?i{0,3})(?<=[ivx])"
_PAGES = re.compile(rf"\b([Pp]p?\.|[Pp]ages?)\s?({_SMALL_PAGE})(?:-({_SMALL_PAGE}))?(?![\w-])")
_CENTURY = re.compile(rf"\b({_ROMAN})(?:th)?(?=\s+[Cc]entur(?:y|ies)\b)|\b([IVX]{{2,}}|[VX])(?:th|rd|nd)\b")
_AFTER_NAME = re.compile(rf"(?<=[A-Za-z])\s+({_SMALL})(?![\w-])")
_LONG = re.compile(  # no initials among them, and headings
    rf"\b(?=[A-Z]{{4}}|X?V?II+\b|X[IV]{{2}}\b|XX[IV])({_ROMAN})\b|^([IVX]+)(?=\.\s+(?:{'|'.join(SECTIONS)})\b)"
)
_VALID = re.compile(_ROMAN, re.I)
_LISTED = re.compile(r"\b(?:[IVX]+|[ivx]+)\b")
_LIST = re.compile("|".join(rf"\b{r}\b(?:{_JOINT}{r}\b)+" for r in ("[IVX]+", "[ivx]+")))
_OF_SEVERAL = re.compile(rf"\b(?:{'|'.join(HEADINGS)})s\s$", re.I)  # Chapters I-V
# (i), ii) and iii.: numbers of items. One letter may also be the next after (h), (u) or (w), and f(x) is a function.
_ITEM = re.compile(
    rf"(?<![^\W_]\()(?<=\()({_SMALL}|(?-i:i|v))(?=\))|(?<!\S)((?-i:ii|iii|iv|vi{{1,3}}|ix))(?=[.)]\s)"
    r"|(?:^|(?<=[.:;,] ))((?-i:[iv]))(?=\)\s)|^((?-i:i))(?=\.\s)",
    re.I,
)
_LETTER_BEFORE = {"i": "(h)", "v": "(u)"}
_DIGIT = re.compile(r"[IVXM]|[ivx]{2}|\b[iv](?=[).])")
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}


def expand(text: str) -> str:
    """Roman numerals: ordinals after rulers, cardinals after headings, wars and sequels. "I" alone is a pronoun."""
    if not _DIGIT.search(text):
        return text
    text = _REGNAL_LIST.sub(_regnal_list, text)
    text = _REGNAL.sub(lambda m: f"{m[1] or m[4]} the {ordinal(_value(m[2] or m[3] or m[5]))}", text)
    text = _HEADING.sub(_heading, text)
    text = _WAR.sub(lambda m: f"World War {cardinal(_value(m[1] or m[2]))}", text)
    text = _PAGES.sub(_pages, text)
    text = _CENTURY.sub(lambda m: ordinal(_value(m[1] or m[2])) if _VALID.fullmatch(m[1] or m[2]) else m[0], text)
    text = _LIST.sub(_list, text)
    text = _ITEM.sub(_item, text)
    text = _AFTER_NAME.sub(_sequel, text)
    return _LONG.sub(lambda m: number(str(_value(m[1] or m[2]))), text)


def _heading(match: re.Match[str]) -> str:
    heading, numeral = match.groups()
    # A single lower-case letter names a part ("part c").
    is_numeral = (len(numeral) > 1 and (numeral.isupper() or set(numeral) <= set("ivx"))) or numeral in ("I", "V", "X")
    return f"{heading} {cardinal(_value(numeral))}" if is_numeral else match[0]


def _pages(match: re.Match[str]) -> str:
    """ "pp. ix-xii" -> "pages nine to twelve"."""
    first, last = (cardinal(_value(numeral)) if numeral else "" for numeral in match.group(2, 3))
    return (
        ("pages " if last or "pp" in match[1].lower() or match[1].endswith("s") else "page ")
        + first
        + f" to {last}" * bool(last)
    )


def _is_list(numerals: list[str]) -> bool:
    """Whether they are numerals that ascend."""
    values = [_value(numeral) for numeral in numerals]
    return values == sorted(set(values)) and all(map(_VALID.fullmatch, numerals))


def _list(match: re.Match[str]) -> str:
    """ "I, II and III" -> "one, two and three"; one of them at least has several letters, or they follow "Chapters"."""
    numerals = _LISTED.findall(match[0])
    is_clear = max(map(len, numerals)) > 1 or _OF_SEVERAL.search(match.string, 0, match.start())
    if not (is_clear and _is_list(numerals)):
        return match[0]
    spoken = _LISTED.sub(lambda m: cardinal(_value(m[0])), match[0])
    return re.sub(r"\s?-\s?", " to ", spoken)


def _regnal_list(match: re.Match[str]) -> str:
    """ "Charles I and II" -> "Charles the first and second"."""
    numerals = _LISTED.findall(match[2])
    if max(map(len, numerals)) == 1 or not _is_list(numerals):
        return match[0]
    return f"{match[1]} the {_LISTED.sub(lambda m: ordinal(_value(m[0])), match[2])}"


def _item(match: re.Match[str]) -> str:
    numeral = next(filter(None, match.groups()))
    return match[0] if _LETTER_BEFORE.get(numeral, "\0") in match.string else cardinal(_value(numeral))


def _sequel(match: re.Match[str]) -> str:
    """World War II, Rocky IV: the word before has a capital."""
    before = match.string[max(0, match.start() - 40) : match.start()].split()[-1]
    return f" {cardinal(_value(match[1]))}" if before.lstrip("\"'(")[:1].isupper() else match[0]


def _value(numeral: str) -> int:
    values = [_VALUES[letter] for letter in numeral.upper()]
    return sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True))
