"""Process pools with progress."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tqdm import tqdm


def run_tasks(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    n_processes: int,
    describe: str,
    unit: str = "h",
    weigh: Callable[[Any], float] = lambda result: 1,
) -> Iterator[Any]:
    """Yield function(task) for every task, in their order, computed by a pool of processes.

    The bar counts tasks and shows the sum of `weigh(result)` in `unit` (audio hours, files). Results are handed over one by
    one, so memory does not grow with their number. Each process keeps to one thread: the pool itself fills the cores.
    """
    total = 0.0
    interval = 0.2 if sys.stderr.isatty() else 30  # seconds; a log file is not flooded
    with tqdm(total=len(tasks), desc=describe, unit="task", dynamic_ncols=True, mininterval=interval) as bar:
        for result in _results(function, tasks, n_processes):
            total += weigh(result)
            bar.set_postfix_str(f"{total:.2f} {unit}", refresh=False)
            bar.update()
            yield result


def _results(function: Callable[[Any], Any], tasks: Sequence[Any], n_processes: int) -> Iterator[Any]:
    n_processes = min(n_processes, len(tasks))
    if n_processes <= 1:
        yield from map(function, tasks)
        return
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=1):
        yield from Parallel(n_jobs=n_processes, return_as="generator")(delayed(function)(task) for task in tasks)
