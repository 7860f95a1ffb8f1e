"""Ground-truth-aligned mels: as many and as long as the rows, the same bytes however often interrupted."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests import ROOT
from tests.faults.leftovers import left_by_a_kill
from tests.vocoder_data import FORMAT, write_speech, write_synthesizer
from utils.data.rows import read_rows
from utils.errors import UserError
from vocoder.preprocess import cut_batches, preprocess


@pytest.fixture(scope="module")
def speech(samples, tmp_path_factory):
    return write_speech(samples, tmp_path_factory.mktemp("speech") / "SV2TTS" / "synthesizer", 10)


@pytest.fixture(scope="module")
def synthesizer(tmp_path_factory):
    return write_synthesizer(tmp_path_factory.mktemp("models") / "synthesizer.pt")


@pytest.fixture(scope="module")
def uninterrupted(speech, synthesizer, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    preprocess(synthesizer.parent, speech.root, out, batch_size=2, cpu=True)  # a folder will do
    return out


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_there_is_a_mel_of_the_right_length_for_every_row(uninterrupted, speech):
    rows = read_rows(uninterrupted / "synthesized.txt")
    assert rows == read_rows(speech.manifest)
    assert {path.name for path in (uninterrupted / "mels_gta").glob("*.npy")} == {row.mel for row in rows}
    for row in rows:
        mel = np.load(uninterrupted / "mels_gta" / row.mel)
        assert mel.shape == (row.n_frames, 80) and mel.dtype == np.float16 and np.isfinite(mel).all()


def test_batches_hold_everything_once_and_fit_the_memory(speech):
    rows = read_rows(speech.manifest)
    for batch_size, max_frames in ((3, 10**6), (100, 250), (1, 1)):
        batches = cut_batches(rows, batch_size, max_frames)
        assert sorted(row for batch in batches for row in batch) == sorted(rows)
        for batch in batches:
            assert len(batch) <= batch_size
            assert len(batch) == 1 or len(batch) * max(row.n_frames for row in batch) <= max_frames
        assert batches == cut_batches(rows[::-1], batch_size, max_frames)


@pytest.mark.parametrize("n_there", [1, 4])
def test_killed_and_continued_equals_uninterrupted(n_there, uninterrupted, speech, synthesizer, tmp_path):
    command = [
        *(sys.executable, "vocoder_preprocess.py", str(tmp_path), "-s", str(synthesizer), "-i", str(speech.root)),
        *("-o", str(tmp_path), "--batch_size", "2", "--cpu", "--skip_existing"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    while running.poll() is None and len(list((tmp_path / "mels_gta").glob("*.npy"))) < n_there:
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.wait()
    left_by_a_kill(tmp_path / "mels_gta" / "mel-0.npy")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "10 ground-truth-aligned mels" in done.stdout
    assert content(tmp_path) == content(uninterrupted)


@pytest.mark.parametrize("lost", ["1", "6"])
def test_any_lost_mel_comes_back_the_same(lost, uninterrupted, speech, synthesizer, tmp_path):
    out = shutil.copytree(uninterrupted, tmp_path / "out")
    (out / "mels_gta" / f"mel-{lost}.npy").unlink()
    preprocess(synthesizer, speech.root, out, batch_size=2, skip_existing=True, cpu=True)
    assert content(out) == content(uninterrupted)


def test_a_mel_that_is_not_its_row_s_is_named(uninterrupted, speech, synthesizer, tmp_path):
    out = shutil.copytree(uninterrupted, tmp_path / "out")
    (out / "synthesized.txt").unlink()
    mels = out / "mels_gta"
    short = np.load(mels / "mel-4.npy")[:-1]
    for name, damage, problem in (
        ("mel-4.npy", lambda path: np.save(path, short), f"mel-4.npy: has {len(short)} frames, its row says {len(short) + 1}"),
        ("mel-2.npy", lambda path: path.write_bytes(b"\x93NUMPY cut"), r"mel-2\.npy: is damaged"),
        ("mel-99.npy", lambda path: np.save(path, short), r"mel-99\.npy: belongs to no row"),
    ):
        damage(mels / name)
        with pytest.raises(UserError, match=problem):
            preprocess(synthesizer, speech.root, out, batch_size=2, skip_existing=True, cpu=True)
        assert not (out / "synthesized.txt").exists()
        (mels / name).unlink()
    preprocess(synthesizer, speech.root, out, batch_size=2, skip_existing=True, cpu=True)
    assert content(out) == content(uninterrupted)


def test_skipping_what_was_made_from_something_else_is_refused(uninterrupted, speech, synthesizer, tmp_path):
    out = shutil.copytree(uninterrupted, tmp_path / "out")
    with pytest.raises(UserError, match="batch_size changed"):
        preprocess(synthesizer, speech.root, out, batch_size=3, skip_existing=True, cpu=True)
    assert content(out) == content(uninterrupted)
    (out / "mels_gta" / "mel-stale.npy").write_bytes(b"of an utterance that is no more")
    preprocess(synthesizer, speech.root, out, batch_size=2, cpu=True)
    assert content(out) == content(uninterrupted)


def test_rows_whose_files_are_gone_are_counted_and_left_out(samples, synthesizer, tmp_path, capsys):
    data = write_speech(samples, tmp_path / "in", 4)
    rows = read_rows(data.manifest)
    (data.mels_dir / rows[1].mel).unlink()
    (data.embeds_dir / rows[2].embed).unlink()
    preprocess(synthesizer, data.root, tmp_path / "out", cpu=True)
    assert "2 of 4 rows are left out" in capsys.readouterr().out
    assert read_rows(tmp_path / "out" / "synthesized.txt") == [rows[0], rows[3]]


def test_mistakes_cost_one_line(speech, synthesizer, tmp_path):
    with pytest.raises(UserError, match=r"train\.txt: not found"):
        preprocess(synthesizer, tmp_path / "nothing", tmp_path, cpu=True)
    with pytest.raises(UserError, match=r"no such synthesizer checkpoint"):
        preprocess(tmp_path / "no.pt", speech.root, tmp_path, cpu=True)
    other = write_synthesizer(tmp_path / "other.pt", dataclasses.replace(FORMAT, fmax=8000.0))
    with pytest.raises(UserError, match=r"fmax 8000.*fmax 7600"):
        preprocess(other, speech.root, tmp_path, cpu=True)
    damaged = shutil.copytree(speech.root, tmp_path / "damaged")
    (damaged / "mels" / "mel-3.npy").write_bytes(b"")
    with pytest.raises(UserError, match=r"mel-3\.npy: is damaged"):
        preprocess(synthesizer, damaged, tmp_path / "out", cpu=True)
    assert not (tmp_path / "out" / "synthesized.txt").exists()
