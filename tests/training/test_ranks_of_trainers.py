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

from tests import ROOT
from tests.training.ranks import play
from tests.training.test_saving import STAGES, data, hparams, train  # noqa: F401  (data is a fixture)
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

SCRIPTS = {
    "encoder": ["encoder_train.py", "r", "data/SV2TTS/encoder", "--umap_every", "0"],
    "synthesizer": ["synthesizer_train.py", "r", "data/SV2TTS/synthesizer"],
    "vocoder": ["vocoder_train.py", "r", "data", "--ground_truth", "--generate_every", "0"],
}


@pytest.fixture(params=STAGES)
def training(folder, request):
    """torchrun with two ranks that save nothing until they are stopped; ends what is left of them."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    script, *arguments = SCRIPTS[request.param]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", ROOT / script, *arguments]
    command += ["-m", ".", "--cpu", "--no_visdom", "--hparams", hparams(request.param, 1e-3)]
    command += ["--save_every", "0", "--eval_every", "0", "--backup_every", "0"]
    with (folder / "log").open("w") as log:
        launcher = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    wait_for(lambda: n_steps(folder) > 5, 300)
    ranks = [int(pid) for pid in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()]
    assert len(ranks) == 2
    yield request.param, launcher, ranks
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


ENDS = {  # what the launcher is sent, and what it and all ranks are
    "the launcher is killed": ([signal.SIGKILL], []),
    "the launcher is signalled twice": ([signal.SIGTERM, signal.SIGTERM], []),
    "all are signalled, as by batch systems": ([], [signal.SIGTERM]),
    "all are signalled, as by systemd": ([], [signal.SIGTERM, signal.SIGHUP]),
    "all are signalled twice": ([], [signal.SIGTERM, signal.SIGTERM]),
}


@pytest.mark.parametrize("attempt", range(3))
@pytest.mark.parametrize("end", ENDS)
def test_ranks_end_with_their_launcher_and_nothing_is_lost(training, folder, data, end, attempt):  # noqa: F811
    stage, launcher, ranks = training
    for processes, signals in zip([[launcher.pid], [launcher.pid, *ranks]], ENDS[end], strict=True):
        for number in signals:
            for process in filter(is_alive, processes):
                os.kill(process, number)
            time.sleep(0.2 * attempt)
    wait_for(lambda: not any(map(is_alive, ranks)), 60)
    launcher.wait(60)
    log, held = (folder / "log").read_text(), checkpoint.load(folder / "r" / f"{stage}.pt", stage)["step"]
    assert held == n_steps(folder), log
    assert "error: " not in log and f"{stage}.py" not in log, log
    assert train(stage, data, folder, 1e-3, held + 2)["step"] == held + 2  # as nothing locks it
