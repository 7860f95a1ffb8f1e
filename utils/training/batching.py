"""Which items make up which step, as a pure function of seed and step: this is what makes resuming exact."""

import contextlib
import hashlib
import itertools
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from utils.data.rows import Row
from utils.errors import UserError
from utils.training.stopping import STOPPING


def rng(seed: int, *keys: int) -> np.random.Generator:
    """An independent generator for every combination of keys: rng(seed, step), rng(seed, step, 0), ..."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=keys))


def held_out(names: Sequence[str], fraction: float, at_least: int) -> set[str]:
    """A fixed choice of names (speakers, utterances) to evaluate on, at most half of them.

    A name is chosen by its own hash, whatever the seed and the other names. So adding data later does not move speakers from
    training to evaluation, except for the few needed to reach `at_least`.
    """
    by_hash = sorted((hashlib.sha256(name.encode()).digest(), name) for name in set(names))
    n_under = sum(int.from_bytes(digest[:8]) < fraction * 2**64 for digest, _ in by_hash)
    n_chosen = min(max(at_least, n_under), len(by_hash) // 2)
    return {name for _, name in by_hash[:n_chosen]}


def split_rows(rows: Sequence[Row], fraction: float, at_least: int) -> tuple[list[Row], list[Row]]:
    """(training, held out), by the utterances' names. Copies at other speeds are trained on or left out, never held out."""
    chosen = held_out([row.name for row in rows if row.name == row.original], fraction, at_least)
    return [row for row in rows if row.original not in chosen], [row for row in rows if row.name in chosen]


class EpochPlan:
    """plan(step) -> [index, ...]: every item once an epoch, items of similar length together.

    `lengths` are the items' sizes in any unit; `batch_size` is per rank; steps count from `first_step`. Items that do not fill
    a batch of all ranks are left out of the epoch; with fewer items than a batch, each batch holds all of them. Raises
    UserError for fewer items than ranks.
    """

    BUCKET_BATCHES = 32  # batches cut from one pool sorted by length: larger pads less, smaller mixes better

    def __init__(
        self, lengths: Sequence[int], batch_size: int, seed: int, rank: int = 0, world_size: int = 1, first_step: int = 1
    ) -> None:
        self.lengths = np.asarray(lengths)
        if len(self.lengths) < world_size:
            raise UserError(f"{len(self.lengths)} utterances to train on are too few for {world_size} ranks: each needs one")
        self.global_batch = min(batch_size * world_size, len(self.lengths))
        self.seed, self.rank, self.world_size, self.first_step = seed, rank, world_size, first_step
        self.n_batches = len(self.lengths) // self.global_batch
        self._epoch = -1
        self._batches: list[np.ndarray] = []

    def __call__(self, step: int) -> list[int]:
        epoch, position = divmod(step - self.first_step, self.n_batches)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self.epoch(epoch)
        return self._batches[position][self.rank :: self.world_size].tolist()

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch, of all ranks together."""
        generator = rng(self.seed, epoch, self.first_step)
        order = generator.permutation(len(self.lengths))[: self.n_batches * self.global_batch]
        pool = self.BUCKET_BATCHES * self.global_batch
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        pools = [part[np.argsort(self.lengths[part], kind="stable")] for part in pools]
        batches = np.concatenate(pools).reshape(self.n_batches, self.global_batch)
        return list(batches[generator.permutation(self.n_batches)])


class _PlannedSteps:
    """A DataLoader's batch sampler: plan(first_step), plan(first_step + 1), ... without end."""

    def __init__(self, plan: Callable[[int], list[Any]], first_step: int) -> None:
        self.plan, self.first_step = plan, first_step

    def __iter__(self) -> Iterator[list[Any]]:
        return map(self.plan, itertools.count(self.first_step))


# Workers are forked from a process without OpenMP threads, as forking one that has them can hang; on Windows they start anew.
METHODS = multiprocessing.get_all_start_methods()
PROCESSES = multiprocessing.get_context("forkserver" if "forkserver" in METHODS else "spawn")


class Feed:
    """Iterator over batches. `seconds_waited` is how long the training waited for the last one."""

    def __init__(self, prepared: Iterator[Any], arrived: Callable[[], None]) -> None:
        self._prepared, self._arrived = prepared, arrived
        self.seconds_waited = 0.0

    def __iter__(self) -> "Feed":
        return self

    def __next__(self) -> Any:
        started = time.perf_counter()
        batch = next(self._prepared)
        self.seconds_waited = time.perf_counter() - started
        self._arrived()
        return batch


def batches(
    plan: Callable[[int], list[Any]],
    first_step: int,
    dataset: Dataset,
    collate: Callable[[list[Any]], Any],
    device: torch.device,
    n_workers: int,
    arrived: Callable[[], None] = lambda: None,
) -> Feed:
    """The batches of steps first_step, first_step + 1, ... on `device`: collate([dataset[spec] for spec in plan(step)]).

    Workers prepare batches in advance; their number does not change the batches. `collate` returns a NamedTuple, whose tensors
    are moved to the device. `arrived` is called whenever a batch is handed out.
    """
    loader = DataLoader(
        dataset,
        batch_sampler=_PlannedSteps(plan, first_step),
        collate_fn=collate,
        num_workers=n_workers,
        pin_memory=device.type == "cuda",
        multiprocessing_context=PROCESSES if n_workers else None,
        prefetch_factor=4 if n_workers else None,
        worker_init_fn=_follow_parent,
        generator=torch.Generator(),  # else it would use up random numbers of the run, and resuming would not be exact
    )
    return Feed(_moved(loader, device), arrived)


def prepare_workers(stage: str) -> None:
    """Let the process that workers are forked from import what they need while this one sets up its run."""
    if PROCESSES.get_start_method() == "forkserver":
        from multiprocessing import forkserver

        PROCESSES.set_forkserver_preload(["torch", f"{stage}.dataset"])
        with _signals_blocked():
            forkserver.ensure_running()


def _follow_parent(number: int) -> None:
    """End with the process that trains, even if it is killed."""
    threading.Thread(target=_end_after, args=(multiprocessing.parent_process(),), name="parent", daemon=True).start()


def _end_after(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _moved(loader: DataLoader, device: torch.device) -> Iterator[Any]:
    with _signals_blocked() if loader.num_workers else contextlib.nullcontext():
        prepared = iter(loader)  # starts the workers
    try:
        for batch in prepared:
            yield to_device(batch, device)
    except UserError as error:  # a worker's message comes with its traceback around it
        raise UserError(re.sub(r"^[\w.]+Error: ", "", error.message.strip().splitlines()[-1])) from error


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Processes started inside never receive the signals that stop a run.

    Ctrl-C, torchrun and batch systems signal a whole group of processes, and the run needs its workers until it has saved.
    Signals that arrive meanwhile are delivered to this process at the end.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where a console's Ctrl-C alone reaches them
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # starting it unblocks the signals, so not inside
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def to_device(batch: Any, device: torch.device) -> Any:
    """A NamedTuple with its tensors moved to the device."""
    moved = (value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value for value in batch)
    return type(batch)(*moved)
