"""How large a model will be, before any memory is taken for it."""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from utils.errors import UserError

TRAINING_BYTES = 16  # for a parameter, its gradient and Adam's two moments
MOST_TENSORS = 4_000  # in a model; making more of them takes seconds even without numbers


class _WithoutNumbers(TorchFunctionMode):
    """torch.empty takes no memory, and what it gives is not filled. torch.device("meta") would fill it, and loads torch's
    compiler for that, which takes seconds."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty:
            return func(*args, **(kwargs | {"device": "meta"}))
        tensor = args[0] if args else kwargs.get("tensor")
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "kaiming_uniform_") and tensor.is_meta:
            return tensor
        return func(*args, **kwargs)


class TooLargeError(ValueError):
    """The model has more parameters than it may have."""


def n_parameters(make: Callable[[], nn.Module], at_most: int) -> int:
    """The number of parameters of make(), which runs without memory for them. TooLargeError as soon as there are more."""
    found = {"tensors": 0, "numbers": 0}

    def count(module: nn.Module, name: str, tensor: torch.Tensor | None) -> None:
        found["tensors"] += 1
        found["numbers"] += 0 if tensor is None else tensor.numel()
        if found["tensors"] > MOST_TENSORS:
            raise TooLargeError(f"the model has over {MOST_TENSORS:,} layers")
        if found["numbers"] > at_most:
            raise TooLargeError(f"the model has over {found['numbers']:,} parameters, and {at_most:,} fit")

    hook = register_module_parameter_registration_hook(count)
    try:
        with _WithoutNumbers():
            make()
    except (RuntimeError, OverflowError, MemoryError) as error:  # a size that no number holds
        raise TooLargeError(f"the model's sizes are absurd ({' '.join(str(error).split())[:100]})") from error
    finally:
        hook.remove()
    return found["numbers"]


def of_state(make: Callable[[], nn.Module], state: dict[str, torch.Tensor]) -> nn.Module:
    """make(), whose sizes come from a file. TooLargeError for many more parameters than the file's state has numbers.

    What differs a little is left to load_state_dict, which says what.
    """
    n_parameters(make, 1_000_000 + 2 * sum(value.numel() for value in state.values()))
    return make()


def to_train(make: Callable[[], nn.Module], device: torch.device) -> nn.Module:
    """make(), on the device. UserError if model, gradients and optimizer need more memory than there is."""
    memory = _memory(device)
    try:
        n_parameters(make, memory // TRAINING_BYTES)
    except TooLargeError as error:
        fit = f"{memory / 1e9:.0f} GB of memory, at {TRAINING_BYTES} bytes per parameter in training"
        raise UserError(f"--hparams: {error} ({fit}); make it smaller", exit_code=2) from error
    return make().to(device)


def _memory(device: torch.device) -> int:
    """Bytes that there are on the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 2**40  # Windows does not say
