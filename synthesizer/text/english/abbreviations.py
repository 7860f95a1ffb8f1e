"""Abbreviations with a full stop, titles without one, and initials: "Mr.", "No. 5", "e.g.", "J. R. R. Tolkien", "U.S.A."."""

import re

from synthesizer.text.english.tables import END, STARTERS, stop, table

# with a full stop, anywhere
ABBREVIATIONS = table(
    "mr mister, mrs missus, ms miz, messrs messers, dr doctor, drs doctors, prof professor, st saint, co company, "
    "jr junior, sr senior, maj major, gen general, rev reverend, lt lieutenant, hon honorable, sgt sergeant, capt captain, "
    "cpl corporal, esq esquire, ltd limited, inc incorporated, corp corporation, bros brothers, col colonel, gov governor, "
    "sen senator, rep representative, ft fort, mt mount, vs versus, etc et cetera, approx approximately, dept department, "
    "est established, misc miscellaneous, univ university, ave avenue, blvd boulevard, rd road, hwy highway, viz namely, "
    "cf compare, ca circa, avg average, incl including, excl excluding, tel telephone, govt government, assoc associate, "
    "asst assistant, adm admiral, brig brigadier, cmdr commander, pvt private, supt superintendent, intl international, "
    "natl national, msgr monsignor, fr father, pres president, mx mix, reps representatives, sens senators, gens generals, "
    "govs governors, profs professors"
)
BEFORE_NUMBER = table(
    "no number, nos numbers, p page, pp pages, vol volume, vols volumes, ch chapter, fig figure, figs figures, "
    "eq equation, sec section, apt apartment, ext extension, art article, c circa, max maximum, min minimum, op opus, "
    "rte route, ste suite, chap chapter, col column, para paragraph, bk book, ll lines, vv verses, "
    "chs chapters, secs sections, cols columns"
)
PHRASES = {  # pattern: words
    r"(?<!\w)&c(?=\.)": "etc",
    r"(?<!\w)&c\b": "et cetera",
    r"\brt\.?\shon\b\.?": "right honorable",
    r"(?:^|(?<=[.!?]\s)|(?<=\bthe\s))(?-i:hon\.(?=\s[A-Z][a-z]))": "honorable",
    r"\bhon\b\.?(?=\s(?:friends?|members?|gentlem[ae]n|lad(?:y|ies))\b)": "honorable",
    r"\be\.\s?g\b\.?": "for example",
    r"\bi\.\s?e\b\.?": "that is",
    r"\ba\.k\.a\b\.?": "also known as",
    r"\bet al\.": "et al",
    r"\b(?-i:Sec\.)(?=\sof\s[A-Z])": "secretary",
    r"\b401\s?\(?k\b\)?": "four oh one k",
    r"\bw/o\b": "without",
    r"\bw/(?=\s)": "with",
    r"\bc/o\b": "care of",
    r"\b(?-i:pH)\b": "p h",
}
# Words that a letter may name, which can then end a sentence.
LETTERED = "Plan Vitamin Group Type Class Hepatitis Section Appendix Part Grade Option Team Block Exhibit Model Point".split()

