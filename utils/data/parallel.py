"""Run tasks in processes of this machine, or of a Dask cluster, with a progress bar."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tqdm import tqdm

from utils.data import cluster
from utils.data.worker import call
from utils.errors import UserError


def run_tasks(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    n_processes: int | None,
    describe: str,
    unit: str = "h",
    weigh: Callable[[Any], float] = lambda result: 1,
    scheduler: str | None = None,
) -> Iterator[Any]:
    """Yield function(task) for every task, in order, computed by n_processes (None: one per CPU core).

    With `scheduler` (tcp://host:port) the workers of that Dask scheduler do the work instead. The bar counts tasks and shows
    the sum of `weigh(result)` in `unit`. Results come one by one, so memory does not grow with their number. Each process
    uses one thread. UserError if a process dies.
    """
    total = 0.0
    interval = 0.2 if sys.stderr.isatty() else 30  # seconds; seldom in a log file
    results = cluster.results(function, tasks, scheduler) if scheduler else _results(function, tasks, n_processes)
    if not tasks:
        return
    with tqdm(total=len(tasks), desc=describe, unit="task", dynamic_ncols=True, mininterval=interval) as bar:
        for result in results:
            total += weigh(result)
            bar.set_postfix_str(f"{total:.2f} {unit}", refresh=False)
            bar.update()
            yield result


def _results(function: Callable[[Any], Any], tasks: Sequence[Any], n_processes: int | None) -> Iterator[Any]:
    n_processes = min(n_processes or os.cpu_count() or 1, len(tasks))
    if n_processes <= 1:
        yield from map(call, ((function, task) for task in tasks))
        return
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        with parallel_config(backend="loky", inner_max_num_threads=1):
            yield from Parallel(n_jobs=n_processes, return_as="generator")(delayed(call)((function, task)) for task in tasks)
    except TerminatedWorkerError as error:
        raise UserError(
            "a worker process was killed, probably for lack of memory; use fewer with -n, and continue with --skip_existing"
        ) from error
