"""Word and character error rates."""

import difflib
import re
from collections.abc import Iterator, Sequence

import numpy as np

from synthesizer.text import clean

# Whisper writes American English, and some words either way.
SPELLINGS = {
    **{
        f"{stem}our{end}": f"{stem}or{end}"
        for stem in ("col", "fav", "harb", "hon", "lab", "neighb")
        for end in ("", "s", "ed")
    },
    **{"neighbourhood": "neighborhood", "favourite": "favorite", "favourites": "favorites", "mould": "mold", "plough": "plow"},
    **{"grey": "gray", "centre": "center", "theatre": "theater", "towards": "toward", "okay": "ok", "jewellery": "jewelry"},
    **{f"travell{end}": f"travel{end}" for end in ("ed", "er", "ing")},
    **{f"reali{end}": f"reali{end.replace('s', 'z', 1)}" for end in ("se", "sed", "sing")},
}


def words(text: str, language: str = "en") -> list[str]:
    """Lower-case words without punctuation; in English also numbers and abbreviations in words, and one spelling of each."""
    text = clean(text, "english") if language == "en" else text
    found = re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.casefold().replace("’", "'"))
    return [SPELLINGS.get(word, word) for word in found] if language == "en" else found


def errors(text: str, heard: str, language: str = "en") -> dict[str, int]:
    """Errors and lengths in words and in characters without spaces. "Light house" counts as "lighthouse"."""
    said, got = words(text, language), words(heard, language)
    letters, letters_got = "".join(said), "".join(got)
    return {
        "word_errors": 0 if letters == letters_got else distance(said, got),
        "n_words": len(said),
        "char_errors": distance(letters, letters_got),
        "n_chars": len(letters),
    }


def distance(a: Sequence[str], b: Sequence[str]) -> int:
    """The least number of insertions, deletions and substitutions that turn a into b (Levenshtein 1966)."""
    index = np.arange(len(b) + 1)
    row, others = index, np.array(list(b), dtype=object)
    for i, item in enumerate(a, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (others != item))  # delete, substitute
        row = np.minimum.accumulate(np.concatenate([[i], best]) - index) + index  # insert
    return int(row[-1])


def differences(text: str, heard: str, language: str = "en") -> Iterator[tuple[str, str]]:
    """Stretches of words that were "heard", "missed" or "added", in order."""
    said, got = words(text, language), words(heard, language)
    for kind, a, b, c, d in difflib.SequenceMatcher(None, said, got, autojunk=False).get_opcodes():
        if kind == "equal":
            yield "heard", " ".join(said[a:b])
        else:
            yield from ((what, " ".join(part)) for what, part in (("missed", said[a:b]), ("added", got[c:d])) if part)
