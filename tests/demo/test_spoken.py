"""The demo: what a Cloner is made of, the picture of what it said, and `make demo`."""

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.cloner import Cloner
from demo.spoken import Spoken, draw, save_picture
from encoder.inference import SpeakerEmbedder
from synthesizer.inference import Synthesizer
from tests import ROOT
from tests.published_state import published_state
from tests.vocoder_data import TINY, write_synthesizer, write_vocoder
from utils.data.mel_format import MelFormat
from utils.errors import UserError
from vocoder.model import WaveRNN, WaveRNNConfig


def spoken(texts: list[Sequence[str]]) -> Spoken:
    mels = [np.linspace(-4, 4, 80 * 40).reshape(80, 40) for _ in texts]
    alignments = [np.eye(10, len(text) + 1) for text in texts]
    starts = [0.75 * i for i in range(len(texts))]
    return Spoken(np.zeros(16000), 16000, texts, mels, alignments, [], 200, starts, took=0.5)


# ---- the cloner


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    """Tiny models by stage."""
    torch.save({"model_state": published_state("encoder")}, tmp_path / "encoder.pt")
    write_synthesizer(tmp_path / "synthesizer.pt")
    write_vocoder(tmp_path / "vocoder.pt", WaveRNN(WaveRNNConfig(**TINY)))
    return {stage: tmp_path / f"{stage}.pt" for stage in ("encoder", "synthesizer", "vocoder")}


@pytest.fixture
def recording(samples) -> Path:
    return min((samples / "LibriSpeech" / "test-clean").rglob("*.flac"))


def test_two_cloners_in_one_process_share_nothing(files, recording, tmp_path):
    first = Cloner.load(*files.values(), seed=1, cpu=True)
    said = first.clone([recording], ["Hi."])
    torch.manual_seed(5)
    other = write_vocoder(tmp_path / "other.pt", WaveRNN(WaveRNNConfig(**TINY)))
    second = Cloner.load(files["encoder"], files["synthesizer"], other, "target=4000", seed=1, cpu=True)
    np.testing.assert_array_equal(first.clone([recording], ["Hi."]).wav, said.wav)
    assert not np.array_equal(second.clone([recording], ["Hi."]).wav, said.wav)


class Buzz:
    """Another vocoder."""

    def __init__(self, mel_format: MelFormat) -> None:
        self.mel_format = mel_format

    def infer_waveform(self, mel, **options):
        return np.resize(np.float32([0.5, -0.5]), mel.shape[1] * self.mel_format.hop_length)

    def stream_waveform(self, mel, **options):
        yield self.infer_waveform(mel)


def test_any_vocoder_speaks_that_reads_the_same_mels(files, recording):
    embedder, synthesizer = SpeakerEmbedder(files["encoder"], "cpu"), Synthesizer(files["synthesizer"], "cpu")
    said = Cloner(embedder, synthesizer, Buzz(synthesizer.mel_format), seed=1).clone([recording], ["Hi.", "You."])
    assert np.abs(said.wav).max() == pytest.approx(10 ** (-23 / 20), rel=0.01) and len(said.mels) == 2
    with pytest.raises(UserError, match="reads other mels.*hop_length 256.*hop_length 200"):
        Cloner(embedder, synthesizer, Buzz(dataclasses.replace(synthesizer.mel_format, hop_length=256)))


# ---- the picture


def test_texts_stand_one_after_another_on_the_axis_of_the_sound():
    upper, lower = draw(spoken(["abc", "de"])).axes
    assert [tuple(image.get_extent()) for image in upper.images] == [(0, 0.5, 0, 80), (0.75, 1.25, 0, 80)]
    assert [tuple(image.get_extent()) for image in lower.images] == [(0, 0.5, -0.5, 3.5), (0.75, 1.25, 3.5, 6.5)]
    assert [label.get_text() for label in lower.get_yticklabels()] == ["a", "b", "c", "end", "d", "e", "end"]
    assert lower.get_xlim() == (0, 1.25) and lower.get_ylim() == (-0.5, 6.5)


def test_sounds_are_named_by_what_they_stand_for_and_words_of_a_long_text_as_a_whole(tmp_path):
    def names(texts):
        return [label.get_text() for label in draw(spoken(texts)).axes[1].get_yticklabels()]

    text = ["he", "l", "l", "o", " ", "{HH", " AH0}"]
    assert names([text]) == [*text, "end"]
    assert names([[*text, " "] * 6])[:2] == ["hello", "{HH AH0}"]
    long = spoken(["a" * 200])
    assert "a" not in names(long.texts)
    save_picture(tmp_path / "a.png", long)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_make_demo_speaks_writes_and_draws_or_says_in_one_line_what_is_missing(files, tmp_path):
    command = ["make", "--old-file=.venv/installed", f"PY={sys.executable}", f"DEFAULT={tmp_path}", f"SAID={tmp_path}/out/said"]
    command += ["demo", 'TEXT=It\'s "quoted"; said.']

    def make() -> subprocess.CompletedProcess:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    done = make()
    assert done.returncode == 0 and "(real-time factor " in done.stdout, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["said.png", "said.wav"]
    files["vocoder"].unlink()
    done = make()
    errors = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode == 2 and len(errors) == 1
    assert errors[0].startswith(f"error: {tmp_path}/vocoder.pt: no such vocoder checkpoint")
