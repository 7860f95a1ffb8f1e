"""Kernels for GPUs against plain torch. Without a GPU Triton interprets them, if it is installed."""

import copy
import sys
from types import SimpleNamespace

import pytest
import torch

from synthesizer import cuda as synthesizer_cuda
from synthesizer.accelerate import accelerate
from synthesizer.attention import location_scores
from tests.synthesizer.test_synthesizer_model import tiny_model
from utils import cuda_cells
from utils.cuda_cells import PLAIN, SIZES, TOLERANCE, cells_for, difference, inputs_of, random_inputs
from vocoder.distribution import MuLaw

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def kernels():
    pytest.importorskip("triton")
    from utils import cuda_kernels

    return cuda_kernels


@pytest.mark.parametrize("name", SIZES)
def test_a_cell_in_one_kernel_gives_the_same_and_the_same_gradients(kernels, name):
    cell, plain = getattr(kernels, f"{name}_cell"), getattr(PLAIN, name)
    assert difference(cell, plain, inputs_of(name, DEVICE)) < TOLERANCE


@pytest.mark.parametrize("name", SIZES)
def test_gates_may_be_in_half_precision_and_their_gradients_then_are(kernels, name):
    *gates, state = inputs_of(name, DEVICE)
    found = []
    for cell in (getattr(kernels, f"{name}_cell"), getattr(PLAIN, name)):
        given = [*(each.half().requires_grad_() for each in gates), state.clone().requires_grad_()]
        outputs = cell(*given)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        found.append([*outputs, *torch.autograd.grad(sum(each.square().sum() for each in outputs), given)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=2e-3)


def test_gates_may_be_part_of_wider_rows(kernels):
    wide, hidden = torch.randn(3, 4 * 37, device=DEVICE), torch.randn(3, 37, device=DEVICE)
    gates = wide[:, 37:], torch.randn(3, 3 * 37, device=DEVICE)
    torch.testing.assert_close(kernels.gru_cell(*gates, hidden), PLAIN.gru(*gates, hidden), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("n_characters", "size", "n_seen", "kernel"), [(37, 32, 2, 31), (16, 16, 1, 31), (5, 128, 2, 7)])
def test_scores_of_the_attention_in_one_kernel_are_the_same(n_characters, size, n_seen, kernel):
    pytest.importorskip("triton")
    from synthesizer.cuda_attention import location_scores as fused

    seen = ((3, n_characters),) * n_seen
    inputs = random_inputs(DEVICE, (3, n_characters, size), (3, size), (size, n_seen * kernel), (1, size), *seen)

    def called(scores):
        return lambda keys, query, location, score, *seen: scores(keys, query, seen, location, score)

    assert difference(called(fused), called(location_scores), inputs) < (1e-5 if DEVICE.type == "cpu" else 1e-2)  # TF32


@pytest.mark.parametrize("problem", ["value", "compiler", "size"])
def test_scores_that_fail_their_check_are_not_used_and_a_line_says_so(monkeypatch, capsys, problem):
    def scores(keys, *rest):
        if problem == "compiler":
            raise RuntimeError("no compiler\nand more")
        return location_scores(keys, *rest) + 0.1 * keys.sum(2)

    module = SimpleNamespace(location_scores=scores, LEAST_SIZE=16)
    monkeypatch.setitem(sys.modules, "synthesizer.cuda_attention", module)
    monkeypatch.setattr("synthesizer.cuda_attention", module, raising=False)
    synthesizer_cuda.scores_for.cache_clear()
    assert synthesizer_cuda.scores_for(DEVICE, 48 if problem == "size" else 32) is location_scores
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and {"value": "off by", "compiler": "no compiler", "size": "its size is 48"}[problem] in said
    synthesizer_cuda.scores_for.cache_clear()


@pytest.mark.parametrize("bits", [5, 9, 10])
def test_classes_are_drawn_as_the_distribution_draws_them(kernels, bits):
    logits, uniform = 4 * torch.randn(300, 2**bits, device=DEVICE), 1 - torch.rand(2, 300, device=DEVICE)
    uniform[0, :2] = torch.tensor([1.0, 1e-7])
    drawn, expected = kernels.draw(logits, uniform[0]), MuLaw(bits).sample(logits, uniform)
    assert drawn.abs().max() <= 1 and torch.isclose(drawn, expected, atol=1e-6).float().mean() > 0.99


def test_a_cell_that_somebody_changed_is_not_replaced(monkeypatch):
    fused = SimpleNamespace(gru=lambda *_: None, lstm=lambda *_: None)
    monkeypatch.setattr(synthesizer_cuda, "cells_for", lambda device: fused)
    monkeypatch.setattr(synthesizer_cuda, "scores_for", lambda device, size: fused.gru)
    decoder = tiny_model().decoder
    decoder.lstm1.cell = own = lambda *inputs: PLAIN.lstm(*inputs)
    decoder.attention.scores = own_scores = lambda *inputs: location_scores(*inputs)
    synthesizer_cuda.fuse(decoder)
    assert (decoder.cell, decoder.lstm1.cell, decoder.lstm2.cell) == (fused.gru, own, fused.lstm)
    assert decoder.attention.scores is own_scores
    for kind, fuses in {"location": True, "location_both": True, "dynamic": False}.items():
        decoder = tiny_model(attention=kind).decoder
        synthesizer_cuda.fuse(decoder)
        assert (getattr(decoder.attention, "scores", None) is fused.gru) == fuses


def test_a_training_step_with_fused_cells_is_the_plain_step(kernels, monkeypatch):
    from synthesizer.cuda_attention import location_scores as fused_scores

    model = tiny_model(zoneout=0.1, prenet_dropout=0.0, attention="location_both", attention_size=16).to(DEVICE).train()
    text, frames = torch.randint(2, 60, (2, 7), device=DEVICE), torch.randn(2, 8, model.config.n_mels, device=DEVICE)
    speakers = torch.randn(2, model.config.speaker_size, device=DEVICE)
    inputs = text, text.new_full((2,), 7), frames, text.new_full((2,), 8), speakers
    fused, gradients = cuda_cells.Cells(kernels.gru_cell, kernels.lstm_cell), []
    for cells in (PLAIN, fused):
        scores = location_scores if cells is PLAIN else fused_scores
        monkeypatch.setattr(synthesizer_cuda, "cells_for", lambda device, cells=cells: cells)
        monkeypatch.setattr(synthesizer_cuda, "scores_for", lambda device, size, scores=scores: scores)
        synthesizer_cuda.fuse(model.decoder)
        assert copy.deepcopy(model).decoder.cell == cells.gru  # as for the average of the weights
        torch.manual_seed(0)
        model.zero_grad()
        sum(each.square().mean() for each in model(*inputs, 2)[:3]).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("broken", ["value", "gradient", "compiler", "missing"])
def test_a_kernel_that_fails_its_check_is_not_used_and_a_line_says_so(monkeypatch, capsys, broken):
    def gru(x_gates, h_gates, hidden):
        if broken == "compiler":
            raise RuntimeError("no compiler\nand more")
        return PLAIN.gru(x_gates, h_gates, hidden.detach() if broken == "gradient" else hidden) + (broken == "value") * 1e-3

    module = None if broken == "missing" else SimpleNamespace(gru_cell=gru, lstm_cell=PLAIN.lstm)
    monkeypatch.setitem(sys.modules, "utils.cuda_kernels", module)
    monkeypatch.delattr("utils.cuda_kernels", raising=False)
    if module:
        monkeypatch.setattr("utils.cuda_kernels", module, raising=False)
    cells_for.cache_clear()
    state = torch.get_rng_state()
    assert cells_for(DEVICE) is PLAIN
    assert capsys.readouterr().out.count("\n") == 1 and torch.equal(state, torch.get_rng_state())
    cells_for.cache_clear()


def test_a_fused_synthesizer_that_is_moved_to_a_cpu_speaks_as_fast_as_any_there(monkeypatch, capsys):
    pytest.importorskip("numba")
    fused = cuda_cells.Cells(*(cuda_cells.where_on_gpu(None, plain) for plain in PLAIN))
    scores = cuda_cells.where_on_gpu(None, location_scores)
    monkeypatch.setattr(synthesizer_cuda, "cells_for", lambda device: fused)
    monkeypatch.setattr(synthesizer_cuda, "scores_for", lambda device, size: scores)
    model = tiny_model().eval()
    synthesizer_cuda.fuse(model.decoder)
    assert (model.decoder.lstm2.cell, model.decoder.attention.scores) == (fused.lstm, scores)
    assert type(accelerate(model)) is type(accelerate(tiny_model().eval())) and not capsys.readouterr().out


class OnGPU(torch.Tensor):
    is_cuda = True


def test_good_kernels_are_used_where_the_tensors_are_on_a_gpu(monkeypatch, capsys):
    """Also once a model has been moved to a CPU, where no kernel runs."""
    ran = []
    kernels = {f"{name}_cell": lambda *given, n=name: ran.append(n) or getattr(PLAIN, n)(*given) for name in SIZES}
    monkeypatch.setitem(sys.modules, "utils.cuda_kernels", SimpleNamespace(**kernels))
    monkeypatch.setattr("utils.cuda_kernels", sys.modules["utils.cuda_kernels"], raising=False)
    cells_for.cache_clear()
    cells = cells_for(DEVICE)
    assert cells is not PLAIN and ran == [*SIZES] and not capsys.readouterr().out
    gates, state = torch.randn(2, 3, 12), torch.randn(3, 4)
    given = {"gru": (*gates, state), "lstm": (torch.randn(3, 16), state)}
    for name, inputs in given.items():
        torch.testing.assert_close(getattr(cells, name)(*inputs), getattr(PLAIN, name)(*inputs))
    assert ran == [*SIZES]
    for name, inputs in given.items():
        getattr(cells, name)(inputs[0].as_subclass(OnGPU), *inputs[1:])
    assert ran == [*SIZES] * 2
    cells_for.cache_clear()
