"""From mel frames to one conditioning vector per audio sample: smoothed mels, and the context of a residual net."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """Two pointwise convolutions with batch norm, around a skip connection. (B, C, T) -> (B, C, T)"""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv1d(channels, channels, 1, bias=False)
        self.norm1 = nn.BatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, 1, bias=False)
        self.norm2 = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.norm1(self.conv1(x)))
        return x + self.norm2(self.conv2(hidden))


class ContextNet(nn.Module):
    """One vector per frame that has seen `pad` frames on each side. (B, n_mels, T + 2 pad) -> (B, n_aux, T)"""

    def __init__(self, n_mels: int, channels: int, n_aux: int, n_blocks: int, pad: int):
        super().__init__()
        self.conv_in = nn.Conv1d(n_mels, channels, 2 * pad + 1, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(n_blocks)))
        self.conv_out = nn.Conv1d(channels, n_aux, 1)

    def forward(self, mel: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv_in(mel)))  # (B, channels, T)
        return self.conv_out(self.blocks(x))


class Upsample(nn.Module):
    """(B, T + 2 pad, n_mels) -> mel (B, T hop, n_mels), aux (B, T, n_aux); hop is the product of the factors.

    The mel is repeated by each factor in turn and smoothed with a filter that spans two of the former steps; every
    band alike. The context is the same for all samples of a frame and is given once per frame.
    """

    def __init__(self, n_mels: int, channels: int, n_aux: int, n_blocks: int, pad: int, factors: tuple[int, ...]):
        super().__init__()
        self.pad = pad
        self.factors = factors
        self.hop_length = math.prod(factors)
        self.context = ContextNet(n_mels, channels, n_aux, n_blocks, pad)
        self.smooth = nn.ModuleList(nn.Conv2d(1, 1, (1, 2 * factor + 1), padding=(0, factor), bias=False) for factor in factors)
        for conv in self.smooth:
            nn.init.constant_(conv.weight, 1 / conv.weight.size(-1))  # starts as a moving average

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        mel = mel.transpose(1, 2)  # (B, n_mels, T + 2 pad)
        aux = self.context(mel).transpose(1, 2)  # (B, T, n_aux)
        fine = mel.unsqueeze(1)  # (B, 1, n_mels, T + 2 pad)
        for factor, conv in zip(self.factors, self.smooth, strict=True):
            fine = conv(torch.repeat_interleave(fine, factor, dim=-1))
        indent = self.pad * self.hop_length
        fine = fine.squeeze(1)[:, :, indent : fine.size(-1) - indent]  # (B, n_mels, T hop)
        return fine.transpose(1, 2), aux
