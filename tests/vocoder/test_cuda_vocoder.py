"""The vocoder's training on a GPU. Without one, both streams are the same here; tests/test_gpu.py has the same on a GPU."""

import contextlib
import copy

import pytest
import torch

from tests.vocoder_data import tiny_vocoder
from vocoder import cuda
from vocoder.accelerate import accelerate
from vocoder.model import in_turn


class OneStream:
    def __init__(self, device):
        pass

    def second(self, *read):
        return contextlib.nullcontext()

    def join(self, *written):
        pass


@pytest.fixture
def as_on_gpu(monkeypatch):
    monkeypatch.setattr(cuda, "where_on_gpu", lambda fused, plain: fused)
    monkeypatch.setattr(cuda, "TwoStreams", OneStream)


@pytest.fixture
def without_kernel(monkeypatch, as_on_gpu):
    monkeypatch.setattr(cuda, "sequence_for", lambda device, size: None)


@pytest.mark.parametrize("n_samples", [1000, 200])
def test_both_grus_at_once_give_what_they_give_in_turn(without_kernel, n_samples):
    torch.manual_seed(0)
    model, n_frames = tiny_vocoder().train(), n_samples // 200
    levels, mel = torch.rand(3, n_samples) * 2 - 1, torch.rand(3, n_frames + 2 * model.config.pad, 80)
    targets, found = torch.randint(512, (3, n_samples)), []
    for prepare in (lambda model: None, cuda.fuse):
        prepare(model)
        model.zero_grad()
        loss = model(levels, mel, targets)
        loss.backward()
        found.append([loss.detach(), *(parameter.grad for parameter in model.parameters())])
    assert model.recurrence is cuda.overlapped
    for plain, fast in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, atol=1e-6, rtol=1e-4)


def test_each_gru_may_be_one_kernel_in_half_precision(monkeypatch, as_on_gpu):
    """Here a kernel is the GRU itself, in float16."""
    ran = []
    monkeypatch.setattr(cuda, "sequence_for", lambda device, size: lambda gru, *inputs: ran.append(size) or gru(*inputs))
    plain = tiny_vocoder().eval()
    fast, given = copy.deepcopy(plain), (torch.rand(3, 400), torch.rand(3, 2 + 2 * plain.config.pad, 80))
    cuda.fuse(fast)
    assert torch.allclose(fast(*given), plain(*given), atol=1e-6) and not ran
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(copy.deepcopy(fast)(*given), plain(*given), atol=5e-2) and ran == [plain.config.rnn_dims] * 2


def test_the_state_goes_on_from_call_to_call(without_kernel):
    model = tiny_vocoder()
    x, aux = torch.randn(20, 2, model.config.rnn_dims), torch.randn(20, 2, 2)
    whole, state = in_turn(model.gru1, model.gru2, x, aux, None)
    first, between = cuda.overlapped(model.gru1, model.gru2, x[:9], aux[:9], None)
    rest, after = cuda.overlapped(model.gru1, model.gru2, x[9:], aux[9:], between)
    torch.testing.assert_close(torch.cat([first, rest]), whole)
    torch.testing.assert_close(after, state)


def test_a_recurrence_of_ones_own_stays():
    model = tiny_vocoder()
    model.recurrence = own = lambda *arguments: in_turn(*arguments)
    cuda.fuse(model)
    assert model.recurrence is own


def test_a_fused_vocoder_that_is_moved_to_a_cpu_speaks_as_fast_as_any_there(monkeypatch, capsys):
    monkeypatch.setattr(cuda, "sequence_for", lambda device, size: None)
    model = tiny_vocoder().eval()
    cuda.fuse(model)
    assert model.recurrence is not in_turn
    assert type(accelerate(model)) is type(accelerate(tiny_vocoder().eval())) and not capsys.readouterr().out
