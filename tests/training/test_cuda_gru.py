"""A GRU in one kernel. Without a GPU Triton interprets it, one program after another, so one program holds all units."""

import sys

import pytest
import torch
from torch import nn

from utils import cuda_cells
from utils.cuda_cells import compare_sequences, sequence_for

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
SIZE = 512 if ON_GPU else 64


@pytest.fixture
def kernel(monkeypatch):
    pytest.importorskip("triton")
    from utils import cuda_gru

    if not ON_GPU:
        for name, value in {"UNITS": SIZE, "UNITS_BACKWARD": SIZE, "LAUNCH": {}, "PATIENCE": 2}.items():
            monkeypatch.setattr(cuda_gru, name, value)
        monkeypatch.setattr(cuda_cells, "SEQUENCE", (2, 3))
    sequence_for.cache_clear()
    yield cuda_gru
    sequence_for.cache_clear()


def outputs_and_gradients(run, gru, x, state, weights):
    gru.zero_grad()
    y, last = run(x.requires_grad_(), state.requires_grad_())
    ((y.to(weights) * weights).sum() + last.to(weights).square().sum()).backward()
    return [y, last, x.grad, state.grad, *(parameter.grad for parameter in gru.parameters())]


@pytest.mark.parametrize(("n_steps", "n_rows"), [(1, 1), (5, 20), (3, 37)])
def test_it_gives_what_a_gru_gives_in_float64(kernel, monkeypatch, n_steps, n_rows):
    """The rows of several programs, and of two launches."""
    monkeypatch.setattr(kernel, "MOST_ROWS", 32)
    torch.manual_seed(0)
    exact, gru = nn.GRU(24, SIZE).double(), nn.GRU(24, SIZE).to(DEVICE)
    gru.load_state_dict(exact.state_dict())
    given = torch.randn(n_steps, n_rows, 24), torch.randn(1, n_rows, SIZE) / 2, torch.randn(n_steps, n_rows, SIZE)
    expected = outputs_and_gradients(exact, exact, *(each.double() for each in given))
    with torch.autocast(DEVICE.type, torch.float16):
        found = outputs_and_gradients(lambda *inputs: kernel.run(gru, *inputs), gru, *(each.to(DEVICE) for each in given))
    for one, other in zip(found, expected, strict=True):
        assert (one.cpu() - other).norm() < 2e-3 * other.norm()


def test_two_halves_are_the_whole(kernel):
    gru, x = nn.GRU(16, SIZE).to(DEVICE), torch.randn(6, 5, 16, device=DEVICE)
    whole, last = kernel.run(gru, x)
    first, between = kernel.run(gru, x[:2])
    second, after = kernel.run(gru, x[2:], between)
    torch.testing.assert_close(torch.cat([first, second]), whole, atol=1e-3, rtol=0)
    torch.testing.assert_close(after, last, atol=1e-3, rtol=0)


def test_it_is_used_where_it_gives_the_same_and_sooner(kernel, monkeypatch, capsys):
    if not ON_GPU:
        off, _ = compare_sequences(kernel.run, DEVICE, SIZE)
        monkeypatch.setattr(cuda_cells, "compare_sequences", lambda *_: (off, 2.0))
    assert sequence_for(DEVICE, SIZE) is kernel.run
    assert not capsys.readouterr().out


@pytest.mark.parametrize("problem", ["programs apart", "slower", "wrong", "compiler"])
def test_else_a_line_says_why_it_is_not(kernel, monkeypatch, capsys, problem):
    if problem == "programs apart":  # each waits for others that are not there, and ends all the same
        monkeypatch.setattr(kernel, "UNITS", SIZE // 2)
        monkeypatch.setattr(kernel, "PATIENCE", 1)
        monkeypatch.setattr(kernel, "LAUNCH", {})
        if ON_GPU:
            pytest.skip("they are there on a GPU")
    elif problem == "compiler":
        monkeypatch.setattr(kernel, "_launch", lambda *_: (_ for _ in ()).throw(RuntimeError("no compiler\nand more")))
    else:
        monkeypatch.setattr(cuda_cells, "compare_sequences", lambda *_: (0.0, 0.5) if problem == "slower" else (0.1, 2.0))
    assert sequence_for(DEVICE, SIZE) is None
    line = {
        "programs apart": "off by",
        "slower": "it is slower",
        "wrong": "off by 0.1",
        "compiler": "RuntimeError: no compiler",
    }
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and line[problem] in said


def test_it_is_missing_without_triton(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "utils.cuda_gru", None)
    monkeypatch.delattr("utils.cuda_gru", raising=False)
    sequence_for.cache_clear()
    assert sequence_for(DEVICE, SIZE) is None and "not available" in capsys.readouterr().out
    sequence_for.cache_clear()
