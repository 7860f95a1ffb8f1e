"""Gradients in half precision against those in fp32, on a GPU if there is one."""

import pytest
import torch

from benchmarks.gpu import gradient
from encoder.config import EncoderConfig
from encoder.model import EncoderWithLoss
from tests.synthesizer.test_synthesizer_model import tiny_model
from tests.vocoder_data import tiny_vocoder
from vocoder.model import in_turn

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def encoder():
    model, mels = EncoderWithLoss(EncoderConfig(hidden_size=32, embedding_size=32)), torch.rand(4, 4, 60, 40)
    return model, lambda: model(mels.to(DEVICE))


def synthesizer():
    model = tiny_model(attention="location_both", zoneout=0.1).train()
    text, mels = torch.randint(2, 60, (3, 12)), torch.rand(3, 40, 80) * 8 - 4
    inputs = text, torch.full((3,), 12), mels, torch.full((3,), 40), torch.randn(3, 8)
    inputs = [each.to(DEVICE) for each in inputs]
    return model, lambda: sum((each.float() - inputs[2]).square().mean() for each in model(*inputs, 2)[:2])


def vocoder():
    model = tiny_vocoder().train()
    crops = torch.rand(4, 400) * 2 - 1, torch.rand(4, 2 + 2 * model.config.pad, 80) * 2 - 1, torch.randint(512, (4, 400))
    crops = [each.to(DEVICE) for each in crops]
    return model, lambda: model(*crops)


@pytest.mark.parametrize("make", [encoder, synthesizer, vocoder])
@pytest.mark.parametrize(("dtype", "off"), [(torch.bfloat16, 0.3), (torch.float16, 0.05)])
def test_gradients_are_those_of_fp32_but_for_rounding(make, dtype, off):
    """Small models with random weights round more than large ones: by 0.07 to 0.19 in bf16 on a CPU, in fp16 by 0.03."""
    torch.manual_seed(0)
    model, loss_of = make()
    model.to(DEVICE)
    gradients = []
    for each in (None, dtype):
        torch.manual_seed(1)  # for zoneout
        gradients.append(gradient(model, loss_of, each))
    exact, rounded = gradients
    assert (rounded - exact).norm() < off * exact.norm()


def test_the_vocoder_tells_neighbouring_levels_apart_in_half_precision():
    """Between 0.5 and 1, bf16 has steps of 1/256."""
    model, heard = tiny_vocoder().to(DEVICE), []
    model.recurrence = lambda gru1, gru2, x, *rest: heard.append(x) or in_turn(gru1, gru2, x, *rest)
    levels, mel = torch.tensor([[0.75], [0.7505]]).repeat(1, 200), torch.zeros(2, 1 + 2 * model.config.pad, 80)
    with torch.autocast(DEVICE.type, torch.bfloat16):
        model(levels.to(DEVICE), mel.to(DEVICE))
    assert heard[0].dtype == torch.float32 and (heard[0][:, 0] != heard[0][:, 1]).any()
