"""Word times laid onto a text with punctuation: aligners speak of bare words, the model reads the text as it is written."""

import unicodedata
from collections.abc import Sequence


def onto_text(text: str, words: Sequence[str], ends: Sequence[float]) -> tuple[tuple[str, ...], tuple[float, ...]] | None:
    """Words ("" for silence) and their ends (s) -> the same for the text's own words, punctuation included.

    Text and words must spell the same letters; how these are parted into words may differ ("well-known" for WELL, KNOWN), as
    the times within a word are taken to be even. Where they do not spell the same, the answer is None. The words of the
    answer, without the silences, joined by spaces are the text.
    """
    tokens = _tokens(text)
    spelt = [_letters(token) for token in tokens]
    told = [_letters(word) for word in words]
    if "".join(spelt) != "".join(told) or not tokens:
        return None
    times, silences, start = [], {}, 0.0  # end of each letter; end of the silence before each letter
    for letters, end in zip(told, ends, strict=True):
        times += [end - (end - start) * left / len(letters) for left in reversed(range(len(letters)))]
        if not letters:
            silences[len(times)] = end
        start = end
    entries, n = [("", silences[0])] if 0 in silences else [], 0
    for token, letters in zip(tokens, spelt, strict=True):
        n += len(letters)
        entries.append((token, times[n - 1]))
        if n in silences:
            entries.append(("", silences[n]))
    return tuple(word for word, _ in entries), tuple(end for _, end in entries)


def spoken(word: str) -> str:
    """A word of a text without the punctuation around it, as alignments.txt lists it; apostrophes stay."""
    kept = [i for i, character in enumerate(word) if character.isalnum() or character in "'’"]
    return word[kept[0] : kept[-1] + 1].replace(",", "") if kept else ""


def _tokens(text: str) -> list[str]:
    """The words of a text, each with the punctuation around it, be it parted by spaces."""
    tokens: list[str] = []
    leading: list[str] = []
    for part in text.split():
        if _letters(part):
            tokens.append(" ".join([*leading, part]))
            leading = []
        elif tokens:
            tokens[-1] += f" {part}"
        else:
            leading.append(part)
    return tokens


def _letters(word: str) -> str:
    """What tells words apart whatever their case, accents and punctuation."""
    return "".join(c for c in unicodedata.normalize("NFKD", word).casefold() if c.isalnum())
