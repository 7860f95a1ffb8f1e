"""Where a training step may use the kernels that numba compiles, and how they see tensors."""

import functools
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from utils.models.device import bits


class Kernels(NamedTuple):
    attention: ModuleType
    cells: ModuleType
    norm: ModuleType


@functools.cache
def kernels() -> Kernels | None:
    """None where numba is missing or cannot run, as with a numpy newer than it knows: autograd is used then."""
    try:
        from synthesizer.kernels import attention, cells, norm
    except Exception:  # whatever it is, it costs speed alone
        return None
    return Kernels(attention, cells, norm)


def product_dtype(x: Tensor) -> torch.dtype | None:
    """In which products with x are made around the kernels; None where torch alone has to do, as on a GPU and without numba."""
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    able = x.device.type == "cpu" and dtype in (torch.float32, torch.bfloat16) and kernels() is not None
    return dtype if able else None


def array(tensor: Tensor) -> np.ndarray:
    """A tensor on the CPU in the same memory; bfloat16 as its bits."""
    return bits(tensor) if tensor.dtype == torch.bfloat16 else tensor.detach().numpy()


def weight_gradient(d_products: Tensor, inputs: Tensor, dtype: torch.dtype) -> Tensor:
    """Of a weight (C_out, C_in), multiplied in dtype, from its products' (S, ..., C_out) with inputs (S, ..., C_in)"""
    d_products, inputs = (t.flatten(0, -2).to(dtype) for t in (d_products, inputs))
    return (d_products.t() @ inputs).float()
