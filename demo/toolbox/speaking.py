"""Lines of text become entries of a session's history, piece by piece."""

import contextlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from demo.cloner import Cloner
from demo.delivery import PICTURED
from demo.spoken import Record, SpokenPiece
from demo.toolbox.models import Choice, Models
from demo.toolbox.session import Entry, Recorded, Session
from demo.toolbox.voices import of_encoder
from encoder.inference import preprocess_wav
from synthesizer.config import SPEEDS
from utils.data import audio
from utils.errors import UserError

MOST_WORDS = 2000  # about a quarter of an hour of speech
MOST_LINES = 100
MOST_SEED = 2**32 - 1
PAUSES = (0.0, 3.0)  # times the model's own


class Options(NamedTuple):
    """How a text is said."""

    seed: int | None  # None: another one for each line
    speed: float
    pauses: float  # times the model's own
    griffin_lim: bool

    def checked(self) -> "Options":
        """UserError for a value out of range."""
        for name, (low, high) in {"speed": SPEEDS, "pauses": PAUSES}.items():
            if not low <= (value := getattr(self, name)) <= high:
                raise UserError(f"the {name} must be from {low} to {high}, not {value}")
        return self


class Progress(NamedTuple):
    """How far a text is said."""

    piece: str  # the wave of the last piece, a file's path
    n_done: int
    n_pieces: int  # of all lines; 0 until they are read
    seconds: float  # of speech so far
    entry: Entry | None  # if a line is finished


def seed_of(written: str) -> int | None:
    """The seed as a user writes it; None where nothing is written."""
    if not (written := written.strip()):
        return None
    if not re.fullmatch(r"[0-9]{1,10}", written) or int(written) > MOST_SEED:
        raise UserError(f"the seed must be a whole number from 0 to {MOST_SEED}, or empty, not {written[:40]!r}")
    return int(written)


class _Stopped(Exception):
    """Stop was pressed, or the page closed, while a piece was made."""


def lines_of(text: str) -> list[str]:
    """The lines to be said. UserError if there is none, or if they are more than a page should say."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError("write a text first")
    n_words = len(re.findall(r"\S+", text))
    if n_words > MOST_WORDS or len(lines) > MOST_LINES or len(text) > 10 * MOST_WORDS:
        n_lines = f"{len(lines):,} line{'s' * (len(lines) != 1)}"
        raise UserError(
            f"this text has {n_words:,} words in {n_lines}; at most {MOST_WORDS:,} words in {MOST_LINES} lines are "
            "said here at a time. demo_cli.py --text_file reads out books"
        )
    return lines


def speak(session: Session, models: Models, recorded: Recorded, lines: Sequence[str], options: Options) -> Iterator[Progress]:
    """Say each line as an entry of the history, until session.stop is set. One text at a time: UserError for a second one."""
    if not session.speaking.acquire(blocking=False):
        raise UserError("it is still speaking; wait for it, or press Stop")
    try:
        session.stop.clear()
        yield Progress("", 0, 0, 0.0, None)
        choice, cloner = session.models, models.cloner(session.models)
        voice = of_encoder(recorded, models, cloner)
        n_pieces = [cloner.synthesizer.n_pieces(line) for line in lines]
        n_before, seconds, in_line = 0, 0.0, 0.0
        for line, n in zip(lines, n_pieces, strict=True):
            if session.stop.is_set():
                return
            for piece, n_done, in_line, entry in _say(session, models, cloner, choice, voice, line, options):
                yield Progress(piece, n_before + n_done, sum(n_pieces), seconds + in_line, entry)
            n_before, seconds = n_before + n, seconds + in_line
    finally:
        session.speaking.release()


def _say(
    session: Session, models: Models, cloner: Cloner, choice: Choice, voice: Recorded, line: str, options: Options
) -> Iterator[tuple[str, int, float, Entry | None]]:
    """(a piece's file, pieces so far, seconds so far, None) for each piece, and at the end the entry. What was said before a
    stop is kept."""
    seed = random.randrange(10**6) if options.seed is None else options.seed
    reading = cloner.synthesizer.reading
    pauses = {name: getattr(reading, name) * options.pauses for name in ("clause_pause", "sentence_pause", "paragraph_pause")}

    def watch() -> None:
        if session.stop.is_set():
            raise _Stopped

    speaker = cloner.variant(seed, replace(reading, **pauses), options.griffin_lim, watch)
    pieces, record = speaker.say(voice.voice, line, options.speed), speaker.record(PICTURED)
    path, rate = session.new_file(".wav"), speaker.sample_rate
    with audio.wav_writer(path, rate) as write:
        while not session.stop.is_set() and (piece := _next(models, pieces)):
            record.add(piece)
            write(piece.wav)
            part = session.new_file(".wav")
            audio.write_wav(part, piece.wav, rate)
            yield str(part), record.n_pieces, record.seconds, None
        write(speaker.tail)
    if not record.n_pieces:
        path.unlink()
        return
    spoken = record.spoken(speaker.tail)
    session.n_said += 1
    embedding, speech = _heard(models, cloner, spoken.wav, rate)
    entry = Entry(
        number=session.n_said,
        text=line,
        recorded=voice,
        voice=voice.voice,
        models=choice,
        sound="Griffin-Lim" if options.griffin_lim else "vocoder",
        seed=seed,
        speed=options.speed,
        pauses=options.pauses,
        wav=path,
        seconds=record.seconds,
        spoken=spoken,
        embedding=embedding,
        speech=speech,
        itself=voice.itself,
        notes=_notes(speaker, record, line, voice, session.stop.is_set()),
    )
    session.add_entry(entry)
    yield "", record.n_pieces, record.seconds, entry


def _next(models: Models, pieces: Iterator[SpokenPiece]) -> SpokenPiece | None:
    """One piece, None at the end or at a stop; others may have their turn between two."""
    with models.turn, contextlib.suppress(_Stopped):
        return next(pieces, None)


def _heard(models: Models, cloner: Cloner, wav: np.ndarray, rate: int) -> tuple[np.ndarray | None, float]:
    """The embedding of the speech in a wave, and how many seconds of it there are."""
    try:
        speech = preprocess_wav(wav, rate)
    except UserError:  # no speech in it
        return None, 0.0
    with models.turn:
        return cloner.embedder.embed_utterance(speech)[0], len(speech) / audio.SAMPLE_RATE


def _notes(speaker: Cloner, record: Record, line: str, voice: Recorded, stopped: bool) -> list[str]:
    """What the user should know of an entry."""
    notes = record.report(voice.voice.pace)[1:] + speaker.unread(line)
    return [*notes, "Stopped before its end."] if stopped else notes


def as_read(cloner: Cloner, lines: Sequence[str]) -> list[tuple[str, list[str]]]:
    """For each line, the text as the model reads it, and what is not read."""
    return [(cloner.synthesizer.read(line).text, cloner.unread(line)) for line in lines]
