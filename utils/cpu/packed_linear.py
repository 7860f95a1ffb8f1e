"""A linear layer for recurrences on a CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor


class PackedLinear:
    """x -> F.linear(x, weight, bias) for many x, (n_rows, C_in) each, without gradients.

    A recurrence multiplies a few rows with the same large matrix again and again. oneDNN does that in half the time when it
    has arranged the matrix once; torch does so anew in every product.
    """

    def __init__(self, weight: Tensor, n_rows: int, bias: Tensor | None = None) -> None:
        self.weight, self.bias = weight, bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), n_rows) if _can_pack(weight) else None

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        if self.packed is None:
            return F.linear(x, self.weight, self.bias)
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")


def _can_pack(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if not (hasattr(torch.ops.mkldnn, "_reorder_linear_weight") and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False  # they are not torch's public interface
    return weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
