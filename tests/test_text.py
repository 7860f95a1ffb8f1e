"""How text is read: against the published ids, and rule by rule."""

import pytest

from synthesizer.text import CLEANERS, END, PAD, SYMBOLS, clean, ids_to_text, text_to_ids
from utils.cli import UserError

READ_AS = {
    # cardinals
    "0 and 7 and 42": "zero and seven and forty-two",
    "12345": "twelve thousand, three hundred forty-five",
    "100,000,000": "one hundred million",
    "007": "zero zero seven",
    "1234567890123456": "one two three four five six seven eight nine zero one two three four five six",
    "-5 degrees": "minus five degrees",
    "10-12": "ten-twelve",
    "3.14 and .5 and 1.2.3": "three point one four and point five and one point two point three",
    # ordinals
    "1st 2nd 3rd 21st 112th": "first second third twenty-first one hundred twelfth",
    "the 1,000th": "the one thousandth",
    # years and decades
    "1999": "nineteen ninety-nine",
    "1905": "nineteen oh five",
    "1900": "nineteen hundred",
    "2000, 2007, 2010": "two thousand, two thousand seven, twenty ten",
    "1000, 3000": "one thousand, three thousand",
    "the 1990s, the '80s": "the nineteen nineties, the eighties",
    # money
    "$1": "one dollar",
    "$3.50": "three dollars, fifty cents",
    "$0.01": "one cent",
    "$1,234.56": "one thousand, two hundred thirty-four dollars, fifty-six cents",
    "$3.5 million": "three point five million dollars",
    "£1,200": "one thousand, two hundred pounds",
    "£1.01": "one pound, one penny",
    "£2.50": "two pounds, fifty pence",
    "€20": "twenty euros",
    # abbreviations and signs
    "Mr. and Mrs. Smith": "mister and missus smith",
    "Dr. Jones of St. Ives": "doctor jones of saint ives",
    "Capt. Lee, Sgt. Poe, Lt. Gen. Ray Jr.": "captain lee, sergeant poe, lieutenant general ray junior",
    "a misfit. The first. Most.": "a misfit. the first. most.",
    "50% of R&D": "fifty percent of r and d",
    "and/or [sic]": "and or sic",
    # scripts and white space
    "Zoë’s “café” — naïve…": 'zoe\'s "cafe" -- naive...',
    "Привет": "privet",
    "  a\tb\n\nc ": "a b c",
}


@pytest.mark.parametrize("text", READ_AS)
def test_english_is_written_out(text):
    assert clean(text) == READ_AS[text]


def test_ids_are_the_published_ones(expected):
    for i in range(3):
        assert text_to_ids(str(expected[f"text_{i}"])) == expected[f"ids_{i}"].tolist()


def test_ids_spell_the_cleaned_text_and_end_once():
    text = 'He said: "no" ~ never_ (at all) ☃!'
    assert ids_to_text(text_to_ids(text)) == 'he said: "no" never (at all) !' + END
    assert len(SYMBOLS) == len(set(SYMBOLS)) == 66 and SYMBOLS.startswith(PAD + END)


def test_symbols_and_cleaner_are_a_choice():
    symbols = PAD + END + "абв "
    assert ids_to_text(text_to_ids("АБ  В", symbols, "basic"), symbols) == "аб в" + END
    assert clean("Ça va: 12", "transliteration") == "ca va: 12"
    assert set(CLEANERS) == {"english", "transliteration", "basic"}
    with pytest.raises(UserError, match="french"):
        text_to_ids("a", cleaner="french")


@pytest.mark.parametrize("text", ["", "   ", "☃ ☃", "!?", "~_"])
def test_a_text_with_nothing_to_read_is_refused(text):
    with pytest.raises(UserError, match="nothing to read"):
        text_to_ids(text)
    with pytest.raises(ValueError):
        text_to_ids(text)
