"""A bidirectional GRU whose directions stay within each sequence, and its way without gradients on a CPU: compiled."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthesizer.recurrence import GRUPair
from synthesizer.training_products import product_dtype


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
        turned = torch.where(positions < lengths, lengths - 1 - positions, positions)  # (B, T)
        rows = turned + x.size(1) * torch.arange(len(x), device=x.device)[:, None]
        ahead, back = self._directions(x, Turned.apply(x, rows))
        return torch.cat([ahead, Turned.apply(back, rows)], dim=2) * mask

    def _directions(self, x: Tensor, turned: Tensor) -> tuple[Tensor, Tensor]:
        """What each direction reads (B, T, n_inputs) -> what it says (B, T, size)"""
        dtype = product_dtype(x)
        if dtype is None or not torch.is_grad_enabled():
            return self.ahead(x)[0], self.back(turned)[0]
        inputs = torch.stack([_inputs(self.ahead, x.transpose(0, 1)), _inputs(self.back, turned.transpose(0, 1))], dim=1)
        weights = self.ahead.weight_hh_l0, self.back.weight_hh_l0, self.ahead.bias_hh_l0, self.back.bias_hh_l0
        return GRUPair.apply(inputs, dtype, *weights).transpose(0, 2).unbind(1)

    def _compiled(self, x: Tensor, mask: Tensor) -> Tensor:
        """forward, one direction beside the other where there are two threads."""
        lengths = mask.sum((1, 2), dtype=torch.long).numpy()
        with ThreadPoolExecutor(1) as other:
            at_once = torch.get_num_threads() > 1
            back = other.submit(_direction, self.back, _inputs(self.back, x), lengths, True) if at_once else None
            ahead = _direction(self.ahead, _inputs(self.ahead, x), lengths, False)
            back = back.result() if back else _direction(self.back, _inputs(self.back, x), lengths, True)
        return torch.cat([ahead, back], dim=2)


class Turned(torch.autograd.Function):
    """Rows of x (B, T, C) in another order (B, T), which leads back when it is followed twice. Indexing alone would sum up
    gradients as if rows could repeat."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return _reordered(x, rows)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return _reordered(gradient, rows), None


def _reordered(x: Tensor, rows: Tensor) -> Tensor:
    return x.flatten(0, 1).index_select(0, rows.flatten()).view_as(x)


def _inputs(gru: nn.GRU, x: Tensor) -> Tensor:
    """All inputs' products: (B, T, n_inputs) -> (B, T, 3 size)"""
    return F.linear(x, gru.weight_ih_l0, gru.bias_ih_l0)


def _direction(gru: nn.GRU, of_inputs: Tensor, lengths: np.ndarray, backwards: bool) -> Tensor:
    """(B, T, 3 H) -> (B, T, H), 0 at the padding; the recurrence's products in bfloat16 if of_inputs is"""
    from synthesizer.kernels.gru import recurrence
    from utils.cpu import vectors

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
        from utils.cpu import vectors
    except ImportError:
        return False
    if not torch.is_autocast_enabled("cpu"):
        return x.dtype == torch.float32
    return torch.get_autocast_dtype("cpu") == torch.bfloat16 and vectors.HAS_BF16
