"""Tasks on the workers of a Dask scheduler, on one host or many that share a disk, through joblib's backend for it."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from utils.data.worker import call
from utils.errors import UserError

CONNECT_SECONDS = 5
WORKER_SECONDS = 10
START_WORKERS = "PYTHONPATH=<this repository> dask worker {address} --nworkers -1 --nthreads 1"  # one per core


def check(address: str, function: Callable[..., Any], *folders: Path) -> None:
    """UserError, in seconds, where there is no scheduler or no worker at tcp://host:port, and where one of the workers lacks
    the code of `function` or sees other folders than this machine. The last one, for output, is made."""
    with _connected(address) as client:
        folders[-1].mkdir(parents=True, exist_ok=True)
        _check_workers(client, address, function.__module__, folders)


def results(function: Callable[[Any], Any], tasks: Sequence[Any], address: str) -> Iterator[Any]:
    """Yield function(task) for every task, in their order, from the workers of the scheduler at tcp://host:port.

    A task whose worker dies is given to another one, so it must be one that can be done twice. Workers that join later
    help too. UserError where the cluster gives a task up, or is lost.
    """
    from joblib import Parallel, delayed, parallel_config

    with _connected(address) as client, _errors_of_the_cluster(address), parallel_config(backend=_backend(client)):
        parallel = Parallel(return_as="generator", batch_size=1, pre_dispatch="all")
        # in a tuple a task goes with its call; joblib might put it on one worker beforehand, and lose it with that one
        yield from parallel(delayed(call)((function, task)) for task in tasks)


# ---- before the work


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """A distributed.Client of this scheduler."""
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError('--scheduler needs Dask: pip install "dask[distributed]", on every host') from error
    parts = urlsplit(address)
    try:
        complete = parts.scheme in ("tcp", "tls") and parts.hostname and parts.port
    except ValueError:  # a port that is no number
        complete = False
    if not complete:
        raise UserError(f"--scheduler: {address!r} is not an address; write tcp://host:port", exit_code=2)
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, RuntimeError) as error:
        reason = "" if isinstance(error, TimeoutError | OSError) else f" ({str(error).splitlines()[0]})"
        raise UserError(
            f"--scheduler: no Dask scheduler answers at {address}{reason}; start one on that host with: dask scheduler"
        ) from error
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL + 1)  # what it has to say becomes one line, below
    with client:
        yield client


def _check_workers(client: Any, address: str, module: str, folders: Sequence[Path]) -> None:
    """UserError, naming the worker, where it could not do the work; better now than hours later."""
    try:
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
    except TimeoutError as error:
        start = START_WORKERS.format(address=address)
        raise UserError(f"--scheduler: no worker is connected to {address}; start some on every host with: {start}") from error
    # builtins and the standard library alone: what a worker without this code can run too
    for worker, answer in client.run(exec, f"import {module}", on_error="return").items():
        if isinstance(answer, BaseException):
            start = START_WORKERS.format(address=address)
            raise UserError(f"--scheduler: {worker} cannot import {module} ({answer}); start it with: {start}")
    for folder in folders:
        for worker, answer in client.run(os.path.isdir, str(folder), on_error="return").items():
            if answer is not True:
                raise UserError(f"--scheduler: {worker} does not see {folder}; mount the same disk there under the same path")


# ---- while it goes on


def _backend(client: Any) -> Any:
    """joblib's Dask backend, which neither waits forever for a task that the cluster gave up nor works by itself."""
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):
        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, super().effective_n_jobs(n_jobs))  # joblib would do a cluster's work here if that has one worker

        def submit(self, func: Callable[[], Any], callback: Callable[[Any], None] | None = None) -> Any:
            future = super().submit(func, callback)
            # joblib's own calls back with results alone; of what never ran to its end nobody would hear
            future.add_done_callback(lambda done: callback(done.exception()) if done.exception() else None)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, BaseException):
                raise out
            return super().retrieve_result_callback(out)

    return Backend(client=client)


@contextmanager
def _errors_of_the_cluster(address: str) -> Iterator[None]:
    from concurrent.futures import CancelledError as NotRun

    from distributed import CancelledError, KilledWorker
    from distributed.comm import CommClosedError

    try:
        yield
    except KilledWorker as error:
        raise UserError(
            f"the workers of {address} died {error.allowed_failures + 1} times over the same task, mostly for want of memory; "
            "start fewer of them on each host, then continue with --skip_existing"
        ) from error
    except (CancelledError, NotRun, CommClosedError) as error:
        raise UserError(f"the scheduler at {address} was lost; start it again, then continue with --skip_existing") from error
    except ImportError as error:
        start = START_WORKERS.format(address=address)
        raise UserError(f"a worker of {address} lacks this code ({error}); start all of them with: {start}") from error
