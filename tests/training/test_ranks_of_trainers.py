"""The three trainers with several ranks: another number of them at each start, and one that is suspended. In `make torture`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.encoder.test_encoder import TINY
from tests.training.test_ranks import ROOT, play
from tests.training.test_saving import STAGES, data  # noqa: F401  (a fixture)
from utils.models import checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.torture]


@pytest.fixture
def folder(data, tmp_path):  # noqa: F811
    (tmp_path / "data").symlink_to(data, target_is_directory=True)
    return tmp_path


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_goes_on_with_another_number_of_ranks(folder, stage):
    starts = {f"{stage}-{n_ranks}-{steps}": n_ranks for n_ranks, steps in ((1, 2), (2, 4), (3, 6), (1, 8))}
    outcome = play(folder, *starts)
    for name, n_ranks in starts.items():
        assert outcome.codes(name, n_ranks) == ["0"] * n_ranks, outcome.printed(name, 0)
    rows = [json.loads(line) for line in (folder / "runs" / "r" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [*range(1, 9)]
    assert checkpoint.load(folder / "runs" / "r" / f"{stage}.pt", stage)["step"] == 8


@pytest.mark.parametrize(("stage", "seconds"), [*((stage, 2) for stage in STAGES), ("encoder", 60)])
def test_a_rank_that_was_suspended_changes_nothing(folder, stage, seconds):
    outcome = play(folder, f"{stage}-0s", f"{stage}-{seconds}s")
    states = []
    for each in (0, seconds):
        assert outcome.codes(f"{stage}-{each}s") == ["0", "0"], outcome.printed(f"{stage}-{each}s", 0)
        states.append(checkpoint.load(folder / f"paused for {each}" / "r" / f"{stage}.pt", stage)["model_state"])
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


# ---- torchrun itself


@pytest.fixture
def training(folder):
    """torchrun with two ranks of an encoder that saves nothing until it is stopped; ends what is left of them."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "encoder_train.py", "r"]
    command += [str(folder / "data/SV2TTS/encoder"), "-m", str(folder), "--cpu", "--no_visdom", "--umap_every", "0"]
    command += ["--save_every", "0", "--eval_every", "0", "--backup_every", "0", "--hparams", TINY]
    launcher = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for(lambda: n_steps(folder) > 5, 300)
    ranks = [int(pid) for pid in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()]
    assert len(ranks) == 2
    yield launcher, ranks
    for process in (launcher.pid, *ranks):
        if is_alive(process):
            os.kill(process, signal.SIGKILL)
    launcher.wait()


def wait_for(condition, seconds):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def n_steps(folder):
    log = folder / "r" / "metrics.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


def is_alive(process):
    path = Path(f"/proc/{process}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"


def held(folder):
    return checkpoint.load(folder / "r" / "encoder.pt", "encoder")["step"]


def test_ranks_end_after_a_launcher_that_was_killed_and_nothing_is_lost(training, folder):
    launcher, ranks = training
    launcher.kill()
    wait_for(lambda: not any(map(is_alive, ranks)), 60)
    assert held(folder) == n_steps(folder)


@pytest.mark.parametrize("attempt", range(5))
def test_two_signals_to_the_launcher_and_all_ranks_lose_nothing(training, folder, attempt):
    """As systemd and batch systems send them."""
    launcher, ranks = training
    for _ in range(2):
        for process in (launcher.pid, *ranks):
            if is_alive(process):
                os.kill(process, signal.SIGTERM)
        time.sleep(0.1 * attempt)
    wait_for(lambda: not any(map(is_alive, ranks)), 60)
    assert held(folder) == n_steps(folder)
