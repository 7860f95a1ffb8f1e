"""The three models together: recordings of a voice and a text -> speech."""

import copy
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm

from demo.config import CloningSettings
from demo.joining import fitted
from demo.pace import Pace, pace_of
from demo.spoken import Record, Spoken, SpokenPiece
from demo.voice_file import Voice
from encoder.inference import SpeakerEmbedder, mean_embedding, preprocess_wav
from synthesizer.config import SPEEDS, ReadingSettings, check_speed
from synthesizer.inference import Synthesizer
from synthesizer.reading.speech import Said, said_at_speed
from utils.config import override, parse_overrides
from utils.data import audio, decoding, quality
from utils.errors import UserError
from utils.models.identity import warn_if_different
from vocoder.inference import AnyVocoder, Vocoder

SHORTEST_REFERENCE = 0.5  # seconds
LONGEST_REFERENCE = 600.0  # seconds; what comes later is not read
SHORTEST_PACE = 3.0  # seconds of speech from which its pace is estimated
LONG = 2.0  # seconds to get ready, after which a line says why

File, Found = TypeVar("File"), TypeVar("Found")


def read_references(paths: Sequence[Path]) -> list[tuple[Path, np.ndarray]]:
    """Recordings of one voice -> (path, speech as float32 (n,) at 16 kHz): of a long one, its first ten minutes.

    Prints a line for each thing that was changed, or that will cost likeness, and for each recording that is left out as it
    cannot be used. UserError if none can.
    """
    found, errors = usable(paths, reference)
    for path, (_, notes) in found:
        print(*(f"{path}: {line}" for line in notes), sep="\n", end="\n" if notes else "")
    print(*(f"left out: {error}" for error in errors), sep="\n", end="\n" if errors else "")
    return [(path, speech) for path, (speech, _) in found]


def usable(files: Sequence[File], read: Callable[[File], Found]) -> tuple[list[tuple[File, Found]], list[str]]:
    """(file, what `read` gives) of those that can be read, and why the others cannot. UserError if none can."""
    found, errors = [], []
    for file in files:
        try:
            found.append((file, read(file)))
        except (UserError, OSError) as error:
            errors.append(str(error))
    if not found:
        raise UserError("; ".join(errors))
    return found, errors


def reference(path: Path) -> tuple[np.ndarray, list[str]]:
    """A recording -> its speech, float32 (n,) at 16 kHz, and a line for each thing that the user should know of it.

    Raises UserError if it cannot be used.
    """
    wav, notes = decoding.read(path, max_seconds=LONGEST_REFERENCE, cut=True)
    if len(wav) < SHORTEST_REFERENCE * audio.SAMPLE_RATE:
        raise UserError(f"{path}: is {len(wav) / audio.SAMPLE_RATE:.2f} s long; at least {SHORTEST_REFERENCE} s are needed")
    try:
        speech = preprocess_wav(wav)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return speech, [*notes, *quality.assess(wav, seconds=len(speech) / audio.SAMPLE_RATE).warnings()]


