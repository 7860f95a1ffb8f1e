"""Reading texts of any length aloud, whatever runs the model. Imports neither torch nor librosa."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np

from synthesizer.config import ReadingSettings, TacotronConfig, check_speed
from synthesizer.reading.faults import missed_words, words
from synthesizer.reading.speech import Said, batches_in_order, halves, joined, longest_piece, pieces_of, said_at_speed, say_well
from synthesizer.text import Reading, TextError, is_readable, read, shown, spoken_length
from synthesizer.text.sentences import Piece
from synthesizer.text.sounds import spelled
from synthesizer.text.symbols import PHONES, phones_to_characters, to_ids
from utils.data.mel_format import MelFormat

MAX_BATCH = 16  # texts spoken at once


class SpokenBatch(NamedTuple):
    """What a model says of a batch. What follows an item's own end is meaningless."""

    mels: np.ndarray  # (B, F, n_mels)
    attention: np.ndarray  # (B, S, T)
    lengths: np.ndarray  # (B,) frames of each item
    stopped: np.ndarray  # (B,) bool: by itself, not cut at its cap


class Reader:
    """A subclass runs the model."""

    config: TacotronConfig
    r: int  # frames per decoder step

    def __init__(
        self,
        config: TacotronConfig,
        mel_format: MelFormat,
        symbols: str,
        cleaner: str,
        reading: ReadingSettings,
        cap_frames: tuple[int, int] | None = None,
        verbose: bool = False,
        sounds: float = 0.0,
    ) -> None:
        """sounds: the share of the dictionary's words that were sounds in training; over 0, all are sounds in speech."""
        if sounds > 0 and not set(PHONES.values()) <= set(symbols):
            raise ValueError("it was trained with sounds, but has no symbols for them")
        self.sounds = float(sounds > 0)
        self.symbols, self.cleaner, self.reading, self.verbose = symbols, cleaner, reading, verbose
        self.mel_format, self.sample_rate = mel_format, mel_format.sample_rate
        self.cap_frames = cap_frames or config.cap_frames
        self.longest_piece = longest_piece(config.longest_seconds, config.longest_symbols)
        self.unfinished: list[int] = []  # of the last texts, those in which the model did not stop
        self.missed: list[list[str]] = []  # of each of the last texts, the words that were skipped or repeated

    def _generate(self, ids: list[list[int]], speakers: np.ndarray) -> SpokenBatch:
        """The ids of each text and the speakers (B, speaker_size) -> what the model says."""
        raise NotImplementedError

    def _repeatable(self, seed: int | None) -> AbstractContextManager:
        """While it lasts, the model speaks, and with a seed says the same every time."""
        raise NotImplementedError

    def _limits(self, ids: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Of each text (B,): the symbols before those that end it, and the most frames it may take."""
        cap, cap_per_symbol = self.cap_frames
        caps = np.array([cap + cap_per_symbol * len(each) for each in ids])
        return np.array([spoken_length(each, self.symbols) for each in ids]), -(-caps // self.r) * self.r

    def read(self, text: str) -> Reading:
        """The text as the model reads it, sounds in braces, and the characters it leaves out. UserError for a text without a
        letter the model knows."""
        reading = read(text, self.symbols, self.cleaner, self.sounds)
        return reading._replace(text=shown(reading.text), symbols=shown(reading.symbols))

    def can_read(self, text: str) -> bool:
        """Whether it has a letter that the model knows, and no sound that it does not know."""
        return is_readable(text, self.symbols, self.cleaner)

    def has_unlearned_sounds(self, text: str) -> bool:
        """Whether it has sounds in braces, and the model was trained on letters alone."""
        return not self.sounds and phones_to_characters(text) != text

    def pieces(self, text: str) -> list[Piece]:
        """The text as pieces that the model can say in one breath; those without anything to read are left out.

        UserError if nothing can be read, or for sounds in braces that the model has no symbols for.
        """
        return pieces_of(text, self.longest_piece, self.symbols, self.cleaner)

    def n_pieces(self, text: str) -> int:
        """How many pieces `read_aloud` gives."""
        return len(self.pieces(text))

    def read_aloud(
        self, text: str, embedding: np.ndarray, seed: int | None = None, speed: float = 1.0, batch_size: int = MAX_BATCH
    ) -> Iterator[Said]:
        """Say a text of any length in the voice of the embedding (speaker_size,), piece after piece as they are made.

        The first piece is made alone, so that it comes soon; the others in batches of like length, out of the next few
        batches, so that memory does not grow with the text. speed: 0.8 to 1.25; the pitch stays. A seed makes the result
        repeatable: a piece depends on the others of its batch, and the batches on the text and batch_size alone. UserError,
        at once, if nothing in the text can be read.
        """
        check_speed(speed)
        return self._read_aloud(self.pieces(text), self._speakers(embedding, 1), seed, speed, batch_size)

    def _read_aloud(
        self, pieces: list[Piece], speaker: np.ndarray, seed: int | None, speed: float, batch_size: int
    ) -> Iterator[Said]:
        made: dict[int, Said] = {}
        n_given = 0
        for number, chosen in enumerate(batches_in_order([len(piece.text) for piece in pieces], batch_size)):
            speakers = speaker.repeat(len(chosen), axis=0)
            batch_seed = None if seed is None else seed + number
            said = self._say_well([pieces[i] for i in chosen], speakers, batch_seed, batch_size)
            made |= zip(chosen, said, strict=True)
            while n_given in made:
                yield said_at_speed(made.pop(n_given), speed, self.r)
                n_given += 1

    def synthesize_spectrograms(
        self,
        texts: Sequence[str] | str,
        embeddings: np.ndarray | Sequence[np.ndarray],
        return_alignments: bool = False,
        seed: int | None = None,
        speed: float = 1.0,
    ) -> list[np.ndarray] | tuple[list[np.ndarray], list[np.ndarray]]:
        """Speak each text, of any length, in the voice of its embedding. A string is one text.

        embeddings: (N, speaker_size), N vectors, or one for all texts. A seed makes the result repeatable. speed: 0.8 to 1.25;
        the pitch stays. Returns a list of float32 (n_mels, T) and, if asked, of alignments, float32 (decoder steps, symbols). A
        long text is said in pieces, joined with pauses between them; its symbols are those of the pieces, each with its end
        symbol. A piece with a fault is spoken again a few times, then in parts; `unfinished` and `missed` tell what is missing
        after that. UserError, before anything is spoken, for a text without a letter the model knows.
        """
        check_speed(speed)
        texts = [texts] if isinstance(texts, str) else texts
        pieces = self._pieces_of_each(texts)
        owners = [i for i, found in enumerate(pieces) for _ in found]
        speakers = self._speakers(embeddings, len(texts))[owners]
        said = iter(self._say_well([piece for found in pieces for piece in found], speakers, seed))
        by_text = [[said_at_speed(next(said), speed, self.r) for _ in found] for found in pieces]
        self.unfinished = [i for i, found in enumerate(by_text) if not all(each.stopped for each in found)]
        self.missed = [[word for each in found for word in each.missed] for found in by_text]
        whole = [self._joined(found) for found in by_text]
        for i in self.unfinished:
            seconds = whole[i][0].shape[1] * self.mel_format.hop_length / self.sample_rate
            print(f"cut at {seconds:.1f} s, as the model did not stop: {texts[i][:60]!r}")
        for text, missed in zip(texts, self.missed, strict=True):
            if missed:
                print(f"not said as written: {', '.join(missed)}, in {text[:60]!r}")
        mels, alignments = ([each[part] for each in whole] for part in (0, 1))
        return (mels, alignments) if return_alignments else mels

    def _pieces_of_each(self, texts: Sequence[str]) -> list[list[Piece]]:
        found = []
        for number, text in enumerate(texts, start=1):
            try:
                found.append(self.pieces(text))
            except TextError as error:
                raise TextError(f"text {number} of {len(texts)}: {error}" if len(texts) > 1 else str(error)) from error
        return found

    def _say_well(self, pieces: list[Piece], speakers: np.ndarray, seed: int | None, batch_size: int = MAX_BATCH) -> list[Said]:
        def join(said: list[Said], piece: Piece) -> Said:
            missed = tuple(word for each in said for word in each.missed)
            text, stopped = " ".join(each.text for each in said), all(each.stopped for each in said)
            labels = [label for each in said for label in (*each.labels, "end")][:-1]
            return Said(text, *self._joined(said), piece.pause, missed, stopped, labels)

        with self._repeatable(seed):
            say = functools.partial(self._say, batch_size=batch_size)
            divide = functools.partial(halves, symbols=self.symbols, cleaner=self.cleaner)
            return say_well(say, pieces, speakers, self.reading.retries, divide, join)

    def _say(self, pieces: list[Piece], speakers: np.ndarray, batch_size: int) -> list[Said]:
        """What the model makes of each piece at the first try, in batches of like length."""
        readings = [read(piece.text, self.symbols, self.cleaner, self.sounds) for piece in pieces]
        ids = [to_ids(reading.symbols, self.symbols) for reading in readings]
        step_seconds = self.r * self.mel_format.hop_length / self.sample_rate
        said: dict[int, Said] = {}
        order = sorted(range(len(pieces)), key=lambda i: len(ids[i]))
        for chosen in (order[start : start + batch_size] for start in range(0, len(order), batch_size)):
            spoken = self._generate([ids[i] for i in chosen], speakers[chosen])
            for row, i in enumerate(chosen):
                mel, alignment = self._cut(spoken, row, len(ids[i]))
                text, symbols = readings[i].text, readings[i].symbols
                missed = tuple(missed_words(alignment, words(pieces[i].text, text, self.cleaner, symbols), step_seconds))
                stopped, labels = bool(spoken.stopped[row]), spelled(text, symbols)
                said[i] = Said(shown(text), mel, alignment, pieces[i].pause, missed, stopped, labels)
            if self.verbose:
                print(f"Synthesizer: {len(chosen)} pieces spoken")
        return [said[i] for i in range(len(pieces))]

    def _joined(self, said: list[Said]) -> tuple[np.ndarray, np.ndarray]:
        """One mel and one alignment."""
        frames_per_second = self.sample_rate / self.mel_format.hop_length
        pauses = [round(self.reading.after(each.pause) * frames_per_second) for each in said[:-1]]
        return joined(said, pauses, self.r, -self.mel_format.max_abs)

    def _cut(self, spoken: SpokenBatch, row: int, n_symbols: int) -> tuple[np.ndarray, np.ndarray]:
        """One item's mel (n_mels, T) and alignment (steps, symbols), without the silence at its end."""
        mel = spoken.mels[row, : spoken.lengths[row]]  # (T, n_mels)
        loud = np.flatnonzero(mel.max(axis=1) >= self.config.silence_level)
        n_frames = loud[-1] + 1 if len(loud) else len(mel)  # all of it silent: kept rather than empty
        n_steps = -(-n_frames // self.r)
        return mel[:n_frames].T.copy(), spoken.attention[row, :n_steps, :n_symbols].copy()

    def _speakers(self, embeddings: np.ndarray | Sequence[np.ndarray], n_texts: int) -> np.ndarray:
        """float32 (n_texts, speaker_size)"""
        vectors = np.atleast_2d(np.asarray(embeddings, dtype=np.float32))
        size = self.config.speaker_size
        if vectors.shape not in ((n_texts, size), (1, size)):
            raise ValueError(f"{n_texts} texts need embeddings of shape ({n_texts}, {size}), got {vectors.shape}")
        return np.broadcast_to(vectors, (n_texts, size))
