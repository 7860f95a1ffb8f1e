"""Tacotron's losses on mel, stop output and attention, over real frames and steps alone."""

import operator
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from synthesizer.layers import sequence_mask
from synthesizer.model import Prediction

Mean = Callable[[Tensor, Tensor], Tensor]  # a sum and the number of its terms -> their mean
LEAST_MASS = 1e-6  # keeps the loss finite where no attention is near the expected symbol
DIAGONAL_WIDTH = 0.2  # as a share of the text (1710.08969)


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

    stop_weight: factor on the stop loss of an utterance's last step, the only step that should stop.
    mean: utils.training.ranks.share_of_mean where this is one rank's part of the batch.
    """
    before, after = prediction.before.float(), prediction.after.float()
    mask = sequence_mask(lengths, mels.size(1))[:, :, None].expand_as(mels)  # (B, F, n_mels)
    n_values = mask.sum()
    error_before = torch.where(mask, before - mels, 0.0)
    error_after = torch.where(mask, after - mels, 0.0)
    mel = mean(error_before.square().sum() + error_before.abs().sum() + error_after.square().sum(), n_values)
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
    ends: Tensor,
    text_lengths: Tensor,
    mel_lengths: Tensor,
    r: int,
    width: float,
    times_weight: float,
    diagonal_weight: float,
    mean: Mean = operator.truediv,
) -> Tensor:
    """How far the attention (B, S, T) is from where the text is spoken: a float32 scalar, the mean over all real steps.

    ends (B, T): the frame at which each symbol ends, 0 for utterances without word times, and infinite at the padding.
    With word times, a step costs times_weight times the negative log of the attention near the symbol spoken in the middle of
    the step, under a Gaussian of `width` symbols. Without, it costs diagonal_weight times the attention far from the diagonal,
    as in guided attention (1710.08969, section 4.1).
    """
    n_steps = ((mel_lengths + r - 1) // r)[:, None]  # (B, 1)
    steps = torch.arange(attention.size(1), device=attention.device)  # (S,)
    symbols = torch.arange(attention.size(2), device=attention.device)  # (T,)
    timed = ends[:, :1] > 0  # (B, 1)
    spoken = expected_symbols(ends, text_lengths, attention.size(1), r)  # (B, S)
    near = torch.exp(-0.5 * ((symbols - spoken[:, :, None]) / width).square())  # (B, S, T)
    taught = -times_weight * torch.log((attention * near).sum(2) + LEAST_MASS)  # (B, S)
    distance = symbols / text_lengths[:, None, None] - (steps / n_steps)[:, :, None]  # (B, S, T)
    far = 1 - torch.exp(-0.5 * (distance / DIAGONAL_WIDTH).square())
    guided = diagonal_weight * (attention * far).sum(2)  # (B, S)
    real = steps < n_steps  # (B, S)
    return mean(torch.where(real, torch.where(timed, taught, guided), 0.0).sum(), real.sum())


def expected_symbols(ends: Tensor, text_lengths: Tensor, n_steps: int, r: int) -> Tensor:
    """The symbol spoken in the middle of each step, in fractions (3.0 is the middle of symbol 3): (B, n_steps)

    ends (B, T): the frame at which each symbol ends, growing, the padding included.
    """
    middle = ((torch.arange(n_steps, device=ends.device) + 0.5) * r).expand(ends.size(0), -1).contiguous()  # (B, S) frames
    index = torch.searchsorted(ends, middle, right=True).minimum(text_lengths[:, None] - 1)  # (B, S)
    end = ends.gather(1, index)
    start = torch.where(index > 0, ends.gather(1, (index - 1).clamp(min=0)), 0.0)
    return index - 0.5 + ((middle - start) / (end - start).clamp(min=1e-3)).clamp(0, 1)
