"""Characters of a corpus that a model cannot say: which, how often, and the setting that keeps them."""

from collections import Counter
from collections.abc import Iterable

from synthesizer.text.cleaners import TextError, clean, read
from synthesizer.text.symbols import END, PAD, PHONE_NAMES, SYMBOLS, is_spoken, phones_to_characters

N_SHOWN = 20  # characters


def unread_in(text: str, symbols: str, cleaner: str) -> Counter[str]:
    """How often each character of the text as it is read aloud is left out, as it is no symbol."""
    cleaned = clean(phones_to_characters(text), cleaner, symbols)
    return Counter(c for c in cleaned if (c not in symbols or c in PAD + END) and not c.isspace())


def is_readable(text: str, symbols: str, cleaner: str) -> bool:
    """Whether `read` takes a text. Most are known by their first letters, which costs little."""
    if "{" not in text and any(c in symbols and is_spoken(c) for c in text.lower()):
        return True
    try:
        return bool(read(text, symbols, cleaner))
    except TextError:
        return False


class UnreadCounts:
    """Sums over many texts."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self.texts: Counter[str] = Counter()

    def add(self, counts: Iterable[tuple[str, int, int]]) -> None:
        """(character, how often, in how many texts), ..."""
        for character, n_times, n_texts in counts:
            self.times[character] += n_times
            self.texts[character] += n_texts

    def add_text(self, text: str, symbols: str, cleaner: str) -> None:
        """The characters that are left out of a text."""
        self.add((character, n, 1) for character, n in unread_in(text, symbols, cleaner).items())

    def lines(self, symbols: str) -> list[str]:
        """What to tell the user; [] if nothing is left out of any text."""
        if not self.times:
            return []
        common = self.times.most_common()
        shown = [f"{character} {n:,} times in {self.texts[character]:,} utterances" for character, n in common[:N_SHOWN]]
        more = [f"and {len(common) - N_SHOWN} more"] if len(common) > N_SHOWN else []
        lines = [f"without a symbol, so not said: {', '.join(shown + more)}"]
        if letters := "".join(sorted(c for c in self.times if c.isalpha() and c not in PHONE_NAMES)):
            own = "".join(c for c in symbols if c not in SYMBOLS and c not in PHONE_NAMES)
            keep = f"--hparams symbols=+{own}{letters}" if set(SYMBOLS) <= set(symbols) else f"{letters} in the file of symbols"
            lines.append(f"    to keep the letters, train with {keep} (docs/text.md)")
        if any(c.isdigit() for c in self.times):
            lines.append("    to say the numbers, write them out in the texts or by the rules of a cleaner (docs/text.md)")
        return lines