_NAME = rf"(?!(?:{'|'.join(STARTERS)})\b)(?-i:[A-Z][a-z])"
_ABBREVIATION = re.compile(rf"\b(?!(?<=\d[ -])ft|(?<=-)ft)({'|'.join(ABBREVIATIONS)})\.(?:({END})|(?=([A-Za-z])))?", re.I)
_AMBIGUOUS = {  # abbreviations, as written, that are something else unless this follows
    word: re.compile(following, re.I if word.islower() else 0)
    for word, following in {
        "rep": rf"\s(?:(?-i:[a-z])|{_NAME})",
        "hon": r"(?!)",
        **dict.fromkeys("Rep Fr Reps Sens Gens Govs".split(), r"\s?[A-Z]"),
        **dict.fromkeys("fr pres reps sens gens govs mx".split(), rf"\s{_NAME}"),
        "Hon": r"\s?[A-Z]",
        "CA": r"\s?\d",
        "EST": r"\s(?:in\s)?\d{4}\b",  # or Eastern time
        "MT": r"\s?[A-Z]",
    }.items()
}
_TITLE = re.compile(
    r"\b(?:Mr|Mrs|Ms|Messrs|Dr|Prof|Mt)(?=\s+[A-Z])|\b(?:St|Hon|Rep|Sen|Gov|Capt|Sgt|Lt)(?=\s+[A-Z][a-z])"
    rf"|\b(?:mr|mrs|dr|prof)(?=\s+[A-Za-z])|(?<![\d-])\b(?:capt|sgt|gov|sen|lt|mt|st)(?=\s+(?i:{_NAME}))"
    r"|(?<=[a-z] )(?:Jr|Sr)\b(?!\.)|\bvs\b(?!\.)|(?<!slash )\b[Ee]tc\b(?!\.(?!\.))"
)
_COUNTED = re.compile(  # reps of an exercise
    r"(?:\d|\b(?:an?|each|every|per|last|first|next|final|more|of|few|some|all|one|two|three|four|five|six|"
    r"seven|eight|nine|ten|twelve|fifteen|twenty|thirty))\s$",
    re.I,
)
_BEFORE_NUMBER = re.compile(rf"(?<![A-Za-z]\.)\b(?:(pp|vols?|figs?)|({'|'.join(BEFORE_NUMBER)})\.)\s?(?=\d|\(\d+\))", re.I)
_PHRASES = [(re.compile(pattern, re.I), words) for pattern, words in PHRASES.items()]
_PHRASE_SIGN = re.compile(r"[/.&h(k]")
_PARTNERS = re.compile(r"\b([A-Z]{1,2})&([A-Z]{1,2})\b")
_INITIALS = re.compile(
    rf"(?!(?<=\d\s)[AaPp]\.[Mm]\.)\b((?:[A-Za-z]\.)(?:[A-Za-z]\.)+|(?:[A-Z]\.\s)+(?:[A-Z]\.)(?=\s+[A-Z][a-z]))('s\b)?({END})?"
)
_NO_INITIAL = {*LETTERED, "A", "An", "The"}
_INITIAL = re.compile(r"(?:([\w-]+)\s+|(?<![\w.]))([A-Z])\.(?=\s+([A-Z][a-z]+))")
_JOINED_INITIAL = re.compile(r"\b([A-Z])\.(?=([A-Z][a-z]+))")  # J.Smith
_DEGREE_PARTS = table(
    "Sc s c, Phil phil, Ed ed, Eng eng, Tech tech, Arch arch, Div div, Mus mus, Com com, Pharm pharm, Psy psy, Litt lit, Th t h"
)
_PART = "|".join(_DEGREE_PARTS)
_DEGREE = re.compile(
    rf"\b(?:(?:[BMDS]\.\s?(?:{_PART})\.|(?:{_PART})\.\s?D\.|LL\.\s?[BMD]\.|Ph\.\s?D\.)({END})?|(?:[BMD](?:{_PART})|PhD|phd)(s?)\b)"
)


def expand(text: str) -> str:
    """Write out abbreviations, and separate initials by spaces."""
    if _PHRASE_SIGN.search(text):
        for pattern, words in _PHRASES:
            text = pattern.sub(words, text)
    text = _DEGREE.sub(_degree, text)
    text = _PARTNERS.sub(lambda m: f"{' '.join(m[1])} and {' '.join(m[2])}", text)
    text = _BEFORE_NUMBER.sub(lambda m: BEFORE_NUMBER[(m[1] or m[2]).lower()] + " ", text)
    text = _TITLE.sub(lambda m: ABBREVIATIONS[m[0].lower()], text)
    if "." not in text:
        return text
    text = _ABBREVIATION.sub(_abbreviation, text)
    text = _INITIALS.sub(_initials, text)
    return _INITIAL.sub(_initial, _JOINED_INITIAL.sub(lambda m: m[1] + (". " if m[2].lower() in STARTERS else " "), text))


def _abbreviation(match: re.Match[str]) -> str:
    if match[1] in _AMBIGUOUS and not _AMBIGUOUS[match[1]].match(match.string, match.end()):
        return match[0]
    short = match[1].lower()
    if short in ("rep", "reps") and not match[1].istitle() and _COUNTED.search(match.string, 0, match.start()):
        return match[0]
    return ABBREVIATIONS[short] + (" " if match[3] else stop(match, 2, short == "etc"))


def _initials(match: re.Match[str]) -> str:
    follows = " " if match.string[match.end() : match.end() + 1].isalpha() else ""  # U.S.Navy
    return " ".join(re.findall(r"[A-Za-z]", match[1])).lower() + (match[2] or "") + stop(match, 3) + follows


def _degree(match: re.Match[str]) -> str:
    """ "M.Sc." -> "m s c", "BSc" -> "b s c", "D.Phil." -> "d phil"."""
    parts = re.findall("LL|[A-Z][a-z]*", match[0].removesuffix("s").replace("phd", "PhD"))
    spoken = " ".join(_DEGREE_PARTS.get(part, " ".join(part).lower()) for part in parts)
    return spoken + ("'s" if match[2] else stop(match, 1))


def _initial(match: re.Match[str]) -> str:
    """Drop the full stop after an initial, but not in "Plan B. Then", "an A. Smith got" or "It is I."."""
    before, letter, following = match.groups()
    is_last = following.lower() in STARTERS or (before or "").title() in _NO_INITIAL or (letter == "I" and before)
    return match[0] if is_last else match[0][:-1]
