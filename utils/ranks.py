"""Numbers that belong to the whole batch, when several processes (ranks) share it."""

import torch
from torch import Tensor


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
