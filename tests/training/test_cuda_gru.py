"""A GRU in one kernel. Without a GPU Triton interprets it, one program after another, so one program holds all units."""

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from tests import ROOT
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


@pytest.mark.parametrize("n_processors", [60, 78, 114, 132, 148])  # of an H200 in parts, and of others
@pytest.mark.parametrize("shared", [232_448, 101_376])
def test_the_programs_of_a_launch_fit_on_the_gpu_together(n_processors, shared):
    gru = pytest.importorskip("utils.cuda_gru")
    for size in gru.SIZES:
        if size > 128 and shared < 200_000:
            with pytest.raises(RuntimeError, match=f"too little shared memory for {size} units"):
                gru.most_rows(size, n_processors, shared)
            continue
        most = gru.most_rows(size, n_processors, shared)
        assert most >= (gru.MOST_ROWS if n_processors >= 132 and shared > 200_000 else gru.ROWS)
        for n_rows in (1, 16, 17, 100, 250, 256, 300, 448, 512):
            n_rows = min(n_rows, most)
            for backward in (False, True):
                rows = gru.rows_of_program(n_rows, size, backward, n_processors)
                assert gru.shared_bytes(rows, size, backward) <= shared
                assert size // gru.tile(backward)[0] * -(-n_rows // rows) <= n_processors


def test_all_kernels_compile_and_take_the_shared_memory_that_is_reckoned_with(tmp_path):
    """For GPUs of compute capability 8.0 and 9.0, though there is none."""
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.training.compiled_kernels"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {each["capability"] for each in found} == {80, 90}
    of_gru = [each for each in found if "reckoned" in each]
    assert len(of_gru) == 10 and all(each["tensor_cores"] for each in of_gru)
    for each in of_gru:
        assert each["shared"] <= each["reckoned"] <= each["shared"] + 4096, each


def test_rows_that_do_not_fit_together_are_launched_one_part_after_another(kernel, monkeypatch):
    torch.manual_seed(0)
    gru, n_launches, launch = nn.GRU(16, SIZE).to(DEVICE), [], kernel._launch
    given = [torch.randn(shape, device=DEVICE) for shape in ((2, 37, 16), (1, 37, SIZE), (2, 37, SIZE))]
    monkeypatch.setattr(kernel, "_launch", lambda *args, **how: (n_launches.append(args[3]), launch(*args, **how)))
    whole = outputs_and_gradients(lambda *inputs: kernel.run(gru, *inputs), gru, *given)
    shared = max(kernel.shared_bytes(kernel.ROWS, SIZE, backward) for backward in (False, True))
    small = 2 * SIZE // kernel.UNITS, shared
    monkeypatch.setattr(kernel, "_of_gpu", lambda device: small)
    parts = outputs_and_gradients(lambda *inputs: kernel.run(gru, *inputs), gru, *given)
    assert n_launches[:2] == [37, 37] and sorted(n_launches[2:]) == [5, 5, 32, 32]
    for one, other in zip(parts, whole, strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=2e-3)


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
        held, empty = (
            torch.zeros(3, 3, SIZE, dtype=torch.float16),
            torch.Tensor.new_empty,
        )  # each run finds what the last one left
        monkeypatch.setattr(torch.Tensor, "new_empty", lambda x, *n, **how: held if n == held.shape else empty(x, *n, **how))
        if ON_GPU:
            pytest.skip("they are there on a GPU")
    elif problem == "compiler":
        monkeypatch.setattr(kernel, "_launch", lambda *_, **how: (_ for _ in ()).throw(RuntimeError("no compiler\nand more")))
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


@pytest.mark.skipif(ON_GPU, reason="there all programs run at once")
def test_programs_that_are_apart_wait_once_and_not_at_every_step(kernel, monkeypatch):
    from triton.runtime.interpreter import InterpreterBuilder

    n_steps, patience, looks, look = 6, 50, [], InterpreterBuilder.create_atomic_rmw
    monkeypatch.setattr(InterpreterBuilder, "create_atomic_rmw", lambda *given: (looks.append(1), look(*given))[1])
    for name, value in {"UNITS": SIZE // 2, "UNITS_BACKWARD": SIZE // 2, "PATIENCE": patience}.items():
        monkeypatch.setattr(kernel, name, value)
    y, _ = kernel.run(nn.GRU(16, SIZE), torch.randn(n_steps, 3, 16))
    y.sum().backward()
    assert 2 * patience <= len(looks) <= 2 * (patience + 2 * 2 * n_steps)  # forward and backward, and one look a step


def test_it_is_missing_without_triton(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "utils.cuda_gru", None)
    monkeypatch.delattr("utils.cuda_gru", raising=False)
    sequence_for.cache_clear()
    assert sequence_for(DEVICE, SIZE) is None and "not available" in capsys.readouterr().out
    sequence_for.cache_clear()
