"""Runs tests.training.rank_scenarios."""

import os
import subprocess
import sys

from tests import ROOT
from utils.models import checkpoint


class Outcome:
    """What the ranks of each scenario printed and left."""

    def __init__(self, folder):
        self.folder = folder

    def codes(self, name, n_ranks=2):
        paths = [self.folder / f"{name}-{rank}.code" for rank in range(n_ranks)]
        return [path.read_text() if path.exists() else "killed" for path in paths]

    def printed(self, name, rank):
        return (self.folder / f"{name}-{rank}.out").read_text()

    def errors(self, name):
        lines = [line for rank in (0, 1) for line in self.printed(name, rank).splitlines()]
        assert not [line for line in lines if "Traceback" in line or "frame #" in line]
        return [line for line in lines if line.startswith("error: ")]

    def step(self, name):
        return checkpoint.load(self.folder / name / "tiny" / "encoder.pt", "encoder")["step"]


def play(folder, *scenarios) -> Outcome:
    command = [sys.executable, "-m", "tests.training.rank_scenarios", folder, *scenarios]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Outcome(folder)


def train_in_ranks(folder, *functions) -> None:
    """Have two ranks call each function, "module:name", with the folder."""
    outcome = play(folder, *functions)
    for name in functions:
        printed = outcome.printed(name, 0)
        assert outcome.codes(name) == ["0", "0"] and "FutureWarning" not in printed, printed
