"""Training steps as CUDA graphs: the shapes that batches are padded to, and what is recorded when.

Without a GPU a graph is the plain function here; tests/test_gpu.py has the same on a GPU.
"""

import contextlib
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch

import synthesizer.cuda
import vocoder.cuda
from synthesizer.config import SynthesizerTraining
from synthesizer.dataset import Item, collate
from synthesizer.generation import TorchLoop
from synthesizer.train import learn_from, trial_loss
from tests.synthesizer.test_synthesizer_generation import memory_of, run_loop
from tests.synthesizer.test_synthesizer_model import TINY, tiny_model
from tests.vocoder.test_generate import forced, free_running
from tests.vocoder_data import tiny_vocoder
from utils import cuda_graph
from utils.training.accelerate import uses_graphs
from utils.training.batching import EpochPlan
from utils.training.buckets import AT_MOST, Bucket, Buckets, PaddedSteps, choose_buckets
from utils.training.stepping import MAIN, Stepper, Trained
from vocoder.sampling import PlainSampler


@pytest.mark.parametrize("n_utterances, batch_size", [(4000, 12), (300, 32), (40, 4), (7, 7)])
def test_a_few_shapes_hold_every_batch_with_little_padding(n_utterances, batch_size):
    rng = np.random.default_rng(n_utterances)
    n_frames = rng.gamma(4, 110, n_utterances).clip(40, 900).astype(int)
    n_symbols = (n_frames * rng.uniform(0.1, 0.3, n_utterances)).astype(int) + 1
    shapes, padding = choose_buckets(n_frames, n_symbols, batch_size)
    assert len(shapes) <= AT_MOST and shapes == sorted(shapes)
    assert shapes[-1].n_frames >= n_frames.max() and shapes[-1].n_symbols >= n_symbols.max()
    plan, real, total = EpochPlan(n_frames, batch_size, seed=5), 0, 0
    for step in range(1, 1 + plan.n_batches):
        batch = np.array(plan(step))
        shape = next(s for s in shapes if s.n_frames >= n_frames[batch].max() and s.n_symbols >= n_symbols[batch].max())
        real, total = real + n_frames[batch].sum(), total + len(batch) * shape.n_frames
    if n_utterances >= 300:
        assert 1 - real / total < 1 / 3 and padding == pytest.approx(1 - real / total, abs=0.03)


def batch_of(*lengths: tuple[int, int]):
    rng = np.random.default_rng(0)

    def item(n_frames: int, n_symbols: int) -> Item:
        mel, speaker = (rng.normal(size=size).astype(np.float32) for size in ((n_frames, TINY.n_mels), TINY.speaker_size))
        return Item(rng.integers(2, 60, n_symbols), mel, speaker, np.linspace(1, n_frames, n_symbols, dtype=np.float32))

    return collate([item(*each) for each in lengths])


class OneStep:
    """The parts of a Run that a step needs. The update is left out, and the gradients are kept."""

    def __init__(self, model):
        self.model = model

    autocast = contextlib.nullcontext

    def optimize(self, loss, clip, clipped_apart):
        self.model.zero_grad()
        loss.backward()
        self.gradients = {name: parameter.grad.clone() for name, parameter in self.model.named_parameters()}
        return torch.zeros(())


@pytest.mark.parametrize("r", [2, 5])
def test_padding_changes_neither_losses_nor_gradients(r):
    model = tiny_model(prenet_dropout=0.0, zoneout=0.0).train()
    run, batch = OneStep(model), batch_of((38, 9), (27, 12), (40, 5))
    step, gradients, losses = partial(learn_from, run, model, model, SynthesizerTraining(), None), [], []
    shapes = Buckets([Bucket(20, 8), Bucket(64, 16)], 0.0)
    steps = PaddedSteps(step, lambda wider, *rest: step(wider, *rest), lambda n: shapes)
    for each in (step, steps):
        losses.append(each(batch, (0.7,), r, True))
        gradients.append(run.gradients)
    bucket = shapes.holding(*batch.size)
    assert bucket == (64, 16) == batch.padded(*bucket).size
    for name, loss in losses[0].items():
        torch.testing.assert_close(losses[1][name], loss, atol=1e-5, rtol=1e-5)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("size", [(30, 5), (30, 30)])
