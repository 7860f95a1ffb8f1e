"""Building blocks of Tacotron (1703.10135, section 3). Padding never changes their results.

Shapes: B utterances, T positions (characters or frames), C channels. `mask` is (B, T, 1), 1 at real positions and 0 at the
padding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.training.ranks import BatchNorm


def sequence_mask(lengths: Tensor, size: int) -> Tensor:
    """(B,) lengths -> (B, size) bool, True inside each sequence."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


class PreNet(nn.Module):
    """Two narrow layers whose dropout stays on at inference: it makes the decoder rely on the text."""

    def __init__(self, n_inputs: int, sizes: tuple[int, int], dropout: float) -> None:
        super().__init__()
        self.first = nn.Linear(n_inputs, sizes[0])
        self.second = nn.Linear(sizes[0], sizes[1])
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """(..., n_inputs) -> (..., sizes[1])"""
        x = F.dropout(F.relu(self.first(x)), self.dropout, training=True)
        return F.dropout(F.relu(self.second(x)), self.dropout, training=True)


class ConvNorm(nn.Module):
    """Convolution, ReLU (optional), batch norm, in this order."""

    def __init__(self, n_inputs: int, n_outputs: int, kernel: int, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_inputs, n_outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = BatchNorm(n_outputs)
        self.relu = relu

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, C_in, T), 0 at the padding, and mask (B, 1, T) -> (B, C_out, T), 0 at the padding"""
        y = self.conv(x)[:, :, : x.size(2)]  # an even kernel gives one position too many
        return self.norm(F.relu(y) if self.relu else y, mask)


class Highway(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.transform = nn.Linear(size, size)
        self.gate = nn.Linear(size, size)
        nn.init.zeros_(self.transform.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) -> (..., size)"""
        return torch.lerp(x, F.relu(self.transform(x)).to(x.dtype), torch.sigmoid(self.gate(x)).to(x.dtype))


class BidirectionalGRU(nn.Module):
    """A GRU in both directions; the backward one starts at each sequence's own end."""

    def __init__(self, n_inputs: int, size: int) -> None:
        super().__init__()
        self.forward_gru = nn.GRU(n_inputs, size, batch_first=True)
        self.backward_gru = nn.GRU(n_inputs, size, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, n_inputs) and mask (B, T, 1) -> (B, T, 2 * size), 0 at the padding"""
        x = x.to(self.forward_gru.weight_ih_l0.dtype)  # keeps its state in fp32 under autocast
        lengths = mask.sum(1, keepdim=True, dtype=torch.long)  # (B, 1, 1)
        positions = torch.arange(x.size(1), device=x.device)[:, None]  # (T, 1)
        reverse = torch.where(positions < lengths, lengths - 1 - positions, positions)  # (B, T, 1)
        forward, _ = self.forward_gru(x)
        backward, _ = self.backward_gru(x.take_along_dim(reverse, dim=1))
        return torch.cat([forward, backward.take_along_dim(reverse, dim=1)], dim=2) * mask


class CBHG(nn.Module):
    """Bank of convolutions, highway network, bidirectional GRU (1703.10135, section 3.1)."""

    def __init__(self, n_inputs: int, channels: int, n_kernels: int, projections: tuple[int, int], n_highways: int) -> None:
        super().__init__()
        self.bank = nn.ModuleList(ConvNorm(n_inputs, channels, kernel) for kernel in range(1, n_kernels + 1))
        self.project = ConvNorm(n_kernels * channels, projections[0], 3)
        self.project_back = ConvNorm(projections[0], projections[1], 3, relu=False)
        same_size = projections[1] == channels
        self.widen = nn.Identity() if same_size else nn.Linear(projections[1], channels, bias=False)
        self.highways = nn.Sequential(*(Highway(channels) for _ in range(n_highways)))
        self.gru = BidirectionalGRU(channels, channels // 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, n_inputs) -> (B, T, channels), 0 at the padding; what x holds at the padding has no influence"""
        x = x * mask
        mask_t = mask.transpose(1, 2).to(x.dtype)  # (B, 1, T)
        y = x.transpose(1, 2)  # (B, C, T)
        y = torch.cat([conv(y, mask_t) for conv in self.bank], dim=1)  # (B, n_kernels * channels, T)
        y = F.max_pool1d(y, 2, stride=1, padding=1)[:, :, :-1] * mask_t  # of each position and the one before it
        y = self.project_back(self.project(y, mask_t), mask_t).transpose(1, 2)  # (B, T, n_inputs)
        return self.gru(self.highways(self.widen(y + x)), mask)
