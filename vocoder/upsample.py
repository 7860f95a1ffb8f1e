"""The upsampling net: mel frames -> smoothed mels, one per audio sample, and a context vector per frame."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.training.ranks import BatchNorm


class ResidualBlock(nn.Module):
    """Two pointwise convolutions with batch norm and a skip connection. (B, C, T) -> (B, C, T)"""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv1d(channels, channels, 1, bias=False)
        self.norm1 = BatchNorm(channels)
        self.conv2 = nn.Conv1d(channels, channels, 1, bias=False)
        self.norm2 = BatchNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.norm1(self.conv1(x)))
        return x + self.norm2(self.conv2(hidden))


class ContextNet(nn.Module):
    """A residual net that sees `pad` frames on each side of a frame. (B, n_mels, T + 2 pad) -> (B, n_aux, T)"""

    def __init__(self, n_mels: int, channels: int, n_aux: int, n_blocks: int, pad: int):
        super().__init__()
        self.conv_in = nn.Conv1d(n_mels, channels, 2 * pad + 1, bias=False)
        self.norm = BatchNorm(channels)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(n_blocks)))
        self.conv_out = nn.Conv1d(channels, n_aux, 1)

    def forward(self, mel: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv_in(mel)))  # (B, channels, T)
        return self.conv_out(self.blocks(x))


class Stretch(nn.Module):
    """Repeats each step `factor` times and smooths with a filter of 2 factor + 1 taps, zeros beyond the ends.
    (B, C, T) -> (B, C, T factor)

    An output depends on three inputs at most, so the filter becomes `factor` filters of three taps each, and nothing is
    repeated.
    """

    def __init__(self, factor: int):
        super().__init__()
        self.weight = nn.Parameter(torch.full((2 * factor + 1,), 1 / (2 * factor + 1)))  # starts as a moving average
        phases, taps = torch.arange(factor).unsqueeze(1), torch.arange(2 * factor + 1)
        neighbour = (phases + taps) // factor  # (factor, taps): 0 is the input before, 1 the same, 2 the one after
        self.register_buffer("tap_to_neighbour", F.one_hot(neighbour, 3).float(), persistent=False)  # (factor, taps, 3)

    def forward(self, x: Tensor) -> Tensor:
        filters = torch.einsum("ptk,t->kp", self.tap_to_neighbour, self.weight)  # (3, factor)
        neighbours = F.pad(x, (1, 1)).unfold(-1, 3, 1)  # (B, C, T, 3)
        return (neighbours @ filters).flatten(-2)


class Upsample(nn.Module):
    """(B, T + 2 pad, n_mels) -> mel (B, T hop, n_mels), aux (B, T, n_aux); hop is the product of the factors.

    The mel is stretched by one factor after another, each band with the same filters; aux is the context of a frame.
    """

    def __init__(self, n_mels: int, channels: int, n_aux: int, n_blocks: int, pad: int, factors: tuple[int, ...]):
        super().__init__()
        self.indent = pad * math.prod(factors)  # samples
        self.context = ContextNet(n_mels, channels, n_aux, n_blocks, pad)
        self.stretch = nn.Sequential(*(Stretch(factor) for factor in factors))

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        mel = mel.transpose(1, 2)  # (B, n_mels, T + 2 pad)
        aux = self.context(mel).transpose(1, 2)  # (B, T, n_aux)
        with torch.autocast(mel.device.type, enabled=False):
            fine = self.stretch(mel.float())  # (B, n_mels, (T + 2 pad) hop)
        return fine[:, :, self.indent : fine.size(-1) - self.indent].transpose(1, 2), aux
