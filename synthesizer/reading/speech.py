"""What is said when a text is read aloud: pieces in order, in batches, and joined."""

import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from synthesizer.text import TextError, is_readable, read, shown
from synthesizer.text.sentences import SHORT, Pause, Piece, split
from synthesizer.text.symbols import is_spoken, phones_to_characters

PLAIN = " ,.;:!?'\"’“”()-–—"  # characters that are read as they are
LONGEST_PIECE = 200  # characters, where a file does not say what the model was trained on
USUAL_RATE = 15  # symbols per second of read English
FEWEST_SYMBOLS = 2 * SHORT  # a shorter piece is not divided


class Said(NamedTuple):
    """One piece of a text."""

    text: str  # as it was read; sounds in braces
    mel: np.ndarray  # float32 (n_mels, T), without the silence at its end
    alignment: np.ndarray  # float32 (decoder steps, symbols)
    pause: Pause  # what follows
    missed: tuple[str, ...]  # words, as written, that were skipped, repeated or not reached, after all tries
    stopped: bool  # False where the model was cut at its cap
    labels: Sequence[str]  # what each symbol is in the text, without the end (sounds.spelled)

    @property
    def n_faults(self) -> int:
        return len(self.missed) + (not self.stopped)


def longest_piece(seconds: float, n_symbols: int) -> int:
    """The most symbols of a piece, for a model trained on utterances of up to so many seconds and symbols; 0: not known.

    The seconds count too, as the longest utterance may have been spoken unusually fast.
    """
    if not seconds or not n_symbols:
        return LONGEST_PIECE
    return max(2 * FEWEST_SYMBOLS, min(n_symbols, int(USUAL_RATE * seconds)))


def pieces_of(text: str, limit: int, symbols: str, cleaner: str) -> list[Piece]:
    """The text as pieces of at most `limit` symbols; those without anything to read are left out.

    TextError if nothing can be read, or for a phone without a symbol.
    """
    found: list[Piece] = []
    for piece in split(text, limit):
        if not _is_readable(piece.text, symbols, cleaner):
            if found and piece.pause is Pause.PARAGRAPH:
                found[-1] = found[-1]._replace(pause=piece.pause)
            continue
        found += _divided(piece, limit, symbols, cleaner)
    if not found:
        read(text, symbols, cleaner)
        raise TextError(f"nothing to read in the text {text[:80]!r}")
    return found


def _is_readable(text: str, symbols: str, cleaner: str) -> bool:
    """TextError for sounds in braces that cannot be read."""
    if phones_to_characters(text) != text:
        read(text, symbols, cleaner)
        return True
    return is_readable(text, symbols, cleaner)


