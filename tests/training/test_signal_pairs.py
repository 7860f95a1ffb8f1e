"""Two signals in a row end a script at once or after it has saved, at whatever moment they come, and never in a traceback."""

import itertools
import json
import os
import signal
import subprocess
import sys

import pytest

from tests import ROOT
from tests.encoder.test_encoder import TINY
from tests.training.signal_pairs import NUMBERS

TRAINER = """
import os, signal
from utils import cli

def main():
    from utils.training.stopping import STOPPING, StopSignals
    with StopSignals() as signals:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        for number in ({first}, {second}):
            os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)  # both are there in the same moment
        print("saved after", int(signals.received))

cli.run(main)
"""
LEAVING = """
import atexit, signal
from utils import cli

def main():
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.raise_signal(signal.SIGINT) if {within} else None
        print("cleaned up")

atexit.register(signal.raise_signal, signal.SIGINT)
cli.run(main)
"""


def run(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(("first", "second"), itertools.combinations(NUMBERS, 2))
def test_two_signals_in_one_moment(first, second):
    done = run(TRAINER.format(first=int(first), second=int(second)))
    assert not done.stderr
    if signal.SIGHUP in (first, second):
        assert done.returncode == 0 and done.stdout == "saved after 1\n"
    else:
        assert -done.returncode in (first, second) and not done.stdout


@pytest.mark.parametrize("within", [True, False])
def test_a_second_ctrl_c_while_a_script_cleans_up_or_ends(within):
    done = run(LEAVING.format(within=within))
    assert done.returncode == -signal.SIGINT
    assert (done.stdout, done.stderr) == (("", "") if within else ("cleaned up\n", "interrupted\n"))


@pytest.mark.slow
@pytest.mark.torture
@pytest.mark.parametrize("script", ["encoder_train.py", "encoder_preprocess.py"])
def test_all_pairs(script, preprocessed, samples, tmp_path):
    training = ["r{}", str(preprocessed), "-m", str(tmp_path), "--cpu", "--no_visdom", "--hparams", TINY, "--umap_every", "0"]
    preprocessing = [str(samples), "-o", f"{tmp_path}/r{{}}", "-d", "LibriSpeech/train-clean-100", "-n", "2"]
    trace, more = ("metrics.jsonl", training) if script == "encoder_train.py" else ("*/mels.npy", preprocessing)
    command = [sys.executable, "-m", "tests.training.signal_pairs", f"{tmp_path}/{{}}.log", f"{tmp_path}/r{{}}/{trace}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    cases = [*command, "0,0.005,0.05,0.5", script, *more]
    done = subprocess.run(cases, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 36
    for *case, status, seconds, output in found:
        is_over = not status and "logs: " in output  # it had ended before the second signal
        assert is_over or abs(status) in NUMBERS or status - 128 in NUMBERS, (case, output)
        assert not any(word in output for word in ("Traceback", "Error", "Warning")) and seconds < 30, (case, output)
