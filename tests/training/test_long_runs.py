"""Twenty thousand steps with dashboards: nothing grows. Part of `make torture`."""

import gc
import os
import time
from pathlib import Path

import numpy as np
import pytest

from tests.training.test_saving import STAGES, data, train  # noqa: F401  (data is a fixture)
from utils.data.memory import return_freed_memory
from utils.training.run import Run

pytestmark = [pytest.mark.slow, pytest.mark.torture]
STEPS = int(os.environ.get("LONG_RUN_STEPS", 20_000))
LIMITS = {"memory": 500.0, "open files": 0.001, "threads": 0.001}  # growth per step: bytes, and numbers


def memory() -> int:
    """Bytes in use, without the pages of files.

    Pictures that have been drawn wait for Python's garbage collection, and what they took stays with the C library: both are
    asked to give it back, as tens of MB that come and go would hide what grows.
    """
    gc.collect()
    return_freed_memory()
    _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize("stage", STAGES)
def test_memory_files_threads_and_speed_stay_the_same(data, tmp_path, monkeypatch, stage):  # noqa: F811
    samples, log = [], Run.log

    def sampling(run, **values):
        log(run, **values)
        if run.step % (STEPS // 40) == 0:
            n_files, n_threads = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
            samples.append((run.step, memory(), n_files, n_threads, time.process_time()))
            print(*samples[-1], flush=True)  # a run that is broken off has shown something too

    monkeypatch.setattr(Run, "log", sampling)
    often, seldom = STEPS // 100, STEPS // 20
    every = {"eval_every": seldom, "pictures_every": seldom, "backup_every": seldom, "keep_backups": 2, "save_every": often}
    train(stage, data, tmp_path, 1e-4, STEPS, **every)
    steps, *columns = np.array(samples[len(samples) // 4 :]).T  # the first quarter fills caches
    slopes = {name: np.polyfit(steps, column, 1)[0] for name, column in zip(LIMITS, columns, strict=False)}
    seconds = np.diff(columns[3]) / np.diff(steps)  # of the processor, per step
    drift = np.polyfit(steps[1:], seconds, 1)[0] * (steps[-1] - steps[0]) / seconds.mean()
    ends = ", ".join(f"{name} {column[0]:.0f} to {column[-1]:.0f}" for name, column in zip(LIMITS, columns, strict=False))
    print(
        f"\n{stage}: {STEPS} steps; {ends}; slopes a step: {slopes}; {1e3 * seconds.mean():.2f} ms a step, drift {drift:+.1%}"
    )
    assert all(slope < LIMITS[name] for name, slope in slopes.items())
    assert drift < 0.25
    assert len([*(tmp_path / "r" / "backups").iterdir()]) == 2
    assert max(path.stat().st_size for path in (tmp_path / "r" / "tensorboard").rglob("events*")) < 2**27
