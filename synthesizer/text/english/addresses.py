"""Web and e-mail addresses, handles and hash tags: "www.example.com/news" -> "w w w dot example dot com slash news"."""

import re

from synthesizer.text.english.tables import table

SIGNS = table(
    ". dot, / slash, - dash, _ underscore, @ at, ? question mark, = equals, & and, # hash, % percent, + plus, ~ tilde, "
    ": colon, ^ caret, \\ backslash"
)
# Endings of files, and of domains written without www or https. No English words: a space may be missing after a full stop.
ENDINGS = (
    "com org net edu gov io ai info eu uk de fr es nl ch ca au jp txt pdf html jpg png mp3 wav exe zip py csv json js jsx ts "
    "tsx css md sh xml yaml yml toml gz tar rs cpp php docx doc xlsx xls pptx svg gif mp4 mov flac ogg ini ipynb tv ru cn NET "
    "java swift kt cc hpp lua jar jpeg cfg conf tgz tex sql rb ppt webp bz2 xz 7z tmp log bak dll iso apk dmg dev xyz eu"
).split()
_FILES = "TXT PDF HTML JPG JPEG PNG GIF MP3 MP4 WAV FLAC EXE ZIP CSV JSON XML DOC DOCX XLS XLSX PPT PPTX BAT INI LOG".split()
SAID_AS_WORDS = frozenset(["com", "org", "net", "gov", "edu", "info", "wav", "zip", "gif", "tar", "doc", "env"])

_IN_PATH = r"[\w.~/\\-]"
_NAME = r"[A-Za-z0-9](?:[\w-]*[A-Za-z0-9])?"
_EMAIL = re.compile(rf"(?<![\w.])[\w.+-]+@{_NAME}(?:\.{_NAME})+")
_URL = re.compile(r"\b(?:https?|ftp)://[^\s<>\"')\]]+|\bwww\.[^\s<>\"')\]]+", re.I)
_DOMAIN = re.compile(
    r"(?<![\w.@/])(?!(?:Mr|Mrs|Ms|Dr|Prof)\.\w+\s)"  # Ms.de Vries
    rf"(?:(?:{_NAME}\.)+(?:{'|'.join(ENDINGS + _FILES)})|[a-z_]{{3,}}\.[ch])\b(?![.@]\w)"
    r"(?::\d{2,5}\b)?(?:(?:/|\?\w+=)[^\s<>\"')\]]*)?"
)
# ~/notes, ./run.sh, C:\Users and .gitignore
_PATH = re.compile(rf"(?<![^\s(\"'])(?:(?:~|\.\.?)?/(?=[A-Za-z.]){_IN_PATH}+|[A-Z]:\\{_IN_PATH}+|\.(?=[a-z][\w-]+){_IN_PATH}+)")
_ENDING = re.compile(rf"(?<![\w.])\.({'|'.join(ENDINGS)})\b")
_SIGN = re.compile(r"[.@#/\\]")
_HANDLE = re.compile(r"(?<![\w@])@(\w+)")
_HASH_TAG = re.compile(r"(?<![\w#])#([A-Za-z]\w*)")
_STOPS = ".,;:!?"  # at the end of an address these belong to the sentence
_PIECE = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")


def expand(text: str) -> str:
    """Addresses as people say them, without the scheme (https://)."""
    if not _SIGN.search(text):
        return text
    for pattern in (_EMAIL, _URL, _DOMAIN, _PATH):
        text = pattern.sub(_address, text)
    text = _ENDING.sub(lambda m: f"dot {_piece(m[1], is_after_dot=True)}", text)
    text = _HANDLE.sub(lambda m: f"at {_words(m[1])}", text)
    return _HASH_TAG.sub(lambda m: f"hashtag {_words(m[1])}", text)


def _address(match: re.Match[str]) -> str:
    address = match[0].rstrip(_STOPS)
    stops = match[0][len(address) :]
    return _words(re.sub(r"^\w+://", "", address).rstrip("/")) + stops


def _words(address: str) -> str:
    pieces = _PIECE.findall(address)
    spoken = (_piece(piece, i and pieces[i - 1] == ".") for i, piece in enumerate(pieces))
    return " ".join(spoken)


def _piece(piece: str, is_after_dot: bool) -> str:
    if piece in SIGNS:
        return SIGNS[piece]
    lower = piece.lower()
    is_spelt = not re.search("[aeiouy]", lower) or (is_after_dot and len(piece) <= 3 and lower not in SAID_AS_WORDS)
    return " ".join(lower) if is_spelt and piece.isascii() and piece.isalpha() else lower
