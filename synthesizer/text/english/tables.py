"""What the rules for short forms share: tables written as text, and which full stops stay."""

import re

END = r"(?=[\"')]*\s*$)"  # a full stop that also ends the text stays
_NEW_SENTENCE = re.compile(r"\s+[A-Z](?![A-Z])")
# Words that are no names, so that a capital shows where a sentence begins.
STARTERS = frozenset(
    (
        "the a an i you he she it we they this that these those there here his her my our your their its who what when where "
        "why how if and but or so then yet now no yes not in on at as after before for from with by to of until since because "
        "while although though once some all both each most many few another please let is are was were do does did can could "
        "would should might have has had never nobody everyone nothing however also only even just such finally later today"
    ).split()
)


def table(entries: str) -> dict[str, str]:
    """ "mr mister, etc et cetera" -> {"mr": "mister", "etc": "et cetera"}."""
    return dict(entry.split(" ", 1) for entry in entries.split(", "))


def stop(match: re.Match[str], group: int, ends_sentences: bool = False) -> str:
    """The full stop after a short form, if it also ends the text (the group is END) or a sentence."""
    ends = match[group] is not None or (ends_sentences and _NEW_SENTENCE.match(match.string, match.end()))
    return "." if ends else ""
