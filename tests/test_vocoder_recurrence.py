"""WaveRNN trained in bfloat16 on a CPU, with its own recurrence, against torch's GRU."""

import pytest
import torch

from tests.vocoder_data import TINY
from vocoder import recurrence
from vocoder.model import WaveRNN, WaveRNNConfig

B, N_FRAMES = 3, 2


@pytest.fixture
def speech():
    generator = torch.Generator().manual_seed(0)
    levels = torch.rand(B, N_FRAMES * 200, generator=generator) * 2 - 1
    mel = torch.rand(B, N_FRAMES + 4, 80, generator=generator) * 2 - 1
    return levels, mel, torch.randint(512, levels.shape, generator=generator)


def model_of(mode: str = "RAW") -> WaveRNN:
    torch.manual_seed(1)
    return WaveRNN(WaveRNNConfig(**TINY, mode=mode))


def gradients(model: WaveRNN, speech: tuple[torch.Tensor, ...], in_bf16: bool) -> dict[str, torch.Tensor]:
    """Of all weights, and the outputs; outputs count each differently, as a loss of random weights has next to no gradient."""
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
        outputs = model(*speech[:2]).float()
    (outputs * torch.linspace(-1, 1, outputs.numel()).view_as(outputs)).mean().backward()
    return {"outputs": outputs.detach()} | {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("mode", ["RAW", "MOL"])
def test_it_is_as_near_to_full_precision_as_torch_s_own_in_bf16(mode, speech, monkeypatch):
    model = model_of(mode)
    assert recurrence.kernels() is not None
    exact, ours = gradients(model, speech, in_bf16=False), gradients(model, speech, in_bf16=True)
    monkeypatch.setattr(recurrence, "kernels", lambda: None)
    usual = gradients(model, speech, in_bf16=True)
    for name, value in exact.items():
        error, usual_error = ((each[name] - value).norm() / value.norm() for each in (ours, usual))
        assert 0 < error < max(1.5 * usual_error, 0.01), name
    assert not torch.equal(ours["outputs"], usual["outputs"])  # so it was another way


def test_the_loss_is_that_of_the_outputs(speech):
    model = model_of()
    for in_bf16 in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16), torch.no_grad():
            loss, outputs = model(*speech), model(*speech[:2])
        torch.testing.assert_close(loss, model.distribution.loss(outputs, speech[2]))


def test_what_is_not_a_number_shows_in_its_crop_from_there_on(speech):
    speech[0][1, 250] = torch.nan
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model_of().eval()(*speech[:2])
    assert torch.isfinite(outputs[[0, 2]]).all() and torch.isfinite(outputs[1, :250]).all()
    assert torch.isnan(outputs[1, 250:]).any(dim=-1).all()


def test_its_backward_is_refused_twice(speech):
    with torch.autocast("cpu", torch.bfloat16):
        loss = model_of()(*speech)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward"):
        loss.backward()
