"""Lists of words in a row, for the tables of the other modules."""


def listed(words: str) -> list[str]:
    """ "a b" -> ["a", "b"]."""
    return words.split()
