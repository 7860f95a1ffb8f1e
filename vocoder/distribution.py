"""What WaveRNN predicts about the next sample: a mu-law class (RAW), or a mixture of logistics (MOL).

A *level* is a sample as the network reads it, a number in [-1, 1]. The caller passes the uniform random numbers, so that a
seed fixes the audio.
"""

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


class Distribution(Protocol):
    """n_outputs: outputs of the network for one sample."""

    n_outputs: int

    def encode(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Wave (n,) in [-1, 1] -> levels float32 (n,), and targets (n,) for `loss`."""

    def decode(self, levels: np.ndarray) -> np.ndarray:
        """Levels of any shape -> wave float32 of the same shape."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(B, T, n_outputs), (B, T) -> mean negative log likelihood in nats per sample."""

    def guess(self, targets: np.ndarray) -> float:
        """Targets (n,) -> the loss of a model that knows how often each occurs, but nothing of what came before."""

    def sample(self, outputs: Tensor, uniform: Tensor) -> Tensor:
        """(B, n_outputs), uniform numbers (2, B) in (0, 1] -> levels (B,)"""


class MuLaw:
    """2^bits classes on a mu-law scale, mu = 2^bits - 1; levels are the class numbers scaled to [-1, 1]."""

    def __init__(self, bits: int):
        self.n_outputs = 2**bits

    def encode(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mu = self.n_outputs - 1
        companded = np.sign(wave) * np.log1p(mu * np.abs(wave)) / np.log1p(mu)
        labels = np.clip(np.floor((companded + 1) / 2 * mu + 0.5), 0, mu).astype(np.int64)
        return (labels * (2 / mu) - 1).astype(np.float32), labels

    def decode(self, levels: np.ndarray) -> np.ndarray:
        mu = self.n_outputs - 1
        labels = np.rint((levels + 1.0) * (mu / 2))
        companded = 2 * labels.astype(np.float64) / mu - 1
        return (np.sign(companded) * ((1 + mu) ** np.abs(companded) - 1) / mu).astype(np.float32)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs.flatten(0, 1).float(), targets.flatten())

    def guess(self, targets: np.ndarray) -> float:
        return entropy(np.bincount(targets))

    def sample(self, outputs: Tensor, uniform: Tensor) -> Tensor:
        labels = inverse_cdf(outputs, uniform[0])
        return labels * (2 / (self.n_outputs - 1)) - 1


class LogisticMixture:
    """A mixture of logistic densities over the wave itself, discretised in 2^16 steps for the loss (Salimans et al. 2017,
    PixelCNN++, section 2.1). The outputs are n weights (logits), n means and n log scales."""

    min_log_scale = math.log(1e-14)
    half_step = 1 / (2**16 - 1)
    n_bins = 2**12  # of `guess`; fewer than steps, as these would hold too few targets each

    def __init__(self, n_mixtures: int):
        self.n_mixtures = n_mixtures
        self.n_outputs = 3 * n_mixtures

    def encode(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        levels = np.clip(wave, -1, 1).astype(np.float32)
        return levels, levels

    def decode(self, levels: np.ndarray) -> np.ndarray:
        return levels.astype(np.float32)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weights, means, log_scales = outputs.float().chunk(3, dim=-1)  # each (B, T, n)
        log_scales = log_scales.clamp(min=self.min_log_scale)
        target = targets.unsqueeze(-1)  # (B, T, 1)
        offset = (target - means) * torch.exp(-log_scales)
        half = self.half_step * torch.exp(-log_scales)
        below, above = offset - half, offset + half  # edges of the target's step, in scales from the mean
        mass = torch.sigmoid(above) - torch.sigmoid(below)
        # far from the mean the mass underflows: there it is the density in the middle of the step times its width
        density = offset - log_scales - 2 * F.softplus(offset) + math.log(2 * self.half_step)
        inner = torch.where(mass > 1e-5, torch.log(mass.clamp(min=1e-12)), density)
        # the first and the last step extend to minus and plus infinity
        outer = torch.where(target < -0.999, F.logsigmoid(above), -F.softplus(below))
        log_mass = torch.where(target.abs() > 0.999, outer, inner)
        return -torch.logsumexp(F.log_softmax(weights, dim=-1) + log_mass, dim=-1).mean()

    def guess(self, targets: np.ndarray) -> float:
        return entropy(np.histogram(targets, self.n_bins, (-1, 1))[0]) + math.log(2**16 / self.n_bins)

    def sample(self, outputs: Tensor, uniform: Tensor) -> Tensor:
        weights, means, log_scales = outputs.chunk(3, dim=-1)  # each (B, n)
        chosen = inverse_cdf(weights, uniform[0]).unsqueeze(-1)  # (B, 1)
        mean = means.gather(-1, chosen).squeeze(-1)
        scale = log_scales.gather(-1, chosen).squeeze(-1).clamp(min=self.min_log_scale).exp()
        spread = torch.logit(uniform[1], eps=1e-5)
        return torch.addcmul(mean, scale, spread).clamp(-1, 1)


def entropy(counts: np.ndarray) -> float:
    """In nats, of how often each of some values occurs."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def inverse_cdf(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw classes from softmax(logits (B, C)) with uniform numbers (B,) in (0, 1] -> int64 (B,)"""
    cumulative = (logits - logits.amax(-1, keepdim=True)).exp_().cumsum_(-1)  # not normalised
    threshold = uniform * cumulative[:, -1]
    return (cumulative < threshold.unsqueeze(-1)).sum(-1)


def distribution(mode: str, bits: int, n_mixtures: int) -> Distribution:
    """The distribution called RAW or MOL."""
    return MuLaw(bits) if mode == "RAW" else LogisticMixture(n_mixtures)