def test_a_batch_that_fits_the_memory_is_one_of_the_longest_utterances(size):
    tried, training = [], SimpleNamespace(buckets=lambda n: Buckets([Bucket(40, 16), Bucket(80, 24)], 0.0))

    def model(text, text_lengths, mels, *rest):
        tried.append((mels.size(1), text.size(1)))
        return [torch.ones(2)]

    assert trial_loss(model, None, training, 2, batch_of(size)) == 1
    assert tried == [(80, max(24, size[1]))]


def test_a_batch_larger_than_all_shapes_is_taken_as_it_is():
    taken = []
    shapes = Buckets([Bucket(30, 8)], 0.0)
    steps = PaddedSteps(lambda batch: taken.append("plain"), lambda batch: taken.append(batch.size[0]), lambda n: shapes)
    for lengths in ((20, 5), (31, 5), (20, 9)):
        steps(batch_of(lengths))
    assert taken == [30, "plain", "plain"]


# ---- what is recorded when


class Stream(NamedTuple):
    device: torch.device
    name: str = "side"

    def wait_stream(self, other):
        pass


DEFAULT = Stream(torch.device("cuda", 0), "default")


class FakeCuda:
    """CUDA's part of recording, where a replay is the work again. `fails` is raised by the work as it is recorded, `ending` as
    the graph is ended after that. As torch does, it then leaves its stream the current one, its pool in use, and random numbers
    in the state of recording."""

    def __init__(self, fails=None, ending=None):
        self.log, self.fails, self.ending = [], fails, ending
        self.current, self.default = DEFAULT, None
        self.pools, self.draws_for_a_graph = [], False

    @property
    def is_in_order(self):
        return self.current == DEFAULT and not self.pools and not self.draws_for_a_graph

    def of(self, step):
        def recorded(batch, numbers, *fixed):
            self.log.append(("step", *fixed))
            self._work = lambda: step(batch, numbers, *fixed)
            if self.fails and not self._executes:
                raise self.fails
            return {"sum": self._work()} if self._executes else {"sum": torch.zeros(())}

        return recorded

    _executes = True

    @contextlib.contextmanager
    def graph(self, graph, pool=None, stream=None, **options):
        self.default = self.default or self.Stream()
        before, n_logged = self.current, len(self.log)
        self._executes, self.current, self.draws_for_a_graph = False, stream or self.default, True
        self.pools.append((self.current.device.index, pool))
        ends = True
        try:
            yield
        except BaseException:
            if self.ending:
                ends = False
                raise self.ending from None
            raise
        finally:
            self._executes = True
            if len(self.log) > n_logged:
                self.log[n_logged:] = [("recorded", *self.log[-1][1:])]
            if ends:
                self.end_allocating(*self.pools[-1])
                self.current, self.draws_for_a_graph = before, False
        graph.work = self._work

    def end_allocating(self, index, pool):
        if (index, pool) not in self.pools:
            raise RuntimeError("not currently recording to it")
        self.pools.remove((index, pool))

    def get_rng_state(self, device):
        return self.n_drawn

    def set_rng_state(self, state, device):
        self.n_drawn = state

    n_drawn = 0

    def CUDAGraph(self):
        graph = SimpleNamespace()
        graph.replay = lambda: self.log.append(("replay", float(graph.work())))
        return graph

    def Stream(self, device=None):
        return Stream(device or self.current.device)

    def current_stream(self):
        return self.current

    @contextlib.contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def device(self, device):
        """Only the current device changes, which here has one stream besides."""
        return self.stream(Stream(device, "default"))

    graph_pool_handle = staticmethod(object)