def _divided(piece: Piece, limit: int, symbols: str, cleaner: str) -> list[Piece]:
    """The piece, divided further where it is much longer as it is read: 1,234 has four words, and BBC is spelt."""
    most = len(piece.text) + 10 * sum(not ("a" <= c <= "z" or c in PLAIN) for c in piece.text)
    if most <= limit:
        return [piece]
    reading = read(piece.text, symbols, cleaner).text
    if len(reading) <= limit:
        return [piece]
    parts = [piece]
    if len(piece.text) >= FEWEST_SYMBOLS:
        parts = _parts(piece, len(piece.text) * limit // (len(reading) + 1), symbols, cleaner)
    if len(parts) < 2:
        return _divided_as_read(reading, piece.pause, limit)
    return [each for part in parts for each in _divided(part, limit, symbols, cleaner)]


def _divided_as_read(reading: str, pause: Pause, limit: int) -> list[Piece]:
    """A word, number or address that is too long, as the words it is read as; where these are too long, anywhere."""
    texts = [text for piece in split(reading, limit) for text in _chopped(piece.text, limit)]
    pauses = [*(Pause.CLAUSE for _ in texts[1:]), pause]
    return [Piece(shown(text), after) for text, after in zip(texts, pauses, strict=True) if any(map(is_spoken, text))]


def _chopped(text: str, limit: int) -> Iterator[str]:
    """Parts of like length, each ending with a sign where there is one near, and none beginning with an accent."""
    is_mark = [unicodedata.category(character).startswith("M") for character in text]
    is_sign = [not (is_spoken(character) or mark) for character, mark in zip(text, is_mark, strict=True)]
    start = 0
    while (n_left := len(text) - start) > limit:
        size = math.ceil(n_left / math.ceil(n_left / limit))
        near = [end for end in range(start + size, start + size // 2, -1) if not is_mark[end]] or [start + size]
        end = next((end for end in near if is_sign[end - 1]), near[0])
        yield text[start:end].strip()
        start = end
    yield text[start:].strip()


def halves(piece: Piece, symbols: str, cleaner: str) -> list[Piece]:
    """The piece divided near its middle; itself where it is too short for that."""
    return [piece] if len(piece.text) < FEWEST_SYMBOLS else _parts(piece, math.ceil(0.6 * len(piece.text)), symbols, cleaner)


def _parts(piece: Piece, limit: int, symbols: str, cleaner: str) -> list[Piece]:
    """The piece in parts of at most `limit` characters in which there is something to read."""
    *others, last = [part for part in split(piece.text, max(SHORT, limit)) if _is_readable(part.text, symbols, cleaner)]
    return [*others, last._replace(pause=piece.pause)]


Say = Callable[[list[Piece], np.ndarray], list[Said]]  # pieces and the speaker of each -> what the model makes of them


def say_well(
    say: Say,
    pieces: list[Piece],
    speakers: np.ndarray,
    retries: int,
    divide: Callable[[Piece], list[Piece]],
    join: Callable[[list[Said], Piece], Said],
) -> list[Said]:
    """Say each piece; one with a fault again, up to `retries` times, then in parts. The best is kept, the first of equals.

    divide: a piece -> its parts. join: what was said of the parts, and the piece -> one Said.
    """
    best = say(pieces, speakers)
    for _ in range(retries):
        again = [i for i, each in enumerate(best) if each.n_faults]
        for i, said in zip(again, say([pieces[i] for i in again], speakers[again]) if again else (), strict=True):
            best[i] = min(best[i], said, key=lambda each: each.n_faults)
    parts = {i: divide(pieces[i]) for i, each in enumerate(best) if each.n_faults and retries}
    parts = {i: found for i, found in parts.items() if len(found) > 1}
    if not parts:
        return best
    owners = [i for i, found in parts.items() for _ in found]
    flat = [part for found in parts.values() for part in found]
    said = iter(say_well(say, flat, speakers[owners], retries, lambda part: [part], join))
    for i, found in parts.items():
        divided = join([next(said) for _ in found], pieces[i])
        best[i] = min(best[i], divided, key=lambda each: each.n_faults)
    return best


def joined(said: Sequence[Said], pauses: Sequence[int], r: int, silence: float) -> tuple[np.ndarray, np.ndarray]:
    """Pieces -> one mel (n_mels, T) and one alignment (decoder steps, symbols of all pieces).

    pauses: frames of silence after each piece but the last, rounded to whole decoder steps of r frames. During a pause the
    alignment stays on the last symbol.
    """
    if len(said) == 1:
        return said[0].mel, said[0].alignment
    n_symbols = sum(each.alignment.shape[1] for each in said)
    mels, alignments, past = [], [], 0
    for each, pause in zip(said, (*pauses, 0), strict=True):
        is_last = len(mels) == len(said) - 1
        n_steps = len(each.alignment) + (0 if is_last else max(1, round(pause / r)))
        n_frames = each.mel.shape[1] if is_last else n_steps * r
        mels.append(np.pad(each.mel, ((0, 0), (0, n_frames - each.mel.shape[1])), constant_values=silence))
        block = np.zeros((n_steps, n_symbols), np.float32)
        block[: len(each.alignment), past : past + each.alignment.shape[1]] = each.alignment
        past += each.alignment.shape[1]
        block[len(each.alignment) :, past - 1] = 1
        alignments.append(block)
    return np.concatenate(mels, axis=1), np.concatenate(alignments)


def at_speed(mel: np.ndarray, speed: float) -> np.ndarray:
    """The mel (n_mels, T) said `speed` times as fast: frames are interpolated, so that the pitch stays."""
    if speed == 1:
        return mel
    n_frames = mel.shape[1]
    at = np.linspace(0, n_frames - 1, max(1, round(n_frames / speed)))
    before = at.astype(int)
    after, weight = np.minimum(before + 1, n_frames - 1), (at - before).astype(np.float32)
    return mel[:, before] * (1 - weight) + mel[:, after] * weight


def said_at_speed(said: Said, speed: float, r: int) -> Said:
    """The same `speed` times as fast, with an alignment step for every r frames as before."""
    if speed == 1:
        return said
    mel = at_speed(said.mel, speed)
    steps = np.linspace(0, len(said.alignment) - 1, -(-mel.shape[1] // r)).round().astype(int)
    return said._replace(mel=mel, alignment=said.alignment[steps])


def batches_in_order(lengths: Sequence[int], batch_size: int, n_batches: int = 4) -> list[list[int]]:
    """Indices of pieces in batches: the first one alone, then pieces of like length out of the next n_batches batches' worth.

    The batches of such a window are ordered by the first piece in them.
    """
    found = [[0]] if lengths else []
    window = batch_size * n_batches
    for start in range(1, len(lengths), window):
        order = sorted(range(start, min(start + window, len(lengths))), key=lambda i: (lengths[i], i))
        found += sorted((sorted(order[i : i + batch_size]) for i in range(0, len(order), batch_size)), key=min)
    return found
