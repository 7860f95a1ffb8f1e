"""Sends a script two signals in a row, all pairs: `python -m tests.training.signal_pairs LOG TRACE DELAYS SCRIPT ARGUMENTS`.

The script is at work once a file matches TRACE; `{}` in these and in the arguments is the number of the case. A process that
has imported everything is forked for each case, which then takes a second. Prints one JSON list a case.
"""

import glob
import itertools
import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path

import encoder.preprocess
import encoder.train  # noqa: F401  (imported here for all cases)

SECONDS = 60  # after which a script hangs
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def start(arguments: list[str], log: Path) -> int:
    """The process of a script whose output goes to `log`."""
    if child := os.fork():
        return child
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 1)
    os.dup2(1, 2)
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")
    sys.exit()


def status(child: int, until: float) -> int:
    """How it ended: its exit code, or minus the signal."""
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.time() > until:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(ended[1])


def main(log: str, trace: str, delays: str, *arguments: str) -> None:
    pairs = itertools.product(NUMBERS, NUMBERS, map(float, delays.split(",")))
    for number, (first, second, delay) in enumerate(pairs):
        path, until = Path(log.format(number)), time.time() + SECONDS
        child = start([argument.format(number) for argument in arguments], path)
        while not glob.glob(trace.format(number)) and time.time() < until:
            time.sleep(0.002)
        sent = time.time()
        os.kill(child, first)
        time.sleep(delay)
        os.kill(child, second)  # a child that has ended is a zombie until it is waited for
        code, seconds = status(child, sent + SECONDS), time.time() - sent
        print(json.dumps([first.name, second.name, delay, code, round(seconds, 2), path.read_text()]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