@pytest.fixture
def fake_cuda(monkeypatch):
    def make(fails=None, ending=None):
        fake = FakeCuda(fails, ending)
        kept = "OutOfMemoryError", "_foreach_copy_", "get_float32_matmul_precision", "set_float32_matmul_precision"
        same = {name: getattr(torch, name) for name in kept}
        same["_C"] = SimpleNamespace(_cuda_endAllocateToPool=fake.end_allocating, _cuda_releasePool=lambda index, pool: None)
        same["zeros"] = lambda size, device: torch.zeros(size)
        faked = SimpleNamespace(cuda=fake, tensor=lambda data, pin_memory: torch.tensor(data), **same)
        monkeypatch.setattr(cuda_graph, "torch", faked)
        return fake

    return make


@pytest.fixture
def steps(fake_cuda):
    def make(fails=None, ending=None):
        fake = fake_cuda(fails, ending)
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.5, fused=True)
        work = fake.of(lambda batch, numbers, *fixed: batch[0].sum() + numbers[0] + optimizer.param_groups[0]["lr"])
        undone = []
        graphs = cuda_graph.StepGraphs(work, [optimizer], torch.device("cpu"), lambda: undone.append(True))
        return graphs, fake, optimizer, undone

    return make


class Pair(tuple):
    def __new__(cls, *tensors):
        return super().__new__(cls, tensors)


def test_the_first_step_of_a_shape_is_plain_and_later_ones_are_replayed_with_new_numbers(steps):
    graphs, fake, optimizer, _ = steps()
    for value in (1.0, 2.0, 3.0):
        graphs(Pair(torch.full((2,), value)), [10 * value], "r")
    graphs(Pair(torch.ones(2, 3)), [0.0], "r")
    assert fake.log == [("step", "r"), ("recorded", "r"), ("replay", 4 + 20 + 0.5), ("replay", 6 + 30 + 0.5), ("step", "r")]
    assert optimizer.param_groups[0]["lr"] == 0.5 and not optimizer.param_groups[0]["capturable"]


def test_graphs_of_another_stage_or_batch_size_are_freed(steps):
    graphs, fake, _, _ = steps()
    for n, fixed in ((2, "a"), (2, "b"), (3, "b"), (3, "b"), (2, "b")):
        graphs(Pair(torch.ones(n)), [0.0], fixed)
        assert len(graphs._graphs) == 1
    assert [entry[0] for entry in fake.log] == ["step", "step", "step", "recorded", "replay", "step"]


REFUSED = RuntimeError("operation not permitted when stream is capturing\nmore")
FULL = torch.OutOfMemoryError("CUDA out of memory")
ENDING = [None, RuntimeError("operation failed due to a previous error during capture")]


@pytest.mark.parametrize("ending", ENDING)
def test_where_nothing_can_be_recorded_steps_are_plain_and_a_line_says_so_once(steps, capsys, ending):
    graphs, fake, _, undone = steps(REFUSED, ending)
    for _ in range(3):
        graphs(Pair(torch.ones(2)), [0.0])
        assert fake.is_in_order
    assert [entry[0] for entry in fake.log] == ["step", "recorded", "step", "step"] and undone == [True]
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "not permitted" in said


@pytest.mark.parametrize("ending", ENDING)
def test_running_out_of_memory_while_recording_is_not_hidden(steps, ending):
    graphs, fake, _, _ = steps(FULL, ending)
    graphs(Pair(torch.ones(2)), [0.0])
    with pytest.raises(torch.OutOfMemoryError):
        graphs(Pair(torch.ones(2)), [0.0])
    assert fake.is_in_order


