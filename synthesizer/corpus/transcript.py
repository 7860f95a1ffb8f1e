"""Word times for a text with punctuation: aligners give bare words, but the model reads the text as it is written."""

import unicodedata
from collections.abc import Sequence


def onto_text(text: str, words: Sequence[str], ends: Sequence[float]) -> tuple[tuple[str, ...], tuple[float, ...]] | None:
    """Words ("" is silence) and their ends (s) -> the same for the words of the text, with their punctuation.

    None unless both spell the same letters. They may be split into words differently ("well-known" for WELL, KNOWN): a
    word's letters share its time evenly. Without the silences, the words returned, joined by spaces, are the text.
    """
    tokens = _tokens(text)
    spelt = [_letters(token) for token in tokens]
    timed = [_letters(word) for word in words]
    if "".join(spelt) != "".join(timed) or not tokens:
        return None
    times, silences, start = [], {}, 0.0  # end of each letter; end of the silence before each letter
    for letters, end in zip(timed, ends, strict=True):
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
    """A word as alignments.txt lists it: without the punctuation around it, except apostrophes."""
    kept = [i for i, character in enumerate(word) if character.isalnum() or character in "'’"]
    return word[kept[0] : kept[-1] + 1].replace(",", "") if kept else ""


def _tokens(text: str) -> list[str]:
    """The words of a text, each with the punctuation around it, even if spaces are between."""
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
    """A word without case, accents and punctuation."""
    return "".join(c for c in unicodedata.normalize("NFKD", word).casefold() if c.isalnum())
