"""Words in capitals: spelt ("BBC"), unless they are pronounced as words ("NASA") or stressed ("STOP")."""

import re

RESPELT = {"OK": "okay", "JPEG": "jay-peg", "IEEE": "i triple e", "NAACP": "n double a c p"}
RESPELT_MIXED = {"GmbH": "g m b h", "LaTeX": "lay-tech", "WiFi": "wi-fi", "PostgreSQL": "postgres q l"}
# Spelt although they have vowels, even in a text that is all in capitals.
SPELT = frozenset(
    (
        "USA UK EU FBI CIA CEO AFAIK AMEX ASAP EULA FAQ IAEA ISBN ISO NBA NCAA OECD OSCE UAE UCLA UNHCR USSR USB VIP YMCA YWCA "
        "ACLU HIV EEG ECG LGBTQ SUV AOL UFO"
    ).split()
)
PRONOUNCED = frozenset("RAM ROM PIN SIM ZIP GIF DOS LAN WAN MAC ACE HAL SAM".split())  # words of three letters
# Short words that are in capitals for stress more often than as initials.
SHORT_WORDS = frozenset(
    (
        "AM AN AS AT BE BY DO GO HE IF IN IS IT ME MY NO OF OH ON OR SO TO UP WE YE AH HA HO HI HM HMM SH SHH PST BRR "
        "MR MS DR ST ACT ADD AGE AGO AID AIM AIR ALL AND ANY ARE ARM ART ASK ATE BAD BAG BAN BAR BAY BED BET BIG BIT "
        "BOX BOY BUS BUT BUY BYE CAN CAR CAT COW CRY CUP CUT DAD DAY DID DIE DIG DOG DRY DUE EAR EAT EGG END EVE EYE "
        "FAR FAT FEW FIT FLY FOR FOX FUN GAS GET GOD GOT GUN GUY HAD HAS HAT HER HEY HID HIM HIS HIT HOT HOW ICE ILL "
        "ITS JOB JOY KEY KID LAW LAY LEG LET LIE LOT LOW MAD MAN MAP MAY MEN MET MIX MOM MUD MUM NET NEW NOR NOT NOW "
        "NUT ODD OFF OIL OLD ONE OUR OUT OWE OWN PAY PEN PET PUT RAN RED RID RUN SAD SAT SAW SAY SEA SEE SET SHE SIT "
        "SIX SKY SON SUM SUN TAX TEA TEN THE TIE TIN TIP TOO TOP TRY TWO USE WAR WAS WAY WET WHO WHY WIN WON YES YET "
        "YOU"
    ).split()
)
INTERJECTIONS = frozenset(
    "HM HMM HMMM SH SHH SHHH PST PSST BRR BRRR GRR GRRR TSK PFFT ZZZ NTH TH ND RD MR MRS MS DR ST".split()
)

_CAPITALS = re.compile(r"(?<![\w'])([A-Z]{2,})(?:('?s)\b|\b(?!'[A-Z]))")
_MIXED = re.compile(  # after no figure: 5 mAh
    r"(?<![\w'])(?<!\d )(?:"
    r"(?P<version>[A-Z]{2,})v(?=\d)"  # IPv6
    r"|(?P<small>[a-z]{1,2})(?P<capitals>[A-Z]{2,5})"  # mRNA
    r"|(?P<word>(?!Mc|Mac[A-Z]{3})[A-Za-z][a-z]{2,}|My|No)(?P<tail>[A-Z]{2,3})"  # macOS
    r"|(?P<letter>[ei])(?=[A-Z][a-z]{2})"  # iPhone
    r")(?P<plural>'?s\b)?(?:(?<=[ei])(?=[A-Z])|(?<=v)(?=\d)|\b)"
)
_AFTER_TITLE = re.compile(r"\b(?:mister|missus|miz|doctor|professor|captain|general|colonel|senator|president|saint) $", re.I)
_LOWER = re.compile(r"\b[A-Z]*[a-z]")
_MODEL = re.compile(r"(?<![\w'-])([A-Z]{2,3})(?=-\d)")  # AK-47
_NO_MODEL = frozenset("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC PRE MID NON PRO".split())
_PAIR = re.compile(  # no units: 3 m/s
    r"(?<![\w/.:~\\-])(?:(?<!\d\s)|(?=[a-z]{3})(?!mol|gal|min|lbs|cal))([A-Za-z]+)/([A-Za-z]+)(?![\w/]|\.\w|-[a-z])"
)
_CHOICE = re.compile(
    "|".join(
        rf"\b(?:{each})(?:/(?:{each}))+\b"
        for each in ("s?he|it|they", "him|her|them|it", "his|hers?|theirs?|its", "(?:him|her|it)self|themselves")
    ),
    re.I,
)
_EITHER = re.compile(r"(?:\bs/|\(s\))he\b", re.I)
_VOWEL = re.compile("[AEIOUY]")


def is_shouted(text: str) -> bool:
    """Whether the whole text is in capitals, as LibriSpeech's are; capitals then mean nothing."""
    return not _LOWER.search(text)


def expand(text: str, is_shouted: bool) -> str:
    """Separate the letters of initials by spaces."""
    return _CAPITALS.sub(lambda match: _word(match, is_shouted), text)


def expand_mixed(text: str) -> str:
    """Words with capitals inside: "IPv6" -> "i p v 6", "mRNA" -> "m r n a", "macOS" -> "mac o s", "iPhone" -> "i Phone"."""
    for written, words in RESPELT_MIXED.items():
        text = text.replace(written, words)
    return _MIXED.sub(_mixed, text)


def expand_pairs(text: str) -> str:
    """ "he/she" -> "he or she", "and/or" -> "and or", "AC/DC" -> "a c d c", "AK-47" -> "a k-47"."""
    text = _MODEL.sub(lambda m: m[0] if m[1] in _NO_MODEL else _as_initials(m[1]), text)
    if "/" not in text and ")" not in text:
        return text
    text = _CHOICE.sub(lambda m: m[0].replace("/", " or "), _EITHER.sub("he or she", text))
    return _PAIR.sub(lambda m: f"{_as_initials(m[1])} {_as_initials(m[2])}", text)


def _as_initials(word: str) -> str:
    """Beside a sign, capitals are initials even in a text that is all in capitals."""
    return " ".join(word).lower() if word.isupper() and len(word) > 1 and _is_spelt(word, False) else word


def _mixed(match: re.Match[str]) -> str:
    part = match.groupdict()
    ending = "'s" if part["plural"] else ""
    if part["version"]:
        return " ".join(f"{part['version']}v").lower() + " "
    if part["letter"]:
        return part["letter"] + " "
    if part["word"]:
        return f"{part['word']} {' '.join(part['tail']).lower()}{ending}"
    return " ".join(part["small"] + part["capitals"]).lower() + ending


def _word(match: re.Match[str], is_shouted: bool) -> str:
    word, ending = match[1], match[2] or ""
    if word in RESPELT and not is_shouted:
        return RESPELT[word] + ending
    is_name = (
        len(word) > 2 and word not in SPELT and _VOWEL.search(word) and _AFTER_TITLE.search(match.string, 0, match.start())
    )
    if is_name or not _is_spelt(word, is_shouted):
        return match[0]
    return " ".join(word).lower() + ("'s" if ending else "")


def _is_spelt(word: str, is_shouted: bool) -> bool:
    if word in PRONOUNCED or word in INTERJECTIONS or (word in SHORT_WORDS and not is_shouted):
        return False
    return word in SPELT or not _VOWEL.search(word) or (len(word) <= 3 and not is_shouted)
