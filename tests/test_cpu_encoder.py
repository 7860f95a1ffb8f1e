"""The encoder's LSTM that trains faster in bfloat16 on a CPU, against torch's own."""

import copy

import pytest
import torch
from torch import nn

from encoder.accelerate import accelerate
from encoder.config import EncoderConfig
from encoder.model import EncoderWithLoss

FastLSTM = pytest.importorskip("encoder.cpu.lstm").FastLSTM
B, T, C, H = 6, 50, 40, 32


@pytest.fixture
def speech():
    return torch.rand(B, T, C)


@pytest.fixture
def pair() -> tuple[nn.LSTM, nn.LSTM]:
    """torch's LSTM and the fast one with the same weights."""
    plain = nn.LSTM(C, H, 3, batch_first=True)
    fast = copy.deepcopy(plain)
    accelerate(fast)
    assert type(fast) is FastLSTM
    return plain, fast


def gradients(model: nn.LSTM, x: torch.Tensor, in_bf16: bool) -> dict[str, torch.Tensor]:
    """Results and gradients, for a sum in which every output, last output and last cell has another weight."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
        outputs, (hidden, cell) = model(x)
    results = {"outputs": outputs, "hidden": hidden, "cell": cell}
    sum((y.float() * torch.linspace(-1, 1, y.numel()).view_as(y)).sum() for y in results.values()).backward()
    results = {name: y.detach().float() for name, y in results.items()}
    return results | {"x": x.grad} | {name: p.grad for name, p in model.named_parameters()}


def test_results_and_gradients_are_those_of_full_precision_within_that_of_bfloat16(pair, speech):
    plain, fast = pair
    exact, found = gradients(plain, speech, in_bf16=False), gradients(fast, speech, in_bf16=True)
    assert exact.keys() == found.keys()
    for name, value in exact.items():
        assert found[name].shape == value.shape
        assert 0 < (found[name] - value).norm() / value.norm() < 0.01, name


def test_elsewhere_it_is_torch_s_own(pair, speech):
    plain, fast = pair
    assert torch.equal(fast(speech)[0], plain(speech)[0])
    state = (torch.rand(3, B, H), torch.rand(3, B, H))
    assert torch.equal(fast(speech, state)[0], plain(speech, state)[0])
    assert plain.state_dict().keys() == fast.state_dict().keys()


def test_nan_in_one_utterance_shows_there_alone(pair, speech):
    speech[2, 10, 3] = torch.nan
    outputs = gradients(pair[1], speech, in_bf16=True)["outputs"]
    assert torch.isfinite(outputs[[0, 1, 3, 4, 5]]).all() and torch.isfinite(outputs[2, :10]).all()
    assert torch.isnan(outputs[2, 10:]).any(dim=1).all()


def test_a_subclass_of_the_lstm_is_left_alone():
    class OwnLSTM(nn.LSTM):
        pass

    model = EncoderWithLoss(EncoderConfig(hidden_size=8))
    model.encoder.lstm = OwnLSTM(40, 8, batch_first=True)
    accelerate(model)
    assert type(model.encoder.lstm) is OwnLSTM
