"""Two processes never write to one output, and what a killed one leaves does not stop the next."""

import dataclasses
import json
import os
import subprocess
import sys
import time

import pytest

from encoder.preprocess import preprocess as preprocess_speech
from synthesizer.preprocess import preprocess_audio, preprocess_embeds
from tests import ROOT
from utils.config import default_model
from utils.data import lock
from utils.data.lock import only_writer
from utils.data.mel_format import MelFormat
from utils.errors import UserError
from utils.training.run import Run, RunOptions
from vocoder.preprocess import preprocess as preprocess_mels

SUBSET = ["LibriSpeech/train-clean-100"]
HOLD = """
import sys, time
from utils.data.lock import only_writer
from utils.data.mel_format import MelFormat
with only_writer(sys.argv[1], "it"):
    print(flush=True)
    time.sleep(60)
"""


def a_holder(folder):
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder], cwd=ROOT, stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def test_the_second_is_refused_with_the_firsts_name_and_a_killed_ones_place_is_taken(tmp_path, capsys):
    holder = a_holder(tmp_path)
    try:
        with (
            pytest.raises(UserError, match=rf"process {holder.pid} on .*, started .* is writing here"),
            only_writer(tmp_path, "it"),
        ):
            pass
        with only_writer(tmp_path, "other"):  # as two stages of one run
            pass
    finally:
        holder.kill()
        holder.wait()
    with only_writer(tmp_path, "it"):
        assert json.loads((tmp_path / ".it.owner").read_text())["process"] == os.getpid()
        with pytest.raises(UserError, match="is writing here"), only_writer(tmp_path, "it"):
            pass
    assert capsys.readouterr().out.count(f"taken over from process {holder.pid}") == 1
    assert not (tmp_path / ".it.owner").exists()


def test_a_writer_on_another_host_counts_as_gone_when_it_shows_no_life(tmp_path, capsys):
    owner = tmp_path / ".it.owner"
    owner.write_text(json.dumps({"host": "far", "machine": "00000000", "process": 1}))
    with pytest.raises(UserError, match="process 1 on far.*try again in 3 minutes"), only_writer(tmp_path, "it"):
        pass
    for seconds in (-lock.STALE_AFTER - 1, 1e6):  # the file may come from an archive, of another clock
        owner.write_text(json.dumps({"host": "far", "machine": "00000000", "process": 1}))
        os.utime(owner, (time.time() + seconds,) * 2)
        with only_writer(tmp_path, "it"):
            pass
        assert "taken over from process 1 on far" in capsys.readouterr().out


def test_links_in_the_place_of_a_lock_are_not_followed(tmp_path):
    mine, out = tmp_path / "mine", tmp_path / "out"
    out.mkdir()
    mine.write_text("mine")
    for name in (".it.lock", ".it.owner"):
        (out / name).symlink_to(mine)
    with only_writer(out, "it"):
        assert not (out / ".it.lock").is_symlink()
    assert mine.read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no named pipes")
def test_a_named_pipe_in_the_place_of_the_owner_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / ".it.owner")
    with pytest.raises(UserError, match="owner: does not say which process"), only_writer(tmp_path, "it"):
        pass


@pytest.mark.parametrize("kind", ["folder", "large", "no JSON"])
def test_an_owner_that_says_nothing_is_named(tmp_path, kind):
    owner = tmp_path / ".it.owner"
    owner.mkdir() if kind == "folder" else owner.write_text("x")
    if kind == "large":
        os.truncate(owner, 2**40)  # which takes no room
    with pytest.raises(UserError, match=r"\.it\.owner: does not say which process .* delete it"), only_writer(tmp_path, "it"):
        pass


def test_a_writer_that_slept_while_another_took_over_ends(tmp_path):
    code = f"from utils.data import lock; lock.HEARTBEAT = 0.1\n{HOLD}"
    sleeper = subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    sleeper.stdout.readline()
    (tmp_path / ".it.owner").write_text(json.dumps({"host": "far", "process": 2, "token": "other"}))
    assert b"process 2 on far" in sleeper.communicate(timeout=20)[1]
    assert sleeper.returncode == 1


def test_every_script_refuses_an_output_that_another_is_writing(samples, tmp_path):
    (tmp_path / "train.txt").write_text("audio-a.npy|mel-a.npy|embed-a.npy|200|1|a\n")
    mel_format = {"mel": dataclasses.asdict(MelFormat()), "preprocess": {}}
    (tmp_path / "parameters.json").write_text(json.dumps(mel_format))
    for folder in ("mels", "embeds"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder[:-1]}-a.npy").touch()
    scripts = [
        lambda: preprocess_speech(samples, tmp_path, SUBSET, n_processes=1),
        lambda: preprocess_audio(samples, tmp_path, SUBSET, n_processes=1),
        lambda: preprocess_embeds(tmp_path, default_model("encoder"), cpu=True),
        lambda: preprocess_mels(default_model("synthesizer"), tmp_path, tmp_path, cpu=True),
        *(
            lambda stage=stage: Run(stage, RunOptions(tmp_path.name, tmp_path.parent))
            for stage in ("encoder", "synthesizer", "vocoder")
        ),
    ]
    names = ["preprocess"] * 4 + ["encoder", "synthesizer", "vocoder"]
    for script, name in zip(scripts, names, strict=True):
        with only_writer(tmp_path, name), pytest.raises(UserError, match=f"process {os.getpid()} .* is writing here"):
            script()
