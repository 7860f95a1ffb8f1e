"""What the fast paths on a CPU ask of torch's tensors."""

import numpy as np
import torch


def autocasts_to_bf16_on_cpu(x: torch.Tensor) -> bool:
    """Whether autocast would make a product with x in bfloat16 on a CPU."""
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return x.device.type == "cpu" and autocast


def bits(tensor: torch.Tensor) -> np.ndarray:
    """The bits of a bfloat16 tensor on the CPU, in the same memory: numpy and numba have no such type."""
    return tensor.detach().view(torch.uint16).numpy()
