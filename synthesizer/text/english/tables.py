"""What the rules for short forms share: tables written as text, and which full stops stay."""

import re

END = r"(?=[\"')]*\s*$)"  # a full stop that also ends the text stays
_NEW_SENTENCE = re.compile(r"\s+[A-Z]")


def table(entries: str) -> dict[str, str]:
    """ "mr mister, etc et cetera" -> {"mr": "mister", "etc": "et cetera"}."""
    return dict(entry.split(" ", 1) for entry in entries.split(", "))


def stop(match: re.Match[str], group: int, ends_sentences: bool = False) -> str:
    """The full stop after a short form, if it also ends the text (the group is END) or a sentence."""
    ends = match[group] is not None or (ends_sentences and _NEW_SENTENCE.match(match.string, match.end()))
    return "." if ends else ""
