"""Building blocks of Tacotron (1703.10135, section 3), whose results never depend on padding.

Shapes: B utterances, T positions (characters or frames), C channels. `mask` is (B, T, 1), 1 where a position is real and
0 where it is padding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthesizer.gru import BidirectionalGRU
from synthesizer.norm import BankNorm, can_normalize
from utils.training.ranks import BatchNorm


def sequence_mask(lengths: Tensor, size: int) -> Tensor:
    """(B,) lengths -> (B, size) bool, True inside each sequence."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


class PreNet(nn.Module):
    """Two narrow layers whose dropout stays on at inference too: it is what makes the decoder heed the text."""

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
    """Convolution, ReLU if asked, then batch norm (in this order)."""

    def __init__(self, n_inputs: int, n_outputs: int, kernel: int, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_inputs, n_outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = BatchNorm(n_outputs)
        self.relu = relu

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, C_in, T), 0 at the padding, and mask (B, 1, T) -> (B, C_out, T), 0 at the padding"""
        convolved = self.conv(x)
        if self.norm.training and can_normalize(convolved):
            return _bank_norm([convolved], [self.norm], mask, self.relu, pool=False)
        convolved = convolved[:, :, : x.size(2)]  # an even kernel gives one position too many
        return self.norm(F.relu(convolved) if self.relu else convolved, mask)


def _bank_norm(convolved: list[Tensor], norms: list[BatchNorm], mask: Tensor, relu: bool, pool: bool) -> Tensor:
    """Several (B, C, T) and mask (B, 1, T) -> (B, sum of C, T), in training; see synthesizer.norm."""
    lengths = mask.sum((1, 2), dtype=torch.long)
    dtype = convolved[0].dtype if relu else torch.float32  # what follows a ReLU is the next convolution
    weights, biases = ([getattr(norm, name) for norm in norms] for name in ("weight", "bias"))
    y, *moments = BankNorm.apply(lengths, mask.size(2), (relu, pool), dtype, norms[0].eps, *convolved, *weights, *biases)
    for norm, mean, variance in zip(norms, *(m.split([len(weight) for weight in weights]) for m in moments), strict=True):
        norm.track(mean, variance, lengths.sum())
    return y


class Highway(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.transform = nn.Linear(size, size)
        self.gate = nn.Linear(size, size)
        nn.init.zeros_(self.transform.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) -> (..., size)"""
        return torch.lerp(x, F.relu(self.transform(x)).to(x.dtype), torch.sigmoid(self.gate(x)).to(x.dtype))


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
        """(B, T, n_inputs) -> (B, T, channels), 0 at the padding; what the padding of x holds has no influence"""
        x = x * mask
        across = mask.transpose(1, 2).to(x.dtype)  # (B, 1, T)
        y = x.transpose(1, 2)  # (B, C, T)
        y = self._pooled_bank(y, across)
        y = self.project_back(self.project(y, across), across).transpose(1, 2).contiguous()  # (B, T, n_inputs)
        return self.gru(self.highways(self.widen(y + x)), mask)

    def _pooled_bank(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, C, T) and mask (B, 1, T) -> (B, n_kernels * channels, T), the larger of each position and the one before it"""
        if all(conv.norm.training for conv in self.bank) and can_normalize(x):  # some or all may be frozen
            convolved = [conv.conv(x) for conv in self.bank]
            return _bank_norm(convolved, [conv.norm for conv in self.bank], mask, relu=True, pool=True)
        y = torch.cat([conv(x, mask) for conv in self.bank], dim=1)
        return F.max_pool1d(y, 2, stride=1, padding=1)[:, :, :-1] * mask
