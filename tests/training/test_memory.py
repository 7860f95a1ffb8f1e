"""A GPU whose memory does not suffice, here a fake one: a line says which batch fits."""

from typing import NamedTuple

import pytest
import torch
from torch import nn

from synthesizer.config import parse_schedule
from synthesizer.schedule import with_batches_of
from tests.training.test_training import TinyConfig
from utils.errors import UserError
from utils.training import memory
from utils.training.memory import largest_batch, within_memory
from utils.training.run import Run, RunOptions


class FakeGPU:
    def __init__(self, size: float, fixed: float, item: float) -> None:
        self.size, self.fixed, self.item, self.tried = size, fixed, item, []

    def peak_of(self, n: int) -> float:
        self.tried.append(n)
        if (peak := self.fixed + self.item * n) > self.size:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return peak


@pytest.mark.parametrize("fixed", [0, 30, 99])
@pytest.mark.parametrize("item", [0.01, 0.9, 3, 40])
@pytest.mark.parametrize("n", [1, 2, 12, 100, 513])
def test_the_batch_fits_and_hardly_more_would(n, item, fixed):
    gpu = FakeGPU(100e6, 1e6 * fixed, 1e6 * item)
    fits, most = largest_batch(gpu.peak_of, n, gpu.size), min(n - 1, int((100 - fixed) / item))
    assert fits <= most and bool(fits) == bool(most)
    if most >= 4:
        assert fits >= min(most, (100 * (1 - memory.TO_SPARE) - fixed) / item - 1)
    assert len(gpu.tried) < 12


class Numbers(NamedTuple):
    x: torch.Tensor


def test_a_trainer_says_in_one_line_what_would_fit_and_what_it_holds(tmp_path, monkeypatch):
    gpu = FakeGPU(100e6, fixed=20e6, item=1e6)
    monkeypatch.setattr(memory, "peak_on", lambda device, step: (step(), gpu.peak_of(tried[-1]))[1])
    monkeypatch.setattr(memory, "memory_of", lambda device: gpu.size)
    batch, tried = Numbers(torch.ones(120, 2)), []
    with Run("encoder", RunOptions("tiny", models_dir=tmp_path, max_steps=3, save_every=1, cpu=True)) as run:
        model = nn.Linear(2, 1)
        run.start(model, torch.optim.Adam(model.parameters(), fused=True), TinyConfig())

        def loss_of(part):
            tried.append(len(part.x))
            return model(part.x).sum()

        with pytest.raises(UserError) as caught:
            for step in run.steps():
                with within_memory(run, batch, loss_of, "batch_size={}".format):
                    loss = model(batch.x).sum()
                    if step == 3:
                        gpu.peak_of(len(batch.x))
                    run.log(loss=loss, grad_norm=run.optimize(loss, clip=1.0))
        assert all(parameter.grad is None for parameter in model.parameters())
    line = str(caught.value)
    assert line.startswith(
        "step 3: the GPU's memory does not suffice for a batch of 120; it should for 70: --hparams batch_size=70;"
    )
    assert "encoder.pt holds step 1" in line and "\n" not in line and tried == [60, 30]


def test_the_schedule_that_is_advised_is_one():
    stages = parse_schedule("5:1e-3:100:32;2:5e-4:200:8")
    written = with_batches_of(stages, 12).removeprefix("schedule=")
    assert parse_schedule(written) == [stages[0]._replace(batch_size=12), stages[1]]
