"""The encoder's own LSTM, which trains in bfloat16 on a CPU, against torch's."""

import pytest
import torch
from torch import nn

from encoder import recurrence
from encoder.recurrence import LSTM

B, T, C, H = 6, 50, 40, 32


@pytest.fixture
def speech():
    return torch.rand(B, T, C, generator=torch.Generator().manual_seed(0))


def pair() -> tuple[LSTM, nn.LSTM]:
    torch.manual_seed(1)
    own, torchs = LSTM(C, H, 3, batch_first=True), nn.LSTM(C, H, 3, batch_first=True)
    torchs.load_state_dict(own.state_dict())
    return own, torchs


def gradients(model: nn.LSTM, x: torch.Tensor, in_bf16: bool) -> dict[str, torch.Tensor]:
    """Of the weights, the input and the outputs themselves, where the outputs of all steps count, each differently."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
        outputs = model(x)
    outputs = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
    (outputs.float() * torch.linspace(-1, 1, outputs.numel()).view_as(outputs)).sum().backward()
    return {"outputs": outputs.detach().float(), "x": x.grad, **{n: p.grad for n, p in model.named_parameters()}}


def test_it_is_as_near_to_full_precision_as_torch_s_own_in_bf16(speech):
    own, torchs = pair()
    exact = gradients(torchs, speech, in_bf16=False)
    torchs.zero_grad()
    usual, ours = gradients(torchs, speech, in_bf16=True), gradients(own, speech, in_bf16=True)
    assert recurrence._kernels() is not None
    for name, value in exact.items():
        error, usual_error = ((each[name] - value).norm() / value.norm() for each in (ours, usual))
        assert 0 < error < max(1.5 * usual_error, 0.01), name


def test_without_numba_and_in_full_precision_it_is_torch_s(speech, monkeypatch):
    own, torchs = pair()
    assert torch.equal(own(speech), torchs(speech)[0])
    monkeypatch.setattr(recurrence, "_kernels", lambda: None)
    ours = gradients(own, speech, in_bf16=True)
    assert all(torch.equal(value, ours[name]) for name, value in gradients(torchs, speech, in_bf16=True).items())


def test_what_is_not_a_number_shows(speech):
    own, _ = pair()
    speech[2, 10, 3] = torch.nan
    outputs = gradients(own, speech, in_bf16=True)["outputs"]
    assert torch.isfinite(outputs[[0, 1, 3, 4, 5]]).all() and torch.isfinite(outputs[2, :10]).all()
    assert torch.isnan(outputs[2, 10:]).any(dim=1).all()
