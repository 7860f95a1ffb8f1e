"""What Tacotron is trained on: mel, stop and attention losses over real frames and steps alone."""

import operator
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from synthesizer.dataset import Batch
from synthesizer.layers import sequence_mask
from synthesizer.model import Prediction

Mean = Callable[[Tensor, Tensor], Tensor]  # a sum and the number of its parts -> their mean
LEAST_MASS = 1e-6  # of attention near the expected symbol: where there is none, the loss is large but finite
DIAGONAL_WIDTH = 0.2  # share of the text, as in 1710.08969


class Losses(NamedTuple):
    mel: Tensor  # MSE + L1 before the post-net, MSE after it
    stop: Tensor  # binary cross-entropy

    @property
    def total(self) -> Tensor:
        return self.mel + self.stop


def tacotron_losses(
    prediction: Prediction, mels: Tensor, lengths: Tensor, r: int, stop_weight: float = 1.0, mean: Mean = operator.truediv
) -> Losses:
    """Prediction, mels (B, F, n_mels), lengths (B,) in frames -> Losses, float32 scalars.

    stop_weight: factor on the loss of an utterance's last step, the only one of its steps that should stop.
    mean: utils.training.ranks.share_of_mean where these are but a rank's part of the batch.
    """
    before, after = prediction.before.float(), prediction.after.float()
    mask = sequence_mask(lengths, mels.size(1))[:, :, None].expand_as(mels)  # (B, F, n_mels)
    n_values = mask.sum()
    off_before = torch.where(mask, before - mels, 0.0)
    off_after = torch.where(mask, after - mels, 0.0)
    mel = mean(off_before.square().sum() + off_before.abs().sum() + off_after.square().sum(), n_values)
    return Losses(mel, _stop_loss(prediction.stop_logits.float(), lengths, r, stop_weight, mean))


def _stop_loss(logits: Tensor, lengths: Tensor, r: int, stop_weight: float, mean: Mean) -> Tensor:
    n_steps = (lengths + r - 1) // r  # (B,)
    real = sequence_mask(n_steps, logits.size(1))  # (B, S)
    target = (torch.arange(logits.size(1), device=logits.device) >= (n_steps - 1)[:, None]).float()
    weight = torch.where(target > 0, stop_weight, 1.0) * real
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return mean((losses * weight).sum(), real.sum())


def attention_loss(
    attention: Tensor,
    batch: Batch,
    r: int,
    width: float,
    times_weight: float,
    diagonal_weight: float,
    mean: Mean = operator.truediv,
) -> Tensor:
    """How far the attention (B, S, T) is from where the text is spoken: a float32 scalar, the mean over all real steps.

    Of a step of an utterance with word times: times_weight times minus the log of the attention's mass near the symbol that
    is spoken in the middle of the step, under a Gaussian of `width` symbols. Of one without: diagonal_weight times the mass
    that is far from the diagonal, the guided attention loss of 1710.08969, section 4.1.
    """
    text_lengths, ends = batch.text_lengths, batch.ends
    n_steps = ((batch.mel_lengths + r - 1) // r)[:, None]  # (B, 1)
    steps = torch.arange(attention.size(1), device=attention.device)  # (S,)
    symbols = torch.arange(attention.size(2), device=attention.device)  # (T,)
    timed = ends[:, :1] > 0  # (B, 1)
    spoken = expected_symbols(ends, text_lengths, attention.size(1), r)  # (B, S)
    near = torch.exp(-0.5 * ((symbols - spoken[:, :, None]) / width).square())  # (B, S, T)
    taught = -times_weight * torch.log((attention * near).sum(2) + LEAST_MASS)  # (B, S)
    off = symbols / text_lengths[:, None, None] - (steps / n_steps)[:, :, None]  # (B, S, T)
    far = 1 - torch.exp(-0.5 * (off / DIAGONAL_WIDTH).square())
    guided = diagonal_weight * (attention * far).sum(2)  # (B, S)
    real = steps < n_steps  # (B, S)
    return mean(torch.where(real, torch.where(timed, taught, guided), 0.0).sum(), real.sum())


def expected_symbols(ends: Tensor, text_lengths: Tensor, n_steps: int, r: int) -> Tensor:
    """The symbol spoken in the middle of each step, in fractions: 3.0 is the middle of symbol 3. (B, n_steps)

    ends (B, T): the frame at which each symbol ends, growing; what stands in the padding must not be less.
    """
    middle = ((torch.arange(n_steps, device=ends.device) + 0.5) * r).expand(ends.size(0), -1).contiguous()  # (B, S) frames
    index = torch.searchsorted(ends, middle, right=True).minimum(text_lengths[:, None] - 1)  # (B, S)
    end = ends.gather(1, index)
    start = torch.where(index > 0, ends.gather(1, (index - 1).clamp(min=0)), 0.0)
    return index - 0.5 + ((middle - start) / (end - start).clamp(min=1e-3)).clamp(0, 1)
