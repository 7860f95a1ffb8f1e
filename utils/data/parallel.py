"""Run tasks in processes of this machine, or of a Dask cluster, with a progress bar."""

import os
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

from tqdm import tqdm

from utils.data import cluster
from utils.data.worker import begin, call
from utils.errors import UserError

TRIES = 2  # a file that ends as many processes is left out
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


def run_tasks(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    n_processes: int | None,
    describe: str,
    unit: str = "",
    scheduler: str | None = None,
) -> Iterator[Any]:
    """Yield function(task) for every task, in order, computed by n_processes (None: one per CPU core; 1: this one).

    With `scheduler` (tcp://host:port) the workers of that Dask scheduler do the work instead. The bar counts tasks and, with
    a unit, shows the sum of the results. Results come one by one, so memory does not grow with their number. Each process
    uses one thread. A process that dies is replaced, and its task done again; decoding.read refuses an audio file that two
    processes died of. UserError if two die of a task without reading a file.
    """
    total = 0.0
    interval = 0.2 if sys.stderr.isatty() else 30  # seconds; seldom in a log file
    results = cluster.results(function, tasks, scheduler) if scheduler else _results(function, tasks, n_processes)
    if not tasks:
        return
    with tqdm(total=len(tasks), desc=describe, unit="task", dynamic_ncols=True, mininterval=interval) as bar:
        for result in results:
            if unit:
                total += result
                bar.set_postfix_str(f"{total:.2f} {unit}", refresh=False)
            bar.update()
            yield result


def _results(function: Callable[[Any], Any], tasks: Sequence[Any], n_processes: int | None) -> Iterator[Any]:
    if n_processes == 1:
        yield from map(call, ((function, task) for task in tasks))
        return
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    waiting, running, done, n_yielded = deque(range(len(tasks))), {}, {}, 0
    deaths: Counter[Path | int] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        workers = [_Worker(Path(folder, str(i))) for i in range(min(n_processes or os.cpu_count() or 1, len(tasks)))]
        idle = list(workers)
        try:
            while waiting or running:
                while idle and waiting:
                    worker, index = idle.pop(), waiting.popleft()
                    fatal = [path for path, n in deaths.items() if isinstance(path, Path) and n >= TRIES]
                    running[worker.submit((function, tasks[index]), fatal)] = worker, index
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    worker, index = running.pop(future)
                    idle.append(worker)
                    try:
                        done[index] = future.result()
                    except TerminatedWorkerError as error:
                        cause = worker.replace() or index
                        deaths[cause] += 1
                        if cause == index and deaths[cause] >= TRIES:
                            raise UserError(_why_dead()) from error
                        waiting.appendleft(index)
                while n_yielded in done:
                    yield done.pop(n_yielded)
                    n_yielded += 1
        finally:
            for worker in workers:
                worker.end()


def _why_dead() -> str:
    return "a worker process was killed, probably for lack of memory; use fewer with -n, and continue with --skip_existing"


class _Worker:
    """A process, and the file in which it says what audio it reads."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._start()

    def _start(self) -> None:
        from joblib.externals.loky.process_executor import ProcessPoolExecutor

        self._journal.write_bytes(b"")
        self._executor = ProcessPoolExecutor(1, initializer=begin, initargs=(str(self._journal), os.getpid()), env=ONE_THREAD)

    def submit(self, work: tuple[Callable[[Any], Any], Any], leave_out: list[Path]) -> Future:
        return self._executor.submit(call, work, leave_out)

    def replace(self) -> Path | None:
        """Start another process for one that died. Returns the file that it was reading, if any."""
        name = self._journal.read_bytes()
        self.end()
        self._start()
        return Path(os.fsdecode(name)) if name else None

    def end(self) -> None:
        self._executor.shutdown(kill_workers=True)
