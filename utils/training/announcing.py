"""What a run says of itself when it starts."""

from pathlib import Path
from typing import Any


def announcement(stage: str, folder: Path, step: int, content: dict[str, Any], n_parameters: int, n_frozen: int) -> str:
    """Whether the run begins or goes on, where, and the model's size. content: of its checkpoints."""
    init_from = content.get("init_from")
    how = f"starting from {init_from['file']}" if init_from else "starting"
    if step:
        how = f"resuming at step {step}"
    parts = ", ".join(content["frozen"])
    frozen = f" ({n_frozen / 1e6:.2f} M frozen: {parts})" if parts else ""
    return f"{stage}: {how} in {folder}; {n_parameters / 1e6:.2f} M parameters{frozen}"


def parameters(content: dict[str, Any], seed: int, precision: str) -> dict[str, Any]:
    """The table that dashboards show."""
    table = {**content["model"], **content["training"], "seed": seed, "precision": precision}
    if parts := ", ".join(content["frozen"]):
        table["frozen"] = parts
    if init_from := content.get("init_from"):
        table["init_from"] = f"{init_from['file']} at step {init_from['step']}"
    return table
