"""Words as the sounds of the pronouncing dictionary: which, how many, when they are spoken, and models that learn them."""

import pytest

from synthesizer.text import SYMBOL_SETS, read, shown

ARPABET = SYMBOL_SETS["arpabet"]


def as_sounds(text: str, **how) -> str:
    return shown(read(text, ARPABET, sounds=1.0, **how).symbols)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, world!", "{HH AH0 L OW1}, {W ER1 L D}!"),
        ("the BBC was used to live in a house", "the b b c was used to live in a house"),  # said in several ways; letters
        ("either often zorbinate", "either often zorbinate"),
        ("An employee can't", "an {EH0 M P L OY1 IY0} {K AE1 N T}"),  # ways that differ in weak vowels alone
        ("well-known 'dogs' o'clock", "{W EH1 L}-{N OW1 N} '{D AA1 G Z}' {AH0 K L AA1 K}"),
        ("kitten's, whist's hedgehog's glimpse's", "{K IH1 T AH0 N Z}, whist's {HH EH1 JH HH AA2 G Z} {G L IH1 M P S IH0 Z}"),
        ("2 {T AH0 M AA1 T OW2}hello tomatoes", "{T UW1} {T AH0 M AA1 T OW2}hello tomatoes"),  # the user's own
    ],
)
def test_dictionary_words_are_sounds_and_words_of_several_ways_stay_letters(text, expected):
    reading = read(text, ARPABET, sounds=1.0)
    assert shown(reading.symbols) == expected
    assert reading.text == read(text, ARPABET).text == read(text, ARPABET).symbols
