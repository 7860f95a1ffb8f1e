"""What may happen to the ranks of a run, as a script: `python -m tests.training.rank_scenarios FOLDER NAME...`.

A name is one of SCENARIOS, or "module:function", which is called with the folder by two ranks.
A process that has imported torch forks the ranks, which are then there at once. Each writes what it prints to <name>-<rank>.out
and its exit code to <name>-<rank>.code.
"""

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

import filelock  # noqa: F401  (imported here once, not by each rank, as is what the first optimizer and DDP import)
import torch
import torch._dynamo
import torch.distributed.algorithms.join
from torch import nn
from torch.distributed import TCPStore

from tests.training import test_saving
from tests.training.test_training import TinyConfig, TinySettings
from utils import cli
from utils.boards.board import NoBoard
from utils.models import checkpoint
from utils.training import peers
from utils.training import run as training
from utils.training.run import Run, RunOptions

STEPS = 6


class Numbers(NoBoard):
    """A board without pictures, whose libraries take seconds to import in every rank."""

    def __init__(self, folder, *others):
        self.path = folder / "metrics.jsonl"

    def scalars(self, step, values, held_out=False):
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


def train(folder, rank, overrides=None, data=("a",), at=lambda run: None, **options):
    """Fit a line, each rank on numbers of its own."""
    options = {"max_steps": STEPS, "save_every": 2, "cpu": True, **options}
    with Run("encoder", RunOptions("tiny", models_dir=folder, **options)) as run:
        config, settings = run.configure(overrides or {}, TinyConfig(), TinySettings())
        model = nn.Linear(1, 1)
        optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
        net = run.start(model, optimizer, config, settings, data=data)
        for _ in run.steps():
            loss = (net(torch.full((4, 1), 1.0 + rank)) - rank).square().mean()
            print(f"own loss {loss.item():.6f}", flush=True)
            run.log(loss=loss, grad_norm=run.optimize(loss, clip=1.0))
            at(run)


def end_itself(number):
    def at(run):
        if run.rank == 1 and run.step == 5:
            os.kill(os.getpid(), number)

    return at


def all_signalled_twice(run):
    if run.step == 3:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)


def signalled_in_a_long_evaluation(run):
    if run.step == 3:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(4)


def train_with_slow_disk(folder, rank):
    save = checkpoint.save
    checkpoint.save = lambda *arguments: (time.sleep(4), save(*arguments))
    train(folder, rank, at=all_signalled_twice, save_every=0)


def train_stage(stage, folder, max_steps, name="runs"):
    """One of the three trainers, on the data in folder / "data"."""
    test_saving.fit(stage, folder / "data", folder / name, 1e-3, max_steps, save_every=0)


def pause_at_step_2(stage, folder, rank, seconds):
    """As a suspended process, or a host that sleeps."""
    log = Run.log

    def pausing(run, **values):
        log(run, **values)
        if rank == 1 and run.step == 2:
            if not os.fork():
                time.sleep(seconds)
                os.kill(os.getppid(), signal.SIGCONT)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGSTOP)

    Run.log = pausing
    train_stage(stage, folder, 4, f"paused for {seconds}")


def load_for_ever(folder, rank):
    """Rank 0 replays its steps, which runs no Python of a step; rank 1 takes them one by one and then never gets its batch."""
    with Run("encoder", RunOptions("tiny", models_dir=folder, max_steps=STEPS, cpu=True, rank_timeout=3)) as run:
        run.configure({}, TinyConfig(), TinySettings())
        model = nn.Linear(1, 1)
        run.start(model, torch.optim.Adam(model.parameters(), fused=True), TinyConfig(), in_graphs=True)
        feed = run.feed(lambda step: [rank * step], Loaded(), lambda items: OneTensor(items[0]))
        for _ in run.steps():
            numbers = next(feed).numbers
            print("a batch", flush=True)  # ends the line of the progress bar
            if rank:
                run.optimize(model(numbers).square().mean(), clip=1.0)
            else:
                torch.distributed.all_reduce(torch.zeros(2))  # the gradients


class OneTensor(NamedTuple):
    numbers: torch.Tensor


