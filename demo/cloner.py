"""The three models together: recordings of a voice and texts -> speech."""

import contextlib
import io
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from demo.config import CloningSettings
from demo.spoken import Spoken, save_picture
from encoder.inference import SpeakerEmbedder, preprocess_wav
from synthesizer.inference import Synthesizer
from utils.config import override, parse_overrides
from utils.data import audio
from utils.errors import UserError
from utils.models.identity import warn_if_different
from vocoder.inference import AnyVocoder, Vocoder

SHORTEST_REFERENCE = 0.5  # seconds


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

        Tries the models out on tiny inputs. Raises UserError if the sizes of encoder and synthesizer or the mel formats of
        synthesizer and vocoder do not fit, or if a model does not give finite numbers. Prints a warning if the synthesizer was
        trained with another encoder.
        """
        self.embedder, self.synthesizer, self.vocoder = embedder, synthesizer, vocoder
        self.settings, self.seed, self.verbose = settings, seed, verbose
        self.sample_rate = synthesizer.sample_rate
        if vocoder and vocoder.mel_format != synthesizer.mel_format:
            raise UserError(
                "the vocoder reads other mels than the synthesizer makes; use models trained on the same format. "
                f"vocoder: {vocoder.mel_format}; synthesizer: {synthesizer.mel_format}"
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
        (settings,) = override(parse_overrides(hparams), CloningSettings())
        device = torch.device("cpu" if cpu or not torch.cuda.is_available() else "cuda")
        embedder, synthesizer = SpeakerEmbedder(encoder_path, device), Synthesizer(synthesizer_path, device)
        vocoder = Vocoder(vocoder_path, device) if vocoder_path else None
        cloner = cls(embedder, synthesizer, vocoder, settings, seed, verbose)
        print(f"Encoder, synthesizer and {'vocoder' if vocoder else 'Griffin-Lim'} work, on {device}.")
        return cloner

    def _try_out(self) -> None:
        """Speak a letter. Whatever is compiled at first use is compiled now, so that timings leave it out."""
        noise = np.random.default_rng(0).normal(0, 0.1, audio.SAMPLE_RATE).astype(np.float32)
        voice = self.embedder.embed_speaker([noise])
        with contextlib.redirect_stdout(io.StringIO()):  # a letter that does not end by itself is no news
            (mel,) = self.synthesizer.synthesize_spectrograms(["a"], voice, seed=0)
        if not (np.isfinite(mel).all() and np.isfinite(self.sound(mel[:, :10])).all()):
            raise UserError("a model gives numbers that are not finite; train it longer, or use another file")

    def clone(self, references: list[Path], texts: list[str]) -> Spoken:
        """Speak the texts one after another in the voice of the references.

        Prints how long each part took, and which characters are not read; with `verbose` also how each text is read. Raises
        UserError for a reference that cannot be used, and if none of the texts can be read.
        """
        texts, readings = self._read(texts)
        voice, voice_seconds = _timed(lambda: self.embedder.embed_speaker([_speech(path) for path in references]))
        (mels, alignments), mel_seconds = _timed(
            lambda: self.synthesizer.synthesize_spectrograms(texts, [voice] * len(texts), True, seed=self.seed)
        )
        waves, sound_seconds = _timed(lambda: [self.sound(mel) for mel in mels])
        pause = np.zeros(int(self.settings.pause * self.sample_rate), np.float32)
        spoken = Spoken(
            wav=np.concatenate([part for wave in waves for part in (wave, pause)][:-1]),
            sample_rate=self.sample_rate,
            texts=readings,
            mels=mels,
            alignments=alignments,
            unfinished=self.synthesizer.unfinished,
            hop_length=self.synthesizer.mel_format.hop_length,
            pause=self.settings.pause,
            took=voice_seconds + mel_seconds + sound_seconds,
        )
        print(
            f"{len(spoken.wav) / self.sample_rate:.2f} s of audio in {spoken.took:.2f} s (real-time factor "
            f"{spoken.real_time_factor:.2f}): voice {voice_seconds:.2f} s, spectrogram {mel_seconds:.2f} s, "
            f"sound {sound_seconds:.2f} s"
        )
        return spoken

    def _read(self, texts: list[str]) -> tuple[list[str], list[str]]:
        """The texts that can be read, and how the model reads them. Prints what is skipped or not read."""
        readable, readings, problems = [], [], []
        for text in texts:
            try:
                readings.append(self.synthesizer.read(text))
                readable.append(text)
            except UserError as error:
                problems.append(error)
        if not readable:
            raise problems[0]
        for problem in problems:
            print(f"Skipped: {problem}")
        if self.verbose:
            for reading in readings:
                print(f"Read as: {reading.text}")
        if unread := dict.fromkeys(character for reading in readings for character in reading.unread):
            print(f"Not read, as the model has no symbol and no words for them: {' '.join(unread)}")
        return readable, [reading.text for reading in readings]

    def sound(self, mel: np.ndarray) -> np.ndarray:
        """(n_mels, T) -> float32 (n,), by the vocoder or Griffin-Lim"""
        if self.vocoder:
            options = {"target": self.settings.target, "overlap": self.settings.overlap, "seed": self.seed}
            return self.vocoder.infer_waveform(mel, **options)
        return self.synthesizer.griffin_lim(mel, n_iter=self.settings.griffin_lim_iterations)


def deliver(spoken: Spoken, output: Path | None, picture: Path | None, play: bool) -> None:
    """Write the wave (output None: to the first free demo_output_NN.wav) and the picture, if asked for; play the wave."""
    free = (path for n in itertools.count(1) if not (path := Path(f"demo_output_{n:02d}.wav")).exists())
    path = output or next(free)
    audio.write_wav(path, spoken.wav, spoken.sample_rate)
    print(f"Written: {path}")
    if picture:
        save_picture(picture, spoken)
        print(f"Written: {picture}")
    if play:
        audio.play(spoken.wav, spoken.sample_rate)


def converse(cloner: Cloner, play: bool) -> None:
    """Ask for a recording and a sentence until the input ends. A mistake costs one line."""
    try:
        while True:
            recording = _ask("Recording of the voice to clone (a file; Ctrl-D to leave): ").strip("'\"")
            text = _ask("What to say: ")
            try:
                deliver(cloner.clone([Path(os.path.expanduser(recording))], [text]), None, None, play)
            except (UserError, OSError) as error:
                print(f"error: {error}")
    except EOFError:
        print()


def _ask(question: str) -> str:
    """Ask until there is an answer. EOFError at the end of the input."""
    while not (answer := input(question).strip()):
        pass
    return answer


def _speech(path: Path) -> np.ndarray:
    wav = audio.load(path)
    if len(wav) < SHORTEST_REFERENCE * audio.SAMPLE_RATE:
        raise UserError(f"{path}: is {len(wav) / audio.SAMPLE_RATE:.2f} s long; at least {SHORTEST_REFERENCE} s are needed")
    try:
        return preprocess_wav(wav)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start
