"""Which speaker encoder a model was trained with. Embeddings of another one fit by shape, but make another voice."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.data.paths import sha256

if TYPE_CHECKING:
    from torch import Tensor


def digests(state: "Mapping[str, Tensor]", path: Path) -> list[str]:
    """What identifies an encoder: the SHA-256 of its weights, and that of its file, which older data refers to.

    The weights count in half precision, so an export of an encoder is the same encoder.
    """
    weights = hashlib.sha256()
    for name, value in sorted(state.items()):
        weights.update(f"{name} {tuple(value.shape)}\n".encode())
        weights.update(value.detach().cpu().half().numpy().tobytes())
    return [weights.hexdigest(), sha256(path)]


def differ(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether these are digests of two encoders. An empty list may be of any encoder."""
    return bool(one and other and not set(one) & set(other))


def warn_if_different(source: Path, used: Sequence[str], model: Path, trained_with: Sequence[str]) -> None:
    """Prints a line if `source`, an encoder or a folder of its embeddings, does not go with the model."""
    if differ(used, trained_with):
        print(
            f"warning: {source} is of encoder {used[0][:8]}, but {model} was trained with encoder {trained_with[0][:8]}; "
            "voices will be less alike"
        )
