"""Sums, means and batch norm over the whole batch, which several processes (ranks) may share."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def sum_over_ranks(value: Tensor) -> Tensor:
    """The sum over all ranks, through which gradients flow back to all of them."""
    if not has_ranks():
        return value
    return _Sum.apply(value)


class _Sum(torch.autograd.Function):
    """The sum over all ranks. Each rank's loss depends on it, so its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)


def share_of_mean(total: Tensor, n: Tensor) -> Tensor:
    """This rank's share of the mean over the whole batch, from the sum () and the number () of its own items.

    DistributedDataParallel averages gradients over ranks: the average of these shares is the mean over all items, however many
    each rank has.
    """
    if not has_ranks():
        return total / n
    n_ranks = torch.distributed.get_world_size()
    return total * n_ranks / sum_over_ranks(n.detach().float())


@torch.no_grad()
def mean_over_ranks(values: Mapping[str, float | Tensor]) -> dict[str, float | Tensor]:
    """The numbers with tensors of one number each replaced by their means over all ranks."""
    tensors = {name: value.detach().float() for name, value in values.items() if isinstance(value, Tensor)}
    if not has_ranks() or not tensors:
        return dict(values)
    packed = torch.stack([*tensors.values()])
    torch.distributed.all_reduce(packed)
    return dict(values) | dict(zip(tensors, packed / torch.distributed.get_world_size(), strict=True))


def has_ranks() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


@torch.no_grad()
def average_gradients(model: nn.Module) -> None:
    """The mean over ranks of each gradient: DistributedDataParallel's result, in operations that a CUDA graph can hold."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    parts = flat.div_(torch.distributed.get_world_size()).split([gradient.numel() for gradient in gradients])
    torch._foreach_copy_(gradients, [part.view_as(each) for part, each in zip(parts, gradients, strict=True)])


class BatchNorm(nn.BatchNorm1d):
    """Batch norm with the statistics of all ranks together, over real positions only, without padding."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, T) and mask (B, 1, T), 1 at real positions -> (B, C, T), 0 at padding"""
        if not self.training or (mask is None and not has_ranks()):
            normalized = super().forward(x)
            return normalized if mask is None else normalized * mask
        x = x.float()  # bf16 is too coarse for sums over a batch
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
        """Move the running statistics towards the mean (C,) and variance (C,) of a batch of n positions."""
        unbiased = variance * (n / (n - 1).clamp(min=1))
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(unbiased, self.momentum)
        self.num_batches_tracked += 1
