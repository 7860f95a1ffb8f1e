"""Checkpoints as safetensors files: the weights, and all plain settings as JSON in the metadata. Reading one runs no code."""

import json
from pathlib import Path
from typing import Any

import torch

from utils.config import with_tuples
from utils.models import safe_tensors

KEY = "sv2tts"  # of the settings in the metadata
DTYPES = {
    **{"BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64},
    **{"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64},
}


def serialized(content: dict[str, Any]) -> bytes:
    """A checkpoint's content, without training state, as the bytes of a file."""
    from safetensors.torch import save

    settings = {name: value for name, value in content.items() if name != "model_state"}
    state = {name: value.detach().cpu().contiguous() for name, value in content["model_state"].items()}
    return save(state, {KEY: json.dumps(settings, sort_keys=True)})  # one key, as the order of several is random


def read(path: Path, device: str | torch.device) -> dict[str, Any]:
    """The content that `serialized` was given. ValueError for a file that is damaged or something else."""
    metadata, stored = safe_tensors.read(path)
    try:
        settings = json.loads(metadata.get(KEY, "null"))
    except RecursionError as error:
        raise ValueError(error) from error
    if not isinstance(settings, dict) or "model_state" in settings:
        raise ValueError(f"its metadata has no settings of a model under {KEY!r}")
    return {name: with_tuples(value) for name, value in settings.items()} | {
        "model_state": {name: _tensor(each).to(device) for name, each in stored.items()}
    }


def _tensor(stored: safe_tensors.Stored) -> torch.Tensor:
    if not stored.data:  # frombuffer takes no empty one
        return torch.empty(stored.shape, dtype=DTYPES[stored.dtype])
    return torch.frombuffer(bytearray(stored.data), dtype=DTYPES[stored.dtype]).reshape(stored.shape)