class Loaded(torch.utils.data.Dataset):
    def __getitem__(self, step):
        time.sleep(60 if step == 5 else 0)
        return torch.ones(1, 1)


def rather_slowly(run):
    time.sleep(0.05)


SCENARIOS = {
    "alike": lambda folder, rank: train(folder, rank),
    "three": lambda folder, rank: train(folder, rank, max_steps=STEPS + 3),
    "again": lambda folder, rank: train(folder, rank, max_steps=STEPS + 3),
    "other_step": lambda folder, rank: train(folder if rank == 0 else folder / "of another host", rank, max_steps=STEPS + 9),
    "other_settings": lambda folder, rank: train(folder / "s", rank, {"learning_rate": "0.2"} if rank else None),
    "other_data": lambda folder, rank: train(folder / "d", rank, data=("a", f"b{rank}")),
    "dead": lambda folder, rank: train(folder / "dead", rank, at=end_itself(signal.SIGKILL)),
    "hang": lambda folder, rank: train(folder / "hang", rank, at=end_itself(signal.SIGSTOP), rank_timeout=5),
    "loading": lambda folder, rank: load_for_ever(folder / "loading", rank),
    "signals": lambda folder, rank: train(folder / "signals", rank, at=all_signalled_twice, save_every=0),
    "evaluating": lambda folder, rank: train(folder / "evaluating", rank, at=signalled_in_a_long_evaluation, save_every=0),
    "slow_disk": lambda folder, rank: train_with_slow_disk(folder / "slow_disk", rank),
    "orphans": lambda folder, rank: train(folder / "orphans", rank, at=rather_slowly, max_steps=None, save_every=0),
}
SCENARIOS |= {
    f"{stage}-{n_ranks}-{max_steps}": lambda folder, rank, stage=stage, steps=max_steps: train_stage(stage, folder, steps)
    for stage in test_saving.STAGES
    for n_ranks, max_steps in ((1, 2), (2, 4), (3, 6), (1, 8))
}
SCENARIOS |= {
    f"{stage}-{seconds}s": lambda folder, rank, stage=stage, seconds=seconds: pause_at_step_2(stage, folder, rank, seconds)
    for stage in test_saving.STAGES
    for seconds in (0, 2, 60)
}
N_RANKS = {"three": 3} | {name: int(name.split("-")[1]) for name in SCENARIOS if name.count("-") == 2}


def scenario(name):
    module, colon, function = name.partition(":")
    if not colon:
        return SCENARIOS[name]
    called = getattr(importlib.import_module(module), function)
    return lambda folder, rank: called(folder)


def fork(work, *args) -> int:
    if process := os.fork():
        return process
    work(*args)
    os._exit(0)


def be_rank(folder, name, rank, port):
    world = str(N_RANKS.get(name, 2))
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    output = os.open(folder / f"{name}-{rank}.out", os.O_CREAT | os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = 0
    try:
        cli.run(lambda: scenario(name)(folder, rank))
    except SystemExit as left:
        code = left.code
    (folder / f"{name}-{rank}.code").write_text(str(code))


def launch(folder, name):
    """As torchrun does: hold the store, and end the others when one rank has ended badly, first kindly and then not."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    ranks = [fork(be_rank, folder, name, rank, store.port) for rank in range(N_RANKS.get(name, 2))]
    (folder / f"{name}.pids").write_text(" ".join(map(str, ranks)))
    while ranks:
        ended, status = os.wait()
        ranks.remove(ended)
        if status:
            time.sleep(5 if ranks else 0)
            for rank in ranks:
                os.kill(rank, signal.SIGKILL)


def main():
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    training.Board = Numbers
    peers.INTERVAL, peers.GRACE = 0.2, 1.0
    for name in sys.argv[2:]:
        scenario(name)  # imported once, not by each rank
        launcher = fork(launch, folder, name)
        if name == "orphans":
            while not (folder / "orphans" / "tiny" / "metrics.jsonl").exists():
                time.sleep(0.05)
            os.kill(launcher, signal.SIGKILL)
        os.waitpid(launcher, 0)


if __name__ == "__main__":
    main()
