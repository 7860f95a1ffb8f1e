"""What belongs to the whole batch, when several processes (ranks) share it."""

import torch
from torch import Tensor, nn


def sum_over_ranks(value: Tensor) -> Tensor:
    """The sum over all ranks, with gradient: that of what all ranks made of it. As it is where there is but one."""
    if not has_ranks():
        return value
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(value)


def share_of_mean(total: Tensor, n: Tensor) -> Tensor:
    """total / n of the whole batch, as this rank's share of it: total, n () of its own items.

    The mean over ranks, as DistributedDataParallel makes of gradients, is total / n over all items, however they are spread.
    """
    if not has_ranks():
        return total / n
    n_ranks = torch.distributed.get_world_size()
    return total * n_ranks / sum_over_ranks(n.detach().float())


def has_ranks() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


class BatchNorm(nn.BatchNorm1d):
    """Batch norm whose statistics are those of all ranks together, and of the real positions alone where some are padding."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, T) and mask (B, 1, T), 1 where a position is real -> (B, C, T), 0 at the padding"""
        if not self.training or (mask is None and not has_ranks()):
            normalized = super().forward(x)
            return normalized if mask is None else normalized * mask
        x = x.float()  # sums over a whole batch need more than bf16's 8 bits
        mask = x.new_ones(len(x), 1, x.size(2)) if mask is None else mask
        n = sum_over_ranks(mask.sum())
        mean = sum_over_ranks((x * mask).sum((0, 2), keepdim=True)) / n  # (1, C, 1)
        centred = (x - mean) * mask
        variance = sum_over_ranks(centred.square().sum((0, 2), keepdim=True)) / n
        self.track(mean.flatten(), variance.flatten(), n)
        scale = self.weight[:, None] * (variance + self.eps).rsqrt()
        return centred * scale + self.bias[:, None] * mask

    @torch.no_grad()
    def track(self, mean: Tensor, variance: Tensor, n: Tensor) -> None:
        """Moves the running statistics towards those (C,) of a batch of n positions."""
        unbiased = variance * (n / (n - 1).clamp(min=1))
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(unbiased, self.momentum)
        self.num_batches_tracked += 1
