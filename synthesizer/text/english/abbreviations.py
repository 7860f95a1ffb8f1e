"""Abbreviations with a full stop, titles without one, and initials: "Mr.", "No. 5", "e.g.", "J. R. R. Tolkien", "U.S.A."."""

import re

from synthesizer.text.english.tables import table

# with a full stop, anywhere
ABBREVIATIONS = table(
    "mr mister, mrs missus, ms miz, messrs messers, dr doctor, drs doctors, prof professor, st saint, co company, "
    "jr junior, sr senior, maj major, gen general, rev reverend, lt lieutenant, hon honorable, sgt sergeant, capt captain, "
    "cpl corporal, esq esquire, ltd limited, inc incorporated, corp corporation, bros brothers, col colonel, gov governor, "
    "sen senator, rep representative, ft fort, mt mount, vs versus, etc et cetera, approx approximately, dept department, "
    "est established, misc miscellaneous, univ university, ave avenue, blvd boulevard, rd road, hwy highway, viz namely, "
    "cf compare, ca circa, avg average, incl including, excl excluding, tel telephone, govt government"
)
BEFORE_NUMBER = table(
    "no number, nos numbers, p page, pp pages, vol volume, vols volumes, ch chapter, fig figure, figs figures, "
    "eq equation, sec section, apt apartment, ext extension, art article, c circa, max maximum, min minimum, op opus"
)
PHRASES = {  # pattern: words
    r"\be\.\s?g\b\.?": "for example",
    r"\bi\.\s?e\b\.?": "that is",
    r"\ba\.k\.a\b\.?": "also known as",
    r"\bet al\.": "et al",
    r"\bph\.?\s?d\b\.?": "p h d",
    r"\bw/o\b": "without",
    r"\bw/(?=\s)": "with",
    r"\bc/o\b": "care of",
    r"\band/or\b": "and or",
}
STREETS = {"st": "street", "dr": "drive"}  # after a name, unless a name follows
# Words that a letter may name, which can then end a sentence.
LETTERED = "Plan Vitamin Group Type Class Hepatitis Section Appendix Part Grade Option Team Block Exhibit Model Point".split()

_END = r"(?=[\"')]*\s*$)"  # a full stop that also ends the text stays
_ABBREVIATION = re.compile(rf"\b({'|'.join(ABBREVIATIONS)})\.({_END})?", re.I)
_STREET = re.compile(rf"(?<=[a-z])(\s+)(St|Dr)\.(?!\s+[A-Z])({_END})?")
_TITLE = re.compile(r"\b(Mr|Mrs|Ms|Dr|Prof|St|Mt)(?=\s+[A-Z])|(?<=[a-z] )(Jr|Sr)\b(?!\.)|\b(vs)\b(?!\.)")
_BEFORE_NUMBER = re.compile(rf"\b({'|'.join(BEFORE_NUMBER)})\.\s?(?=\d)", re.I)
_PHRASES = [(re.compile(pattern, re.I), words) for pattern, words in PHRASES.items()]
_PARTNERS = re.compile(r"\b([A-Z]{1,2})&([A-Z]{1,2})\b")
_INITIALS = re.compile(
    rf"(?!(?<=\d\s)[AaPp]\.[Mm]\.)\b((?:[A-Za-z]\.)(?:[A-Za-z]\.)+|(?:[A-Z]\.\s)+(?:[A-Z]\.)(?=\s+[A-Z][a-z]))('s\b)?({_END})?"
)
_INITIAL = re.compile(r"(?:(?<=^)|(?<=\())([A-Z])\.(?=\s+[A-Z][a-z])|\b([A-Z][\w-]+)(\s+[A-Z])\.(?=\s+[A-Z][a-z])")


def expand(text: str) -> str:
    """Write out abbreviations, and separate initials by spaces."""
    if "/" in text or "." in text or "h" in text:
        for pattern, words in _PHRASES:
            text = pattern.sub(words, text)
    text = _PARTNERS.sub(lambda m: f"{' '.join(m[1])} and {' '.join(m[2])}", text)
    text = _BEFORE_NUMBER.sub(lambda m: BEFORE_NUMBER[m[1].lower()] + " ", text)
    text = _TITLE.sub(lambda m: ABBREVIATIONS[m[0].lower()], text)
    if "." not in text:
        return text
    text = _STREET.sub(lambda m: m[1] + STREETS[m[2].lower()] + _stop(m, 3), text)
    text = _ABBREVIATION.sub(lambda m: ABBREVIATIONS[m[1].lower()] + _stop(m, 2, m[1].lower() == "etc"), text)
    text = _INITIALS.sub(_initials, text)
    return _INITIAL.sub(_initial, text)


def _stop(match: re.Match[str], group: int, ends_sentences: bool = False) -> str:
    """The full stop, if it also ends the text or a sentence."""
    ends = match[group] is not None or (ends_sentences and re.match(r"\s+[A-Z]", match.string[match.end() :]))
    return "." if ends else ""


def _initials(match: re.Match[str]) -> str:
    return " ".join(re.findall(r"[A-Za-z]", match[1])).lower() + (match[2] or "") + _stop(match, 3)


def _initial(match: re.Match[str]) -> str:
    """Drop the full stop after a middle initial, but not in "Plan B. Then" or "It is I."."""
    if match[1]:
        return match[1]
    return match[0] if match[2] in LETTERED or match[3].strip() == "I" else match[2] + match[3]
