"""A bidirectional GRU whose directions stay within each sequence, and its way without gradients on a CPU: compiled."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BidirectionalGRU(nn.Module):
    """Its backward direction begins at each sequence's own end."""

    def __init__(self, n_inputs: int, size: int) -> None:
        super().__init__()
        self.ahead = nn.GRU(n_inputs, size, batch_first=True)
        self.back = nn.GRU(n_inputs, size, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, n_inputs) and mask (B, T, 1) -> (B, T, 2 * size), 0 at the padding"""
        if not torch.is_grad_enabled() and _can_compile(x):
            return self._compiled(x, mask)
        positions = torch.arange(x.size(1), device=x.device)  # (T,)
        lengths = mask.sum(1, dtype=torch.long)  # (B, 1)
        # Turning each sequence within its own length costs no copy to the host, as packing would.
        turned = torch.where(positions < lengths, lengths - 1 - positions, positions)[:, :, None]  # (B, T, 1)
        ahead, _ = self.ahead(x)
        back, _ = self.back(x.gather(1, turned.expand_as(x)))
        back = back.gather(1, turned.expand_as(back))
        return torch.cat([ahead, back], dim=2) * mask

    def _compiled(self, x: Tensor, mask: Tensor) -> Tensor:
        """forward, one direction beside the other where there are two threads."""
        lengths = mask.sum((1, 2), dtype=torch.long).numpy()
        with ThreadPoolExecutor(1) as other:
            at_once = torch.get_num_threads() > 1
            back = other.submit(_direction, self.back, _inputs(self.back, x), lengths, True) if at_once else None
            ahead = _direction(self.ahead, _inputs(self.ahead, x), lengths, False)
            back = back.result() if back else _direction(self.back, _inputs(self.back, x), lengths, True)
        return torch.cat([ahead, back], dim=2)


def _inputs(gru: nn.GRU, x: Tensor) -> Tensor:
    """All inputs' products: (B, T, n_inputs) -> (B, T, 3 size)"""
    return F.linear(x, gru.weight_ih_l0, gru.bias_ih_l0)


def _direction(gru: nn.GRU, of_inputs: Tensor, lengths: np.ndarray, backwards: bool) -> Tensor:
    """(B, T, 3 H) -> (B, T, H), 0 at the padding; the recurrence's products in bfloat16 if of_inputs is"""
    from synthesizer.gru_kernels import recurrence
    from utils import vectors

    (B, T, _), H = of_inputs.shape, gru.hidden_size
    packed = vectors.pack(gru.weight_hh_l0.detach().t().numpy(), of_inputs.dtype == torch.bfloat16)
    hidden, outputs = np.zeros((B, H), np.float32), np.zeros((B, T, H), np.float32)
    hidden_in = np.zeros((B, packed.shape[1]), packed.dtype)
    sums = np.empty((B, packed.shape[0] * packed.shape[2]), np.float32)
    bias = gru.bias_hh_l0.detach().numpy()
    recurrence(of_inputs.detach().float().numpy(), packed, bias, lengths, backwards, hidden, hidden_in, sums, outputs)
    return torch.from_numpy(outputs)


def _can_compile(x: Tensor) -> bool:
    """On a CPU with numba, and with bfloat16 products where autocast asks for them."""
    if x.device.type != "cpu":
        return False
    try:
        from utils import vectors
    except ImportError:
        return False
    if not torch.is_autocast_enabled("cpu"):
        return x.dtype == torch.float32
    return torch.get_autocast_dtype("cpu") == torch.bfloat16 and vectors.HAS_BF16
