"""Checkpoints as safetensors files: the weights, and all plain settings as JSON in the metadata. Reading one runs no code."""

import json
from pathlib import Path
from typing import Any

import torch

SUFFIX = ".safetensors"
KEY = "sv2tts"  # of the settings in the metadata
LARGEST_HEADER = 4_000_000  # bytes; names of tensors and settings take 20,000


def serialized(content: dict[str, Any]) -> bytes:
    """A checkpoint's content, without training state, as the bytes of a file."""
    from safetensors.torch import save

    settings = {name: value for name, value in content.items() if name != "model_state"}
    state = {name: value.detach().cpu().contiguous() for name, value in content["model_state"].items()}
    return save(state, {KEY: json.dumps(settings, sort_keys=True)})  # one key, as the order of several is random


def read(path: Path, device: str | torch.device) -> dict[str, Any]:
    """The content that `serialized` was given. ValueError for a file that is damaged or something else."""
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
    if not 2 <= n_header <= min(LARGEST_HEADER, path.stat().st_size - 8):
        raise ValueError(f"its header claims {n_header:,} bytes")
    try:
        with safe_open(path, "pt") as file:
            settings = json.loads((file.metadata() or {}).get(KEY, "null"))
            state = {name: file.get_tensor(name).to(device, copy=True) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, RecursionError) as error:
        raise ValueError(error) from error
    if not isinstance(settings, dict) or "model_state" in settings:
        raise ValueError(f"its metadata has no settings of a model under {KEY!r}")
    return {name: _with_tuples(value) for name, value in settings.items()} | {"model_state": state}


def _with_tuples(value: Any) -> Any:
    """The settings in a dictionary have tuples where JSON has lists."""
    if not isinstance(value, dict):
        return value
    return {name: tuple(each) if isinstance(each, list) else _with_tuples(each) for name, each in value.items()}