@pytest.mark.parametrize("ending", ENDING)
@pytest.mark.parametrize("fails", [None, REFUSED, FULL])
def test_speaking_is_recorded_on_the_device_of_its_tensors_and_running_out_of_memory_is_not_hidden(
    fake_cuda, capsys, fails, ending
):
    fake, ran_on = fake_cuda(fails, ending if fails else None), []
    step = fake.of(lambda *_: torch.zeros(()))

    def work():
        assert torch.get_float32_matmul_precision() == "high"
        ran_on.append(fake.current)
        fake.n_drawn += fake._executes
        step(None, None)

    for index in (0, 1):
        device = torch.device("cuda", index)
        with pytest.raises(torch.OutOfMemoryError) if fails is FULL else contextlib.nullcontext():
            assert (cuda_graph.record(work, device) is work) == bool(fails)
        assert ran_on[2 * index :] == [Stream(device)] * 2 and fake.is_in_order and fake.n_drawn == 0
    assert ("recorded: operation not permitted" in capsys.readouterr().out) == (fails is REFUSED)
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize("n_ranks", [1, 2])
@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_on_several_gpus_a_line_says_that_steps_are_not_recorded_and_how_they_are(capsys, kind, n_ranks, wanted):
    run = SimpleNamespace(world_size=n_ranks, device=torch.device(kind))
    assert uses_graphs(run, wanted) == (wanted > n_ranks - 1)
    assert capsys.readouterr().out.count("cuda_graphs=2") == ((kind, n_ranks, wanted) == ("cuda", 2, 1))


@pytest.mark.parametrize("scales", [True, False])
def test_a_broken_off_step_does_not_hinder_the_next(scales):
    model = torch.nn.Linear(2, 1)
    scaler = torch.amp.GradScaler("cpu", enabled=scales)
    stepper = Stepper({MAIN: Trained(model, torch.optim.Adam(model.parameters(), fused=True))}, scaler, True)
    optimizer = stepper._trained[MAIN].optimizer
    scaler.scale(model(torch.ones(1, 2)).sum()).backward()
    scaler.unscale_(optimizer)
    stepper.abandon()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.isfinite(stepper.step(model(torch.ones(1, 2)).sum(), clip=1.0))


# ---- speaking


@pytest.fixture
def replays(monkeypatch):
    """Graphs that are the plain function; as on a GPU, recording runs it once."""

    def record(work, device, pool=None):
        work()
        return work

    for module in (synthesizer.cuda, vocoder.cuda):
        monkeypatch.setattr(module, "record", record)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)


@pytest.mark.parametrize("attention", ["location", "dynamic"])
def test_a_few_graphs_speak_any_number_of_sentences(replays, attention):
    model = tiny_model(attention=attention, prenet_dropout=0.0).eval()
    loop = synthesizer.cuda.GraphLoop(model.decoder, 2)
    for n_texts in (3, 1, 4, 3, 2):
        memory = memory_of(model, n_texts)
        for one, other in zip(run_loop(loop, memory), run_loop(TorchLoop(model.decoder, 2), memory), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert len(loop._graphs) == 3


@pytest.mark.parametrize("mode", ["RAW", "MOL"])
def test_a_few_graphs_draw_any_number_of_rows(replays, monkeypatch, mode):
    """All that a frame reads and writes is in the recorded tensors. Samples and rows are few: Triton's interpreter is slow."""
    monkeypatch.setattr(vocoder.cuda, "SIZES", (4, 8))
    model, mel = tiny_vocoder(mode=mode, upsample_factors=(2, 2)), torch.rand(12, 80) * 2 - 1
    sampler = vocoder.cuda.GraphSampler(model)
    for rows in ([0, 3, 5], [0], [0, 1, 2, 3, 4], [2, 5]):
        plain = free_running(PlainSampler(model), model, mel, rows, 3)
        assert np.isclose(free_running(sampler, model, mel, rows, 3), plain, atol=1e-4).mean() > 0.99
    assert sorted(sampler._recorded) == [4, 8]
    levels = torch.rand(3, model.config.hop_length) * 2 - 1
    predicted = [forced(each, model, mel[:5].expand(3, -1, -1), levels) for each in (sampler, PlainSampler(model))]
    torch.testing.assert_close(*predicted, atol=1e-5, rtol=0)
