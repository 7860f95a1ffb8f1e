"""A moving average of a model's weights: it sounds cleaner than the weights of any single step."""

import copy

import torch
from torch import nn


class Average:
    """Exponential moving average of weights and running statistics: a `model`, for evaluation, and its `state`, in the same
    memory.

    `decay` is the share of the average that each step keeps. It is lower in the first steps, to forget the random start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        for module in self.model.modules():
            if isinstance(module, nn.RNNBase):
                module.flatten_parameters()  # a copy's weights lie apart, and cuDNN would join them at every call
        self.state = self.model.state_dict()

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """To be called after training step `step` (1, 2, ...)."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        pairs = [(self.state[name], value) for name, value in model.state_dict().items()]
        averages, values = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
        torch._foreach_lerp_(averages, values, share)
        for counter, value in pairs:
            if not counter.is_floating_point():
                counter.copy_(value)
