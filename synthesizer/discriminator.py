"""Sharper mels: a discriminator tells true mels from the post-net's, and the post-net learns to deceive it.

A distance rewards the mean of all ways to say something, which is smoother than each of them. Least-squares GAN (1611.04076) on
patches (1611.07004, section 3.2.2) with feature matching (1711.11585, equation 4).

Shapes: B utterances, F frames; C, T, W channels, frames and bands of a layer.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from synthesizer.layers import sequence_mask
from synthesizer.model import Prediction
from utils.training.ranks import share_of_mean
from utils.training.run import Run
from utils.training.stepping import Trained

LEARNING_RATE, BETAS = 2e-4, (0.8, 0.99)
FEATURES = 5.0  # weight of feature matching beside the adversarial loss
SCALE = 0.25  # mels are -4 to 4


class Discriminator(nn.Module):
    """Convolutions over frames and bands. It sees the mel before the post-net too, so what it likes must fit that."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        c = channels
        sizes = ((2, c, 5, (1, 2)), (c, 2 * c, 5, (2, 2)), (2 * c, 4 * c, 5, (2, 2)), (4 * c, 4 * c, 3, 1), (4 * c, 1, 3, 1))
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(n_inputs, n_outputs, kernel, stride, padding=kernel // 2))
            for n_inputs, n_outputs, kernel, stride in sizes
        )

    def forward(self, mels: Tensor, before: Tensor, lengths: Tensor) -> list[Tensor]:
        """Mels to judge and those before the post-net (B, F, n_mels), lengths (B,) -> the output (B, C, T, W) of each layer, 0
        at the padding; the last one's are scores, 1 for true"""
        mask = sequence_mask(lengths, mels.size(1))[:, None, :, None]  # (B, 1, F, 1)
        x, outputs = SCALE * torch.stack([mels, before], dim=1) * mask, []
        for layer in self.layers:
            mask = mask[:, :, :: layer.stride[0]]
            x = layer(x if not outputs else F.leaky_relu(x, 0.2)) * mask
            outputs.append(x)
        return outputs


class Adversary:
    """A discriminator and its training, beside the synthesizer's."""

    def __init__(self, run: Run, in_graphs: bool) -> None:
        """in_graphs: see Run.start, which takes `trained`."""
        self._run, self._model = run, Discriminator().to(run.device)
        self._wrapped = self._model if in_graphs else run.wrap(self._model)
        self.trained = Trained(self._model, torch.optim.Adam(self._model.parameters(), LEARNING_RATE, betas=BETAS, fused=True))

    def learn(self, prediction: Prediction, mels: Tensor, lengths: Tensor, clip: float) -> Tensor:
        """One step of the discriminator; returns its loss ()."""
        before = prediction.before.detach().repeat(2, 1, 1)
        with self._run.autocast():
            scores = self._wrapped(torch.cat([mels, prediction.after.detach()]), before, lengths.repeat(2))[-1]
        true, made = scores.float().chunk(2)
        real = _real(true, lengths, mels.size(1))
        loss = _mean(((true - 1).square() + made.square()) * real, real)
        self._run.optimize(loss, clip, name="discriminator")
        return loss.detach()

    def loss(self, prediction: Prediction, mels: Tensor, lengths: Tensor) -> Tensor:
        """How little the discriminator is deceived, and how far its layers tell both apart: a float32 scalar."""
        self._model.requires_grad_(False)
        with self._run.autocast():
            made = self._model(prediction.after, prediction.before.detach(), lengths)
            with torch.no_grad():
                true = self._model(mels, prediction.before, lengths)
        self._model.requires_grad_(True)
        real = _real(made[-1], lengths, mels.size(1))
        loss = _mean((made[-1].float() - 1).square() * real, real)
        for a, b in zip(made[:-1], true[:-1], strict=True):
            loss = loss + FEATURES * _mean((a.float() - b.float()).abs(), _real(a, lengths, mels.size(1)))
        return loss


def _real(output: Tensor, lengths: Tensor, n_frames: int) -> Tensor:
    """Where a layer's output (B, C, T, W) is not padding: bool, of the same shape."""
    mask = sequence_mask(lengths, n_frames)[:, :: round(n_frames / output.size(2))]  # (B, T)
    return mask[:, None, :, None].expand_as(output)


def _mean(values: Tensor, real: Tensor) -> Tensor:
    """The mean of values, 0 at the padding, where they are real."""
    return share_of_mean(values.sum(), real.sum())