class Cloner:
    """Speaks texts in the voices of recordings. `Cloner.load` makes one from files."""

    def __init__(
        self,
        embedder: SpeakerEmbedder,
        synthesizer: Synthesizer,
        vocoder: AnyVocoder | None,
        settings: CloningSettings = CloningSettings(),  # noqa: B008 (frozen)
        seed: int | None = None,
        verbose: bool = False,
    ) -> None:
        """Any vocoder with the methods of AnyVocoder will do; None is Griffin-Lim.

        The pauses are synthesizer.reading's. Tries the models out on tiny inputs. Raises UserError if the sizes of encoder and
        synthesizer or the mel formats of synthesizer and vocoder do not fit, or if a model does not give finite numbers. Prints
        a warning if the synthesizer was trained with another encoder.
        """
        self.embedder, self.synthesizer, self.vocoder = embedder, synthesizer, vocoder
        self.settings, self.seed, self.verbose = settings, seed, verbose
        self._watch: Callable[[], None] | None = None
        self.sample_rate = synthesizer.sample_rate
        if vocoder and vocoder.mel_format != synthesizer.mel_format:
            raise UserError(
                "the vocoder reads other mels than the synthesizer makes; use models trained on the same format. "
                f"vocoder: {vocoder.mel_format.unlike(synthesizer.mel_format)}; "
                f"synthesizer: {synthesizer.mel_format.unlike(vocoder.mel_format)}"
            )
        if (size := embedder.embedding_size) != (wanted := synthesizer.model.config.speaker_size):
            raise UserError(
                f"{embedder.path}: its embeddings have {size} numbers, but {synthesizer.path} was trained with {wanted}; "
                "use the encoder that the synthesizer was trained with"
            )
        warn_if_different(embedder.path, embedder.digests, synthesizer.path, synthesizer.encoder_digests)
        self._try_out()

    @classmethod
    def load(
        cls,
        encoder_path: Path,
        synthesizer_path: Path,
        vocoder_path: Path | None,
        hparams: str = "",
        seed: int | None = None,
        cpu: bool = False,
        verbose: bool = False,
    ) -> "Cloner":
        """Load the models from files (vocoder_path None: Griffin-Lim). Raises UserError if one cannot be used."""
        settings, reading = override(parse_overrides(hparams), CloningSettings(), ReadingSettings())
        device = torch.device("cpu" if cpu or not torch.cuda.is_available() else "cuda")
        embedder = SpeakerEmbedder(encoder_path, device)
        synthesizer = Synthesizer(synthesizer_path, device, reading=reading)
        vocoder = Vocoder(vocoder_path, device) if vocoder_path else None
        cloner = cls(embedder, synthesizer, vocoder, settings, seed, verbose)
        print(f"Encoder, synthesizer and {'vocoder' if vocoder else 'Griffin-Lim'} work, on {device}.")
        return cloner

    def variant(self, seed: int | None, reading: ReadingSettings, griffin_lim: bool, watch: Callable[[], None]) -> "Cloner":
        """The same models, loaded once, that speak with another seed, other pauses or without the vocoder.

        watch is called many times while a piece is made; what it raises ends the speech.
        """
        other = copy.copy(self)
        other.synthesizer = copy.copy(self.synthesizer)
        other.synthesizer.reading, other.seed = reading, seed
        other.synthesizer.watch = other._watch = watch
        other.vocoder = None if griffin_lim else self.vocoder
        return other

    def _try_out(self) -> None:
        """Speak a letter. Whatever is compiled at first use is compiled now, so that timings leave it out; where that takes
        long, a line says so."""
        waiting = threading.Timer(
            LONG, print, ["Getting the models ready; the first time on a computer, compiling takes up to a minute."]
        )
        waiting.start()
        try:
            self._speak_letter()
        finally:
            waiting.cancel()

    def _speak_letter(self) -> None:
        noise = np.random.default_rng(0).normal(0, 0.1, audio.SAMPLE_RATE).astype(np.float32)
        voice = self.embedder.embed_speaker([noise])
        mel = next(self.synthesizer.read_aloud("a", voice, seed=0)).mel  # whether it ends by itself does not matter
        if not (np.isfinite(mel).all() and np.isfinite(self.sound(mel[:, :10])).all()):
            raise UserError("a model gives numbers that are not finite; train it longer, or use another file")

    def voice_of(self, references: Sequence[tuple[Path, np.ndarray]]) -> Voice:
        """The voice of what `read_references` gives."""
        return self.voice([speech for _, speech in references], ", ".join(path.name for path, _ in references))

    def voice(self, recordings: Sequence[np.ndarray], source: str = "") -> Voice:
        """The voice of speech as `reference` gives it. source: the recordings' names. Prints a line for each recording with
        several voices."""
        partials = [self.embedder.embed_utterance(speech)[1] for speech in recordings]
        for number, each in enumerate(partials, start=1):
            if quality.has_two_voices(each):
                print(f"Recording {number}: {': '.join(quality.SEVERAL)}")
        return self.voice_of_partials(partials, recordings, source)

    def voice_of_partials(self, partials: Sequence[np.ndarray], recordings: Sequence[np.ndarray], source: str) -> Voice:
        """The same, of recordings whose partials (P, E) are embedded already."""
        mel_format = self.synthesizer.mel_format
        heard = sum((pace_of(audio.mel_spectrogram(each, mel_format).T, mel_format) for each in recordings), Pace())
        pace = heard.rate if heard.seconds >= SHORTEST_PACE else None
        length = sum(map(len, recordings)) / audio.SAMPLE_RATE
        embedding = mean_embedding(np.stack([mean_embedding(each) for each in partials]))
        return Voice(embedding, pace, length, source, next(iter(self.embedder.digests), ""))

    def clone(self, references: Sequence[Path], texts: str | Sequence[str], speed: float = 1.0) -> Spoken:
        """Say a text of any length in the voice of the references; several texts are paragraphs. speed: as for `say`.

        Holds all of it in memory: `say` gives one piece after another. Prints how long it took, which characters are not read
        and which words were missed. Raises UserError if no reference can be used, and if nothing can be read.
        """
        voice = self.voice_of(read_references(references))
        record, text = self.record(), texts if isinstance(texts, str) else "\n\n".join(texts)
        pieces = self.say(voice, text, speed)
        for line in self.unread(text):
            print(line)
        for piece in pieces:
            record.add(piece)
        print(*record.report(voice.pace), sep="\n")
        return record.spoken(self.tail)

    def record(self, keep: float = math.inf) -> Record:
        """An empty record of what will be said."""
        return Record(self.sample_rate, self.synthesizer.mel_format, keep)

    def say(self, voice: Voice, text: str, speed: float = 1.0) -> Iterator[SpokenPiece]:
        """Say a text of any length, piece after piece as they are made. End the wave with `tail`.

        speed: 0.8 to 1.25 times as fast as the recording, as far as its pace is known and the model's own pace is changed by
        no more than that; else times the model's own. With `verbose`, prints how each piece is read. Raises UserError, at once,
        if nothing can be read.
        """
        check_speed(speed)
        pieces = self.synthesizer.read_aloud(text, voice.embedding, self.seed)
        pieces = self._at_pace(pieces, speed, voice.pace if self.settings.recordings_pace else None)
        return self._with_sound(pieces, shows_bar=self.synthesizer.n_pieces(text) == 1)

    def _at_pace(self, pieces: Iterable[Said], speed: float, rate: float | None) -> Iterator[Said]:
        """rate: syllables a second of the recording; the model's is that of all it has said so far."""
        own, stretch = Pace(), speed
        for said in pieces:
            if rate:
                own += pace_of(said.mel, self.synthesizer.mel_format)
                stretch = min(max(speed * own.speed_for(rate), SPEEDS[0]), SPEEDS[1]) if own.syllables else speed
            yield said_at_speed(said, stretch, self.synthesizer.r)

    def unread(self, text: str) -> list[str]:
        """A line for each character that is not read, and one for sounds in braces that the model was not taught."""
        lines = [
            f"Not read, as the model has no symbol and no words for it: {character} in {around!r}"
            for character, around in self.synthesizer.read(text).unread
        ]
        if self.synthesizer.has_unlearned_sounds(text):
            lines.append("The sounds in braces may be said badly, as the model was trained with sounds=0.")
        return lines

    def _with_sound(self, pieces: Iterable[Said], shows_bar: bool) -> Iterator[SpokenPiece]:
        n_silent = 0
        for said in pieces:
            if self.verbose:
                tqdm.write(f"Read as: {said.text}")
            wav, n_cut = fitted(self.sound(said.mel, shows_bar), self.sample_rate, self.settings.loudness)
            yield SpokenPiece(said, np.concatenate([np.zeros(n_silent, np.float32), wav]), n_silent - n_cut)
            n_silent = round(self.synthesizer.reading.after(said.pause) * self.sample_rate)

    @property
    def tail(self) -> np.ndarray:
        """The silence after the last sound."""
        return np.zeros(round(self.settings.tail * self.sample_rate), np.float32)

    def sound(self, mel: np.ndarray, shows_bar: bool = True) -> np.ndarray:
        """(n_mels, T) -> float32 (n,), by the vocoder or Griffin-Lim"""
        if self.vocoder:
            options = {"target": self.settings.target, "overlap": self.settings.overlap, "seed": self.seed}
            if self._watch or not shows_bar:
                options["progress_callback"] = self._no_bar
            return self.vocoder.infer_waveform(mel, **options)
        return self.synthesizer.griffin_lim(mel, n_iter=self.settings.griffin_lim_iterations)

    def _no_bar(self, done: int, total: int, n_folds: int, khz: float) -> None:
        """In place of the vocoder's bar, where the pieces have one."""
        if self._watch:
            self._watch()
