"""Reads the checkpoints of Real-Time-Voice-Cloning and Resemblyzer; nothing else knows their names."""

from dataclasses import asdict
from typing import Any

from torch import Tensor

from encoder.config import MEL_FORMAT, EncoderConfig


def own_content(content: dict[str, Any]) -> dict[str, Any]:
    """The content of any encoder's file, as a checkpoint of this project holds it. KeyError if it is not an encoder."""
    if "format" in content:
        return content
    config, state = from_published(content.get("model_state", content))
    return {"model": asdict(config), "mel": MEL_FORMAT, "model_state": state, "step": content.get("step", 0)}


def from_published(state: dict[str, Tensor]) -> tuple[EncoderConfig, dict[str, Tensor]]:
    """A published model_state -> configuration and state of EncoderWithLoss. KeyError if a parameter is missing."""
    config = EncoderConfig(
        n_mels=state["lstm.weight_ih_l0"].shape[1],
        hidden_size=state["lstm.weight_ih_l0"].shape[0] // 4,
        n_layers=sum(name.startswith("lstm.weight_ih_l") for name in state),
        embedding_size=state["linear.weight"].shape[0],
    )
    own = {f"loss.{name}": state[f"similarity_{name}"].reshape(()) for name in ("weight", "bias")}
    own |= {f"encoder.{name}": value for name, value in state.items() if not name.startswith("similarity_")}
    return config, own
