"""Signs: those of other scripts become plain ones, and those with a name become words."""

import re
import unicodedata

from synthesizer.text.english.tables import table

PLAIN = str.maketrans(table("[ (, ] ), { (, } ), º °, ˚ °, ℃ °C, ℉ °F, μ µ, Ω Ω, ⁄ /") | {"№": "No. ", "¿": None, "¡": None})
WORDS = table(
    "& and, % percent, ‰ per mille, @ at, # hash, + plus, = equals, § section, ° degrees, © copyright, ® registered, "
    "™ trademark, × times, ÷ divided by, ± plus or minus, ≈ is about, ≠ does not equal, ≤ is at most, ≥ is at least, "
    "∞ infinity, √ the square root of, π pi, → to, ¶ paragraph, < less than, > greater than, \\ backslash, $ dollar, "
    "£ pound, € euro, ¥ yen, ¢ cent, / slash"
)
# Signs that read differently beside a number.
BESIDE_NUMBERS = [
    (re.compile(pattern), words)
    for pattern, words in {
        r"#\s?(?=\d)": "number ",
        r"§\s?(?=\d)": "section ",
        r"§§\s?(?=\d)": "sections ",
        r"(?<!\w)~\s?(?=[\d$£€])": "about ",
        r"\^\((-?\w+)\)": r"^\1",
        r"\b(\d+(?:\.\d+)?)e\+?(-?)0*(\d{1,3})\b": r"\1 times 10^\2\3",
        r"(?<=\d)\s?[x×·]\s?(?=10[\^-])": " times ",
        r"(?<=times 10)[-−](?=\d)": " to the power of minus ",
        r"\s?\^-(?=\d)": " to the power of minus ",
        r"(?<=\d)x(?=\s(?:faster|slower|more|less|larger|bigger|smaller|better|higher|cheaper|longer|the)\b)": " times",
        r"(?<=\d)\s?\*\s?(?=\d)": " times ",
        r"(?<=\d)(?:\s?x\s?|×)(?=\d)": " by ",
        r"(?<=\d)\^2(?!\d)": " squared",
        r"(?<=\d)\^3(?!\d)": " cubed",
        r"(?<=\d)\s?\^\s?(?=\d)": " to the power of ",
        r"(?<=\d)\s/\s(?=\d)": " divided by ",
    }.items()
]

# Marks of footnotes: [12] and † after a word, and raised figures after one of three letters, a full stop or a year.
FOOTNOTE = re.compile(
    r"(?<=[\w.,;:!?\"'”’)\]])\[(?:\d{1,3}(?:[-–,]\s?\d{1,3})*|note \d+|citation needed)\]|(?<=[\d.,;:!?])\[[a-z]\]|(?<=\S)[†‡]+"
    r"|(?:(?<=[.,;:!?\"”’])|(?<=[^\W\d_]{3})(?<!\bsin)(?<!\bcos)(?<!\btan)(?<!\blog)"
    r"|(?<=\b1[1-9]\d\d)(?!.?\s?[=+×*/])|(?<=\b20\d\d)(?!.?\s?[=+×*/]))(?:[¹²³⁰⁴-⁹]+(?:[,–-](?=[¹²³⁰⁴-⁹]))?)+"
)
_VULGAR = re.compile(r"(\d)?([¼-¾⅐-⅞])")
_SUPERSCRIPT = re.compile(r"(?<=[^\W_])[²³](?![⁰-⁹¹²³])|(?:(?<=\d)|(?<=\b[^\W\d_]))(?!¹(?![⁰-⁹¹²³]))[⁻⁺]?[⁰-⁹¹²³]+")
_TO_THE_POWER = re.compile(r"(?<=\w)\^(?=\w)")
_SIGN = re.compile(rf"\s?([{''.join(map(re.escape, WORDS))}])\s?")
_ARROW = re.compile(r"\s?(?:(?<![-=])[-=]+>|<[-=]+)\s?")
_SHARP = re.compile(r"\b([A-G])#|\b(C)\+\+(\w)?")
_POWER = re.compile(r"(?<=[^\W\d])\^(two|three)\b")  # after a letter; numbers are words by now
_INVISIBLE = {"Cf", "Cc"}


def plain_characters(text: str) -> str:
    """Digits, fractions and letters of any kind in plain ASCII; all brackets become round. Marks of footnotes are left out."""
    text = FOOTNOTE.sub("", text)
    if not text.isascii():
        text = _VULGAR.sub(lambda m: f"{m[1] + ' ' if m[1] else ''}{unicodedata.normalize('NFKC', m[2])}", text)
        text = _SUPERSCRIPT.sub(lambda m: "^" + unicodedata.normalize("NFKC", m[0]).replace("−", "-"), text)
        text = "".join(map(_plain, text))
    return text.translate(PLAIN)


def _plain(character: str) -> str:
    if character.isascii() or character in WORDS or ord(character) in PLAIN:
        return character
    if unicodedata.category(character) in _INVISIBLE or "\ufe00" <= character <= "\ufe0f":
        return ""
    if character.isspace():
        return " "
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    return unicodedata.normalize("NFKC", character)  # ligatures, full-width letters, circled digits


def expand_beside_numbers(text: str) -> str:
    """Write out the signs that read differently beside a number."""
    for pattern, words in BESIDE_NUMBERS:
        text = pattern.sub(words, text)
    return text


def expand(text: str) -> str:
    """Write out the signs that have a name; others stay."""
    text = _SHARP.sub(lambda m: f"{m[1]} sharp" if m[1] else "C plus plus" + (f" {m[3]}" if m[3] else ""), text)
    text = _ARROW.sub(" to ", text)
    text = _POWER.sub(lambda m: " squared" if m[1] == "two" else " cubed", text)
    text = _TO_THE_POWER.sub(" to the power of ", text)
    return _SIGN.sub(_word, text)


def _word(match: re.Match[str]) -> str:
    before, after = match.string[max(0, match.start() - 1) : match.start()], match.string[match.end() : match.end() + 1]
    opening = "" if not before or before in "(\"'" else " "
    return opening + WORDS[match[1]] + ("" if not after or after in ".,;:!?)'\"-" else " ")
