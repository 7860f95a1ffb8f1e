"""Several processes or hosts work in one folder: nothing is lost or different if a worker dies."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from encoder.preprocess import preprocess
from synthesizer.preprocess import preprocess_audio
from tests import ROOT
from tests.faults.leftovers import NO_PROCESS, kill_itself, left_by_a_kill, raise_error
from utils.data import cluster
from utils.data.parallel import run_tasks
from utils.data.paths import STALE_AFTER, remove_leftovers, temporary_path
from utils.errors import UserError

SUBSET = "LibriSpeech/train-clean-100"


@pytest.fixture(scope="module")
def scheduler():
    """The address of a scheduler with two workers of one thread each."""
    distributed = pytest.importorskip("distributed")
    import dask

    settings = {"distributed.scheduler.allowed-failures": 1, "distributed.worker.daemon": False}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None, silence_logs="CRITICAL") as local,
    ):
        yield local.scheduler_address


@contextmanager
def one_writer_killed(folder, names):
    """Kill the first process that writes a file of these names."""
    killed, is_over = [], threading.Event()

    def watch():
        while not killed and not is_over.is_set():
            for path in folder.rglob(f".{names}.tmp"):
                process = int(path.name.split(".")[-2])
                os.kill(process, signal.SIGKILL)
                killed.append(process)
                return
            time.sleep(0.0005)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        is_over.set()
        thread.join()


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_cluster_that_loses_a_worker_writes_the_same_as_one_process(samples, preprocessed, tmp_path, scheduler):
    os.symlink(samples, tmp_path / "corpora")
    command = [sys.executable, ROOT / "encoder_preprocess.py", "corpora", "-o", "out", "-d", SUBSET, "--scheduler", scheduler]
    with one_writer_killed(tmp_path, "mels.npy*") as killed:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)  # relative paths, elsewhere
    assert done.returncode == 0, done.stderr
    assert killed
    assert contents(tmp_path / "out") == contents(preprocessed)
    assert "10/10" in done.stderr and "audio h" in done.stderr and "Traceback" not in done.stderr


def test_the_synthesizers_preprocessing_survives_a_lost_worker_too(samples, tmp_path, scheduler):
    subset = tmp_path / "in" / SUBSET
    for speaker in sorted((samples / SUBSET).iterdir())[:3]:
        shutil.copytree(speaker, subset / speaker.name)
    preprocess_audio(tmp_path / "in", tmp_path / "alone", n_processes=1)
    with one_writer_killed(tmp_path / "shared", "mel-*") as killed:
        preprocess_audio(tmp_path / "in", tmp_path / "shared", scheduler=scheduler)
    assert killed
    assert contents(tmp_path / "shared") == contents(tmp_path / "alone")


def test_work_that_kills_every_process_ends_in_one_line(scheduler):
    with pytest.raises(UserError, match="a worker process was killed.*-n"):
        list(run_tasks(kill_itself, [1, 2], 2, "Tasks"))
    with pytest.raises(UserError, match="died 2 times over one task.*--skip_existing"):
        list(run_tasks(kill_itself, [1], None, "Tasks", scheduler=scheduler))
    with pytest.raises(UserError, match="^1: is wrong$"):
        list(run_tasks(raise_error, [1], None, "Tasks", scheduler=scheduler))


@contextmanager
def started(*command, cwd, **environment):
    """A process of Dask's command line; gives its output, line by line."""
    program = [sys.executable, "-m", "distributed.cli.dask_" + command[0], *command[1:]]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(program, cwd=cwd, env=environment, **pipes) as process:
        try:
            yield process.stdout
        finally:
            process.terminate()


@contextmanager
def started_as_documented(folder, scheduler_path, worker_path):
    """The address of a scheduler with one worker, started from another folder with these values of PYTHONPATH."""
    pytest.importorskip("distributed")
    options = ("--host", "127.0.0.1", "--no-dashboard")
    with started("scheduler", *options, "--port", "0", cwd=folder, PYTHONPATH=scheduler_path) as lines:
        address = next(line.split()[-1] for line in lines if "tcp://" in line)
        with started("worker", address, *options, "--nthreads", "1", cwd=folder, PYTHONPATH=worker_path) as lines:
            next(line for line in lines if "Registered to" in line)
            yield address


def test_a_scheduler_that_lacks_the_code_is_told_before_anything_is_begun(samples, tmp_path):
    for speaker in sorted((samples / SUBSET).iterdir())[:2]:
        shutil.copytree(speaker, tmp_path / "in" / SUBSET / speaker.name)
    samples = tmp_path / "in"
    preprocess(samples, tmp_path / "out", [SUBSET], n_processes=1)
    before = contents(tmp_path / "out")
    with started_as_documented(tmp_path, "", str(ROOT)) as address, pytest.raises(UserError, match="PYTHONPATH=.*scheduler"):
        preprocess(samples, tmp_path / "out", [SUBSET], scheduler=address)
    assert contents(tmp_path / "out") == before
    with started_as_documented(tmp_path, str(ROOT), str(ROOT)) as address:
        preprocess(samples, tmp_path / "again", [SUBSET], scheduler=address)
    assert contents(tmp_path / "again") == before


