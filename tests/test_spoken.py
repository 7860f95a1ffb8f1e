"""The picture of what the demo has said, and `make demo`."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.spoken import Spoken, draw, save_picture
from tests.published_state import published_state
from tests.vocoder_data import TINY, write_synthesizer, write_vocoder
from vocoder.model import WaveRNN, WaveRNNConfig

ROOT = Path(__file__).parent.parent


def spoken(texts: list[str], pause: float = 0.25) -> Spoken:
    mels = [np.linspace(-4, 4, 80 * 40).reshape(80, 40) for _ in texts]
    alignments = [np.eye(10, len(text) + 1) for text in texts]
    return Spoken(np.zeros(16000), 16000, texts, mels, alignments, [], 200, pause, took=0.5)


def test_texts_stand_one_after_another_on_the_axis_of_the_sound():
    upper, lower = draw(spoken(["abc", "de"])).axes
    assert [tuple(image.get_extent()) for image in upper.images] == [(0, 0.5, 0, 80), (0.75, 1.25, 0, 80)]
    assert [tuple(image.get_extent()) for image in lower.images] == [(0, 0.5, -0.5, 3.5), (0.75, 1.25, 3.5, 6.5)]
    assert [label.get_text() for label in lower.get_yticklabels()] == ["a", "b", "c", "end", "d", "e", "end"]
    assert lower.get_xlim() == (0, 1.25) and lower.get_ylim() == (-0.5, 6.5)


def test_a_long_text_and_sounds_that_are_one_symbol_each_are_drawn_without_letters(tmp_path):
    long = spoken(["a" * 200])
    sounds = spoken(["{HH AH0}"])._replace(alignments=[np.eye(10, 3)])
    for each in (long, sounds):
        assert "a" not in [label.get_text() for label in draw(each).axes[1].get_yticklabels()]
    save_picture(tmp_path / "a.png", long)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_real_time_factor_is_time_taken_by_second_of_sound():
    assert spoken(["a"]).real_time_factor == pytest.approx(0.5)


def test_make_demo_speaks_writes_and_draws_or_says_in_one_line_what_is_missing(tmp_path):
    torch.save({"model_state": published_state("encoder")}, tmp_path / "encoder.pt")
    write_synthesizer(tmp_path / "synthesizer.pt")
    write_vocoder(tmp_path / "vocoder.pt", WaveRNN(WaveRNNConfig(**TINY)))
    command = ["make", "--old-file=.venv/installed", f"PY={sys.executable}", f"DEFAULT={tmp_path}", f"SAID={tmp_path}/out/said"]
    command += ["demo", 'TEXT=It\'s "quoted"; said.']

    def make() -> subprocess.CompletedProcess:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    done = make()
    assert done.returncode == 0 and "(real-time factor " in done.stdout, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["said.png", "said.wav"]
    (tmp_path / "vocoder.pt").unlink()
    done = make()
    errors = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode == 2 and len(errors) == 1
    assert errors[0].startswith(f"error: {tmp_path}/vocoder.pt: no such vocoder checkpoint")
