"""What holds on a GPU; run where there is one, which continuous integration has not."""

import contextlib
import copy
import re
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.gpu import Training
from encoder.config import EncoderConfig
from encoder.model import EncoderWithLoss, SpeakerEncoder
from synthesizer.accelerate import accelerate as loop_of
from synthesizer.generation import TorchLoop
from tests.synthesizer import test_synthesizer_train
from tests.synthesizer.test_synthesizer_generation import R, memory_of, run_loop
from tests.synthesizer.test_synthesizer_model import tiny_model
from tests.synthesizer.test_synthesizer_train import HPARAMS, ROOT, run, write_data
from tests.training.test_training import TinyConfig, metrics
from tests.vocoder.test_generate import free_running
from tests.vocoder_data import tiny_vocoder
from utils import cuda_graph
from utils.cuda_graph import StepGraphs, record
from utils.errors import UserError
from utils.training import memory as gpu_memory
from utils.training.accelerate import recorded_step
from utils.training.run import Run, RunOptions
from utils.training.stepping import STEPS_BEHIND
from vocoder.accelerate import accelerate as sampler_of
from vocoder.accelerate import fuse as fuse_vocoder
from vocoder.dataset import Batch
from vocoder.sampling import PlainSampler
from vocoder.train import learn_from

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def unforgiving():
    """An error wherever the host waits for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


def test_the_host_never_waits_between_steps(tmp_path, unforgiving):
    n_steps = 3 * STEPS_BEHIND
    with torch.cuda.device(0), Run("encoder", RunOptions("tiny", models_dir=tmp_path, max_steps=n_steps, save_every=0)) as run:
        torch.cuda.set_sync_debug_mode("default")
        model = EncoderWithLoss(EncoderConfig(hidden_size=8, n_layers=1, embedding_size=8)).to(run.device)
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        wrapped = run.start(model, optimizer, TinyConfig())
        mels = torch.rand(4, 3, 20, 40, device=run.device)
        for step in run.steps():
            torch.cuda.set_sync_debug_mode("error")
            with run.autocast():
                loss = wrapped(mels)
            run.log(loss=loss, grad_norm=run.optimize(loss, clip=3.0))
            torch.cuda.set_sync_debug_mode("default" if step == n_steps else "error")
    rows = metrics(tmp_path)
    assert [row["step"] for row in rows] == list(range(1, n_steps + 1))
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_a_step_that_is_not_finite_changes_nothing_there_either(tmp_path):
    with Run("encoder", RunOptions("tiny", models_dir=tmp_path, max_steps=3)) as run:
        model = nn.Linear(4, 1).to(run.device)
        wrapped = run.start(model, torch.optim.Adam(model.parameters(), fused=True), TinyConfig())
        for step in run.steps():
            before = model.weight.detach().clone()
            loss = wrapped(torch.full((2, 4), float("nan") if step == 2 else 1.0, device=run.device)).square().mean()
            run.log(loss=loss, grad_norm=run.optimize(loss, clip=1.0))
            assert torch.equal(before, model.weight) == (step == 2)
    assert [row["skipped_steps"] for row in metrics(tmp_path)] == [0, 1, 1]


@pytest.fixture
def in_fp32(monkeypatch):
    """Graphs that are recorded as plain PyTorch computes, without TF32."""
    monkeypatch.setattr(cuda_graph, "_in_tf32", contextlib.nullcontext)


@pytest.mark.parametrize("mode", ["RAW", "MOL"])
def test_the_vocoder_samples_the_same_from_a_cuda_graph(mode, in_fp32):
    model, mel = tiny_vocoder(mode=mode).cuda(), torch.rand(40, 80, device="cuda") * 2 - 1
    sampler = sampler_of(model)
    assert type(sampler) is pytest.importorskip("vocoder.cuda").GraphSampler
    plain = free_running(PlainSampler(model), model, mel, [0, 3, 5], 3)
    assert np.isclose(free_running(sampler, model, mel, [0, 3, 5], 3), plain, atol=1e-4).mean() > 0.99


def test_the_encoder_computes_the_same_as_on_a_cpu():
    torch.manual_seed(0)
    model, mels = SpeakerEncoder(EncoderConfig()).eval(), torch.rand(5, 160, 40)
    with torch.no_grad():
        assert torch.allclose(model(mels), model.cuda()(mels.cuda()).cpu(), atol=1e-4)


@pytest.mark.parametrize("attention", ["location_both", "dynamic"])
def test_a_cuda_graph_speaks_as_single_steps_do(attention, capsys, in_fp32):
    model = tiny_model(attention=attention).eval()
    memories = [memory_of(model, n_texts) for n_texts in (3, 2)]
    model.cuda()
    model.r.fill_(R)
    loop = loop_of(model)
    assert type(loop).__name__ == "GraphLoop"
    for memory in memories:
        memory = type(memory)(*(each.cuda() for each in memory))
        for one, other in zip(run_loop(loop, memory), run_loop(TorchLoop(model.decoder, R), memory), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert "no CUDA graph" not in capsys.readouterr().out


# ---- the synthesizer's training as CUDA graphs


STILL = "prenet_dropout=0,zoneout=0,speaker_noise=0"  # random numbers differ with the padding


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Noise, as a machine for training may be without the libraries that read sound."""
    rng = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_synthesizer_train, "load", lambda path: rng.normal(size=16000).astype(np.float32) / 10)
        patch.setattr(test_synthesizer_train, "mel_spectrogram", lambda wav, of: rng.normal(size=(len(wav) // 200, 80)))
        return write_data(tmp_path_factory.mktemp("data"), ROOT / "samples")


def trained(speech, folder, max_steps, hparams=HPARAMS, **options):
    return run(speech, folder, max_steps, f"{hparams},eval_shown=0", cpu=False, **options)


def assert_near(one, other, tolerance):
    for name, value in one["model_state"].items():
        torch.testing.assert_close(other["model_state"][name], value, atol=tolerance, rtol=tolerance, msg=name)


def test_twenty_steps_as_graphs_are_twenty_plain_steps(speech, tmp_path, capsys):
    """Two stages, whose r, learning rate and batch size differ, and several shapes."""
    hparams = f"{HPARAMS},{STILL},schedule=5:1e-3:12:3;4:5e-4:100:4"
    both = [
        trained(speech, tmp_path / str(graphs), 20, f"{hparams},cuda_graphs={graphs}", precision="fp32") for graphs in (0, 1)
    ]
    assert_near(*both, tolerance=2e-3)  # TF32
    assert "% of their frames are padding" in capsys.readouterr().out


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_graphs_resume_where_they_stopped(speech, tmp_path, precision):
    """With dropout, zoneout and noise: the random numbers of a replay are those of a plain step."""
    whole = trained(speech, tmp_path / "whole", 16, precision=precision)
    trained(speech, tmp_path / "parts", 7, precision=precision)
    assert_near(whole, trained(speech, tmp_path / "parts", 16, precision=precision), tolerance=1e-4)


def test_a_replayed_step_that_is_not_finite_changes_nothing(speech, tmp_path):
    before = trained(speech, tmp_path, 1)
    after = trained(speech, tmp_path, 6, "stop_weight=3.4e38")
    assert_near(before, after, tolerance=0)


def test_memory_stays_flat_over_replays_and_stages(speech, tmp_path):
    stages = ";".join(f"{r}:1e-3:{10 * k}:{2 + k % 2}" for k, r in enumerate((5, 4, 3, 2, 5, 4), 1))
    reserved = []
    for n, max_steps in enumerate((20, 60)):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        trained(speech, tmp_path / str(n), max_steps, f"{HPARAMS},schedule={stages}")
        reserved.append(torch.cuda.max_memory_reserved())
    assert reserved[1] < 1.5 * reserved[0]


# ---- the vocoder's training


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_steps_as_a_graph_with_fused_grus_are_plain_steps(precision, capsys):
    torch.manual_seed(0)
    first, losses = tiny_vocoder().train().cuda(), []
    batches = [
        Batch(torch.rand(4, 9, 80).cuda(), torch.rand(4, 1000).cuda() * 2 - 1, torch.randint(512, (4, 1000)).cuda())
        for _ in range(20)
    ]
    for fast in (False, True):
        model = copy.deepcopy(first)
        if fast:
            fuse_vocoder(model)
        training = Training(model, precision, 4.0)
        training.optimizer.param_groups[0]["lr"] = 1e-2
        step = partial(learn_from, training, model, 4.0)
        step = recorded_step(training, step, training.optimizer) if fast else step
        losses.append([float(step(batch, ())["loss"]) for batch in batches])
    assert losses[1] == pytest.approx(losses[0], rel=2e-3) and losses[0][-1] < losses[0][0]
    assert "none could be recorded" not in capsys.readouterr().out


class Numbers(NamedTuple):
    x: torch.Tensor


def test_after_a_recording_that_cuda_breaks_off_steps_go_on_and_memory_is_given_back(capsys):
    device, model = torch.device("cuda", 0), nn.Linear(1, 1).cuda()
    optimizer, beside = torch.optim.Adam(model.parameters(), fused=True), torch.cuda.Stream(device)
    waits = False

    def step(batch, numbers):
        x = nn.functional.dropout(batch.x)
        x.record_stream(beside)
        return {"sum": x.sum() + (float(x[0, 0]) if waits else 0)}

    graphs, used = StepGraphs(step, [optimizer], device, lambda: None), []
    batch = Numbers(torch.ones(1, 2**24, device=device))
    graphs(batch, [0.0])
    waits = True
    for _ in range(10):
        graphs(batch, [0.0])
        torch.cuda.synchronize()
        used.append(torch.cuda.memory_allocated())
    assert capsys.readouterr().out.count("none could be recorded") == 1
    assert max(used[3:]) == used[3]
    assert record(lambda: nn.functional.dropout(batch.x, inplace=True), device).__name__ == "replay"


def test_running_out_of_memory_is_told_with_a_batch_that_fits(tmp_path, monkeypatch):
    torch.cuda.empty_cache()
    size = torch.cuda.memory_reserved() + 1.2e9
    monkeypatch.setattr(gpu_memory, "memory_of", lambda device: size)
    with Run("encoder", RunOptions("tiny", models_dir=tmp_path, max_steps=1)) as run:
        model = nn.Linear(1, 1).to(run.device)
        run.start(model, torch.optim.Adam(model.parameters(), fused=True), TinyConfig())
        batch = Numbers(torch.ones(64, 2**20, device=run.device))

        def loss_of(part):
            x = part.x
            for _ in range(8):
                x = (x * model.weight).tanh()
            return x.mean()

        torch.cuda.set_per_process_memory_fraction(size / torch.cuda.get_device_properties(run.device).total_memory)
        try:
            with pytest.raises(UserError, match="does not suffice for a batch of 64; it should for") as caught:
                for _ in run.steps():
                    with gpu_memory.within_memory(run, batch, loss_of, "batch_size={}".format):
                        run.optimize(loss_of(batch), clip=1.0)
            fits = int(re.search(r"batch_size=(\d+)", str(caught.value))[1])
            loss_of(Numbers(batch.x[:fits])).backward()
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
    assert fits >= 8
