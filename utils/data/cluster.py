"""Run tasks on the workers of a Dask scheduler, on one host or many that share a disk, through joblib's Dask backend."""

import hashlib
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from utils.data.worker import call
from utils.errors import UserError

CONNECT_SECONDS = 5
WORKER_SECONDS = 10
HERE = "PYTHONPATH=<this repository>"
START_WORKERS = HERE + " dask worker {address} --nworkers -1 --nthreads 1"  # one per core
N_SHOWN = 5  # files that every worker must see


def check(address: str, function: Callable[..., Any], datasets_root: Path, out_dir: Path) -> None:
    """UserError, within seconds, if this cluster cannot do the work.

    It needs a scheduler and workers; the workers need the code of `function`, in this version, and must see datasets_root, the
    files in it, and out_dir, which is made first. One task goes through the scheduler as the real ones will.
    """
    with _connected(address) as client:
        out_dir.mkdir(parents=True, exist_ok=True)
        _check_workers(client, address, function.__module__, datasets_root, out_dir)
    try:
        list(results(_nothing, [None], address))
    except (RuntimeError, ImportError, AttributeError) as error:
        start = f"{HERE} dask scheduler"
        raise UserError(
            f"--scheduler: {address} cannot pass on the work, as it lacks this code; start it with: {start}"
        ) from error


def _nothing(task: None) -> None:
    """A task that tries the way to the workers."""


def results(function: Callable[[Any], Any], tasks: Sequence[Any], address: str) -> Iterator[Any]:
    """Yield function(task) for every task, in order, from the workers of the scheduler at tcp://host:port.

    A task whose worker dies goes to another worker, so it must be possible to do it twice. Workers may join later. UserError
    if the cluster gives up a task, or is lost.
    """
    from joblib import Parallel, delayed, parallel_config

    with _connected(address) as client, _errors_of_the_cluster(address), parallel_config(backend=_backend(client)):
        parallel, digest = Parallel(return_as="generator", batch_size=1, pre_dispatch="all"), source_digest()
        # as part of a tuple, because joblib may store a bare argument on one worker and lose it with that worker
        yield from parallel(delayed(_call_if_same)((function, task), digest) for task in tasks)


def _call_if_same(work: tuple[Callable[[Any], Any], Any], digest: str) -> Any:
    """`call`, on a worker. UserError if it has another version of the code, as one may that joined after the start."""
    if source_digest() != digest:
        from distributed import get_worker

        raise _other_version(get_worker().address)
    return call(work)


def _other_version(worker: str) -> UserError:
    return UserError(f"--scheduler: {worker} has another version of this code; bring it to the one of this host")


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
    except ValueError:  # the port is not a number
        complete = False
    if not complete:
        raise UserError(f"--scheduler: {address!r} is not an address; write tcp://host:port", exit_code=2)
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, RuntimeError) as error:
        reason = "" if isinstance(error, TimeoutError | OSError) else f" ({str(error).splitlines()[0]})"
        raise UserError(
            f"--scheduler: no Dask scheduler answers at {address}{reason}; start one on that host with: {HERE} dask scheduler"
        ) from error
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL + 1)  # reported in one line, below
    with client:
        yield client


def _check_workers(client: Any, address: str, module: str, datasets_root: Path, out_dir: Path) -> None:
    """UserError, naming the worker, if one cannot do the work."""
    try:
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
    except TimeoutError as error:
        start = START_WORKERS.format(address=address)
        raise UserError(f"--scheduler: no worker is connected to {address}; start some on every host with: {start}") from error
    # only builtins and the standard library, which a worker without this code can run
    for worker, answer in client.run(exec, f"import {module}", on_error="return").items():
        if isinstance(answer, BaseException):
            start = START_WORKERS.format(address=address)
            raise UserError(f"--scheduler: {worker} cannot import {module} ({answer}); start it with: {start}")
    files = itertools.islice((path for path in datasets_root.rglob("*") if path.is_file()), N_SHOWN)
    for path in (out_dir, datasets_root, *files):
        for worker, answer in client.run(os.path.exists, str(path), on_error="return").items():
            if answer is not True:
                raise UserError(f"--scheduler: {worker} does not see {path}; mount the same disk there under the same path")
    own = source_digest()
    for worker, answer in client.run(source_digest, on_error="return").items():
        if answer != own:
            raise _other_version(worker)


@lru_cache
def source_digest() -> str:
    """SHA-256 of the code that preprocessing is made of."""
    digest, root = hashlib.sha256(), Path(__file__).parents[2]
    for path in sorted(path for room in ("encoder", "synthesizer", "utils") for path in (root / room).rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


# ---- during the work


def _backend(client: Any) -> Any:
    """joblib's Dask backend, but it never waits for a task that the cluster gave up, and never does the work itself."""
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):
        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, super().effective_n_jobs(n_jobs))  # for one worker joblib would do the work in this process

        def submit(self, func: Callable[[], Any], callback: Callable[[Any], None] | None = None) -> Any:
            future = super().submit(func, callback)
            # joblib's own backend calls back for results only, not for tasks that failed to run
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
            f"the workers of {address} died {error.allowed_failures + 1} times over one task, probably for lack of memory; "
            "start fewer of them on each host, then continue with --skip_existing"
        ) from error
    except (CancelledError, NotRun, CommClosedError) as error:
        raise UserError(f"the scheduler at {address} was lost; start it again, then continue with --skip_existing") from error
    except (ImportError, AttributeError) as error:
        if isinstance(error, AttributeError) and "Can't get attribute" not in str(error):  # as of an older version
            raise
        start = START_WORKERS.format(address=address)
        raise UserError(f"a worker of {address} lacks this code ({error}); start all of them with: {start}") from error
