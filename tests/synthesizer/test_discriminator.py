"""Training with a discriminator: padding, what it gives, and resuming."""

import contextlib
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from synthesizer.discriminator import Adversary, Discriminator
from synthesizer.model import Prediction
from tests import ROOT
from tests.synthesizer.test_synthesizer_train import UNSEEN, assert_same, run, write_data
from utils.training.stepping import Trained

ADVERSARIAL = f"{UNSEEN},adversarial_weight=1"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), ROOT / "samples")


@pytest.mark.parametrize("n_frames", [37, 40])
def test_padding_changes_no_score(n_frames):
    torch.manual_seed(0)
    model, pair = Discriminator(4).eval(), torch.randn(2, 1, n_frames, 80)
    with torch.no_grad():
        alone = model(*pair, torch.tensor([n_frames]))
        padded = torch.cat([pair, torch.full((2, 1, 27, 80), 9.0)], dim=2)
        together = model(*padded, torch.tensor([n_frames]))
    for a, b in zip(alone, together, strict=True):
        assert torch.allclose(a, b[:, :, : a.size(2)], atol=1e-6) and not b[:, :, a.size(2) :].any()


def test_what_deceives_it_has_the_detail_that_a_distance_leaves_out():
    """The true mels have ripples of either sign at random. The least distance is to have none."""
    made = [ripples_after_training(weight) for weight in (0.0, 8.0)]
    assert made[0] < 0.2 and made[1] > 0.4


def ripples_after_training(weight: float) -> float:
    """Of what a post-net gives, as a share of the true mels'; root mean square."""
    torch.manual_seed(0)
    postnet, fine = nn.Sequential(nn.Linear(25, 64), nn.ReLU(), nn.Linear(64, 24)), torch.cos(torch.arange(24) * torch.pi / 2)
    run = PlainRun({"": Trained(postnet, torch.optim.Adam(postnet.parameters(), 1e-2))})
    adversary = Adversary(run, in_graphs=False)
    run.trained["discriminator"], lengths = adversary.trained, torch.full((4,), 12)
    for _ in range(120):
        before, sign = torch.randn(4, 12, 1).expand(-1, -1, 24), torch.randn(4, 12, 1).sign()
        after = postnet(torch.cat([before, torch.randn(4, 12, 1)], dim=2))
        mels, prediction = before + sign * fine, Prediction(before, after, after, after)
        adversary.learn(prediction, mels, lengths, 1.0)
        loss = (after - mels).square().mean() + weight * adversary.loss(prediction, mels, lengths)
        run.optimize(loss, 1.0)
    return float((after - before).detach().mul(fine).mean(2).square().mean().sqrt() / fine.square().mean())


@dataclass
class PlainRun:
    """The parts of a Run that a step needs."""

    trained: dict[str, Trained]
    device = torch.device("cpu")
    autocast = contextlib.nullcontext

    def wrap(self, model):
        return model

    def optimize(self, loss, clip, name=""):
        loss.backward()
        self.trained[name].optimizer.step()
        for each in self.trained.values():
            each.optimizer.zero_grad()


def test_it_is_resumed_and_may_be_added_and_left_out_later(data, tmp_path, capsys):
    whole = run(data, tmp_path / "whole", 4, ADVERSARIAL)
    run(data, tmp_path / "parts", 2, ADVERSARIAL)
    parts = run(data, tmp_path / "parts", 4, "")
    assert_same(whole, parts)
    assert parts["further"]["discriminator"]["optimizer_state"]["state"]
    assert "further" not in run(data, tmp_path / "parts", 5, "adversarial_weight=0")
    capsys.readouterr()
    assert run(data, tmp_path / "parts", 6, "adversarial_weight=0.1")["further"]
    assert "the discriminator starts anew, as the checkpoint has none" in capsys.readouterr().out
