"""The three models as one: recordings of a voice and texts -> speech."""

import contextlib
import io
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from demo.spoken import Spoken, save_picture
from encoder import inference as encoder
from synthesizer.inference import Synthesizer
from utils.config import check_at_least, override, parse_overrides
from utils.data import audio
from utils.errors import UserError
from vocoder import inference as vocoder

SHORTEST_REFERENCE = 0.5  # seconds


@dataclass(frozen=True)
class CloningSettings:
    """What --hparams can change."""

    pause: float = 0.3  # seconds between two texts
    target: int = vocoder.TARGET  # samples of a piece; the vocoder makes the pieces of an utterance side by side
    overlap: int = vocoder.OVERLAP  # samples that a piece shares with the next
    griffin_lim_iterations: int = 60

    def __post_init__(self) -> None:
        check_at_least(self, 1, "target", "griffin_lim_iterations")
        check_at_least(self, 0, "pause", "overlap")


class Cloner:
    """Loads encoder, synthesizer and vocoder (None: Griffin-Lim) and tries them out with tiny inputs.

    Raises UserError when a file cannot be used, when synthesizer and vocoder differ in their mel format, or when a model
    does not give finite numbers.
    """

    def __init__(
        self,
        encoder_path: Path,
        synthesizer_path: Path,
        vocoder_path: Path | None,
        hparams: str = "",
        seed: int | None = None,
        cpu: bool = False,
        verbose: bool = False,
    ) -> None:
        (self.settings,) = override(parse_overrides(hparams), CloningSettings())
        device = torch.device("cpu" if cpu or not torch.cuda.is_available() else "cuda")
        self.seed, self.uses_vocoder, self.verbose = seed, vocoder_path is not None, verbose
        encoder.load_model(encoder_path, device=device)
        self.synthesizer = Synthesizer(synthesizer_path, device)
        self.sample_rate = self.synthesizer.sample_rate
        if vocoder_path:
            vocoder.load_model(vocoder_path, device=device)
            vocoder.check_mel_format(self.synthesizer.mel_format)
        self._try_out()
        print(f"Encoder, synthesizer and {'vocoder' if self.uses_vocoder else 'Griffin-Lim'} work, on {device}.")

    def _try_out(self) -> None:
        """Speak a letter: what is compiled when it is first used is then compiled, and not part of anybody's time."""
        noise = np.random.default_rng(0).normal(0, 0.1, audio.SAMPLE_RATE).astype(np.float32)
        with contextlib.redirect_stdout(io.StringIO()):  # whether a letter comes to an end is no news
            (mel,) = self.synthesizer.synthesize_spectrograms(["a"], encoder.embed_utterance(noise), seed=0)
        if not (np.isfinite(mel).all() and np.isfinite(self.sound(mel[:, :10])).all()):
            raise UserError("a model gives numbers that are not finite; train it longer, or use another file")

    def clone(self, references: list[Path], texts: list[str]) -> Spoken:
        """Speak the texts one after another in the voice of the references.

        Prints how long each part took against the length of the audio, what is not read, and with `verbose` the text as it is
        read. Raises UserError for a reference that cannot be used, and where none of the texts can.
        """
        texts, readings = self._read(texts)
        voice, voice_seconds = _timed(lambda: encoder.embed_speaker([_speech(path) for path in references]))
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
        """The texts that can be read, and how the model reads them; tells what is to be known of that."""
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
        """(n_mels, T) -> float32 (n,), by the vocoder, or Griffin-Lim where there is none."""
        if self.uses_vocoder:
            return vocoder.infer_waveform(mel, target=self.settings.target, overlap=self.settings.overlap, seed=self.seed)
        return self.synthesizer.griffin_lim(mel, n_iter=self.settings.griffin_lim_iterations)


def deliver(spoken: Spoken, output: Path | None, picture: Path | None, play: bool) -> None:
    """Write the wave, to the first free demo_output_NN.wav unless a file was named, and the picture if its file is named;
    play the wave where that is possible."""
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
    """Ask for a recording and a sentence, again and again; a mistake costs a line, the end of input ends the loop."""
    try:
        while True:
            recording = _ask("Recording of the voice to clone (a file; Ctrl-D to leave): ").strip("'\"")
            text = _ask("What shall it say: ")
            try:
                deliver(cloner.clone([Path(os.path.expanduser(recording))], [text]), None, None, play)
            except (UserError, OSError) as error:
                print(f"error: {error}")
    except EOFError:
        print()


def _ask(question: str) -> str:
    """Until there is an answer. EOFError at the end of input."""
    while not (answer := input(question).strip()):
        pass
    return answer


def _speech(path: Path) -> np.ndarray:
    wav = audio.load(path)
    if len(wav) < SHORTEST_REFERENCE * audio.SAMPLE_RATE:
        raise UserError(f"{path}: is {len(wav) / audio.SAMPLE_RATE:.2f} s long; at least {SHORTEST_REFERENCE} s are needed")
    try:
        return encoder.preprocess_wav(wav)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start