def test_workers_of_another_version_or_without_the_files_are_told(tmp_path, scheduler, monkeypatch):
    (tmp_path / "out").mkdir()
    cluster.check(scheduler, preprocess, tmp_path, tmp_path / "out")
    monkeypatch.setattr(cluster, "source_digest", lambda: "")
    with pytest.raises(UserError, match="tcp://.* has another version"):  # also of those that join after the check
        list(cluster.results(abs, [-1], scheduler))
    answers = iter([1, 2, 3])
    monkeypatch.setattr(cluster, "source_digest", lambda: next(answers))
    with pytest.raises(UserError, match="another version"):
        cluster.check(scheduler, preprocess, tmp_path, tmp_path / "out")
    real = os.path.exists
    monkeypatch.setattr(cluster.os.path, "exists", lambda path: real(path) and not path.endswith("seen here alone"))
    (tmp_path / "seen here alone").write_text("")
    with pytest.raises(UserError, match="does not see .*seen here alone"):
        cluster.check(scheduler, preprocess, tmp_path, tmp_path / "out")


def test_a_speaker_without_audio_is_not_finished(samples, tmp_path):
    """As if the corpus's disk had not been mounted on the host that took it."""
    original = next((samples / SUBSET).iterdir())
    speaker = shutil.copytree(original, tmp_path / "in" / SUBSET / original.name)
    n_files = len([*speaker.rglob("*.flac")])

    def made(do, out):
        """What is made at first of a folder whose audio cannot be seen by the work, and then of all."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("utils.corpora.list_utterances", lambda *given: SimpleNamespace(**EMPTY))
            with pytest.raises(UserError):
                do(tmp_path / "in", tmp_path / out, [SUBSET], n_processes=1)
        do(tmp_path / "in", tmp_path / out, [SUBSET], skip_existing=True, n_processes=1)

    made(preprocess, "encoder")
    (table,) = (tmp_path / "encoder").rglob("utterances.tsv")
    assert table.read_text().count(".flac") == n_files
    made(preprocess_audio, "synthesizer")
    assert (tmp_path / "synthesizer" / "train.txt").read_text()


EMPTY = {"utterances": [], "problems": [], "chapters_without_alignments": []}


def test_a_cluster_that_cannot_work_is_an_error_at_once(tmp_path, scheduler, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)

    def failure(address, code=preprocess, *folders):
        started = time.monotonic()
        with pytest.raises(UserError) as caught:
            cluster.check(address, code, *(folders or [tmp_path]), tmp_path)
        assert time.monotonic() - started < 15 and "\n" not in str(caught.value)
        return str(caught.value)

    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in failure("tcp://127.0.0.1:9")
    assert "not an address" in failure("127.0.0.1") and "not an address" in failure("tcp://here:port")
    assert "does not see" in failure(scheduler, preprocess, tmp_path / "of this host alone")
    assert "cannot import of_this_host" in failure(scheduler, SimpleNamespace(__module__="of_this_host"))
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert 'pip install "dask[distributed]"' in failure(scheduler)


def test_a_lost_scheduler_leaves_earlier_results(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    pytest.importorskip("distributed")
    for speaker in sorted((samples / SUBSET).iterdir())[:1]:
        shutil.copytree(speaker, tmp_path / "in" / SUBSET / speaker.name)
    preprocess_audio(tmp_path / "in", tmp_path / "out", n_processes=1)
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match="no Dask scheduler"):
        preprocess_audio(tmp_path / "in", tmp_path / "out", scheduler="tcp://127.0.0.1:9")
    assert contents(tmp_path / "out") == before


def test_files_that_others_are_writing_stay(tmp_path):
    target = tmp_path / "speaker" / "mels.npy"
    target.parent.mkdir()
    dead, mine = left_by_a_kill(target), temporary_path(target, os.getpid())
    elsewhere, long_ago = (target.with_name(f".mels.npy.{machine}.{NO_PROCESS}.tmp") for machine in ("0" * 8, "1" * 8))
    users_own = target.with_name(".notes.tmp")
    for path in (mine, elsewhere, long_ago, users_own):
        path.touch()
    old = time.time() - STALE_AFTER - 1
    os.utime(long_ago, (old, old))
    os.utime(users_own, (old, old))
    remove_leftovers(tmp_path, "other*")
    assert dead.exists()
    remove_leftovers(tmp_path)
    assert {*target.parent.iterdir()} == {mine, elsewhere, users_own}


def test_a_second_preprocessing_into_one_folder_is_refused_and_leaves_the_first_alone(samples, preprocessed, tmp_path):
    command = [sys.executable, "encoder_preprocess.py", samples, "-o", tmp_path / "both", "-d", SUBSET, "-n", "1"]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while first.poll() is None and not any(tmp_path.rglob("*.tmp")):
        time.sleep(0.001)
    with pytest.raises(UserError, match=f"process {first.pid} .* is writing here"):
        preprocess(samples, tmp_path / "both", ["LibriSpeech/test-clean"], n_processes=1)
    output, _ = first.communicate()
    assert first.returncode == 0, output
    assert contents(tmp_path / "both") == contents(preprocessed)


WORKING = """
import time
from utils.data.parallel import run_tasks
if __name__ == "__main__":
    list(run_tasks(time.sleep, [60, 60, 60], 2, "Tasks"))
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_workers_end_with_their_parent(number):
    parent = subprocess.Popen([sys.executable, "-c", WORKING], cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    while len(workers := [process for process in in_session(parent.pid) if "LokyProcess" in commandline(process)]) < 2:
        time.sleep(0.1)
    time.sleep(1)
    parent.send_signal(number)
    parent.wait()
    until = time.monotonic() + 5
    while set(workers) & set(in_session(parent.pid)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not set(workers) & set(in_session(parent.pid))


def in_session(leader):
    """The processes of a session that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        found += [path.parent.name] * (session == str(leader) and state != "Z")
    return found


def commandline(process):
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""
