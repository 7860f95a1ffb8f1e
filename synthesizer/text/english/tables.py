"""Tables of short forms, written as text so that they stay short."""


def table(entries: str) -> dict[str, str]:
    """ "mr mister, etc et cetera" -> {"mr": "mister", "etc": "et cetera"}."""
    return dict(entry.split(" ", 1) for entry in entries.split(", "))
