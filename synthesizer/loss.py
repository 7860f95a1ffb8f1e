"""What Tacotron is trained on: mel and stop losses over real frames and steps alone."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from synthesizer.layers import sequence_mask
from synthesizer.model import Prediction


class Losses(NamedTuple):
    mel: Tensor  # MSE + L1 before the post-net, MSE after it
    stop: Tensor  # binary cross-entropy

    @property
    def total(self) -> Tensor:
        return self.mel + self.stop


def tacotron_losses(prediction: Prediction, mels: Tensor, lengths: Tensor, r: int, stop_weight: float = 1.0) -> Losses:
    """Prediction, mels (B, F, n_mels), lengths (B,) in frames -> Losses, float32 scalars.

    stop_weight: factor on the loss of an utterance's last step, the only one of its steps that should stop.
    """
    before, after = prediction.before.float(), prediction.after.float()
    mask = sequence_mask(lengths, mels.size(1))[:, :, None].expand_as(mels)  # (B, F, n_mels)
    n_values = mask.sum()
    off_before = torch.where(mask, before - mels, 0.0)
    off_after = torch.where(mask, after - mels, 0.0)
    mel = (off_before.square().sum() + off_before.abs().sum() + off_after.square().sum()) / n_values
    return Losses(mel, _stop_loss(prediction.stop_logits.float(), lengths, r, stop_weight))


def _stop_loss(logits: Tensor, lengths: Tensor, r: int, stop_weight: float) -> Tensor:
    n_steps = (lengths + r - 1) // r  # (B,)
    real = sequence_mask(n_steps, logits.size(1))  # (B, S)
    target = (torch.arange(logits.size(1), device=logits.device) >= (n_steps - 1)[:, None]).float()
    weight = torch.where(target > 0, stop_weight, 1.0) * real
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (losses * weight).sum() / real.sum()
