"""Models that answer at once in the place of the demo's: pieces of a text become tones, so that a test can tell them apart.

As `python -m tests.demo.demo_fakes` it is demo_cli.py with these models. The environment says how they behave.
"""

import os
import runpy
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from demo.cloner import Cloner
from demo.config import CloningSettings
from synthesizer.config import ReadingSettings
from synthesizer.reading.reader import Reader
from synthesizer.reading.speech import Said
from synthesizer.text import Reading, TextError
from synthesizer.text.sentences import split
from tests import ROOT
from utils.data.mel_format import MelFormat

FRAMES_PER_CHARACTER = 5  # of 12.5 ms


class FakeEmbedder:
    path, embedding_size, digests = Path("encoder.pt"), 4, ()

    def embed_speaker(self, wavs) -> np.ndarray:
        return np.full(4, 0.5, np.float32)

    def embed_utterance(self, wav) -> tuple[np.ndarray, np.ndarray]:
        return self.embed_speaker([wav]), np.full((1, 4), 0.5, np.float32)

    def embed_frames(self, mels) -> np.ndarray:
        return np.full((len(mels), 4), 0.5, np.float32)


class FakeSynthesizer:
    """Says pieces as tones of 200, 210, ... 400 Hz, as loud as `loudness` says in turn."""

    mel_format = MelFormat()
    sample_rate = mel_format.sample_rate
    path, encoder_digests = Path("synthesizer.pt"), ()
    model = types.SimpleNamespace(config=types.SimpleNamespace(speaker_size=FakeEmbedder.embedding_size))
    watch, r, sounds = None, 1, 0.0
    has_unlearned_sounds = Reader.has_unlearned_sounds

    def __init__(self, loudness=(0.3,), missed: tuple[str, ...] = (), seconds: float = 0.0) -> None:
        self.reading, self.loudness, self.missed, self.seconds = ReadingSettings(), loudness, missed, seconds

    def n_pieces(self, text: str) -> int:
        return len(split(text))

    def read(self, text: str) -> Reading:
        return Reading(text, (("☃", text[-9:]),) if "☃" in text else (), text)

    def synthesize_spectrograms(self, texts, embeddings, seed=None) -> list[np.ndarray]:
        return [self._mel(0, text) for text in texts]

    def read_aloud(self, text, embedding, seed=None) -> Iterator[Said]:
        if not any(character.isalnum() for character in text):
            raise TextError(f"nothing to read in the text {text!r}")
        return self._read_aloud(text)

    def _read_aloud(self, text: str) -> Iterator[Said]:
        for i, piece in enumerate(split(text)):
            end = time.monotonic() + self.seconds
            while self.seconds and time.monotonic() < end:
                if self.watch:
                    self.watch()
                time.sleep(min(self.seconds, 0.02))
            missed = tuple(word for word in self.missed if word in piece.text)
            alignment = np.eye(4, len(piece.text) + 1, dtype=np.float32)
            yield Said(piece.text, self._mel(i, piece.text), alignment, piece.pause, missed, not missed, piece.text)

    def _mel(self, i: int, text: str) -> np.ndarray:
        mel = np.full((80, FRAMES_PER_CHARACTER * len(text)), self.loudness[i % len(self.loudness)], np.float32)
        mel[1] = 200 + 10 * (i % 21)
        return mel


class FakeVocoder:
    mel_format = MelFormat()

    def infer_waveform(self, mel, **options) -> np.ndarray:
        time_axis = np.arange(mel.shape[1] * 200, dtype=np.float32) / 16000
        return mel[0, 0] * np.cos(2 * np.pi * mel[1, 0] * time_axis)

    def stream_waveform(self, mel, **options) -> Iterator[np.ndarray]:
        yield self.infer_waveform(mel)


def fake_cloner(synthesizer: FakeSynthesizer | None = None, verbose: bool = False, **settings) -> Cloner:
    return Cloner(FakeEmbedder(), synthesizer or FakeSynthesizer(), FakeVocoder(), CloningSettings(**settings), verbose=verbose)


def tones(wav: np.ndarray) -> list[tuple[int, int, float]]:
    """Wave (n,) -> (start, end, Hz) of each stretch between silences of 50 ms or more."""
    loud = np.flatnonzero(np.abs(wav) > 1e-4)
    starts = [loud[0], *loud[1:][np.diff(loud) > 800]]
    ends = [*loud[:-1][np.diff(loud) > 800], loud[-1]]
    found = []
    for start, end in zip(starts, ends, strict=True):
        middle = wav[start + 100 : end - 100]
        n_rises = int(((middle[:-1] < 0) & (middle[1:] >= 0)).sum())
        found.append((int(start), int(end) + 1, n_rises * 16000 / len(middle)))
    return found


if __name__ == "__main__":
    missed = tuple(os.environ.get("FAKE_MISSED", "").split())
    synthesizer = FakeSynthesizer(missed=missed, seconds=float(os.environ.get("FAKE_SECONDS", 0)))
    Cloner.load = classmethod(lambda cls, *arguments: fake_cloner(synthesizer, verbose=arguments[-1]))
    sys.argv = [str(ROOT / "demo_cli.py"), *sys.argv[1:]]
    runpy.run_path(sys.argv[0], run_name="__main__")
