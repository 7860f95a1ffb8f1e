"""Checkpoints: plain containers, written so that only a finished one is ever seen, read without running code from them."""

from pathlib import Path
from typing import Any

import torch

from utils.cli import UserError
from utils.paths import write_atomically

STAGES = ("encoder", "synthesizer", "vocoder")


def stage_format(stage: str) -> str:
    """The `format` entry of this project's checkpoints of a stage."""
    return f"sv2tts-{stage}-1"


def save(path: Path, content: dict[str, Any]) -> None:
    """Write beside `path`, flush to disk, rename: a crash leaves the previous checkpoint whole."""
    with write_atomically(path) as temporary:
        torch.save(content, temporary)


def load(path: Path, stage: str, device: str | torch.device = "cpu", published: bool = False) -> dict[str, Any]:
    """The content of a checkpoint of "encoder", "synthesizer" or "vocoder".

    With `published`, a file that does not carry this project's format (the weights that others published) is returned as it
    is, for the package's from_published. Raises UserError when it is missing, cut short, no checkpoint or of another stage.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such {stage} checkpoint; train one with {stage}_train.py or name another file")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # on a file of another kind the unpickler fails in every way there is
        raise UserError(f"{path}: cannot be read as a checkpoint; it is cut short, damaged or something else") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not a checkpoint but holds a {type(content).__name__}")
    found = content.get("format")
    if found == stage_format(stage) or (published and found is None):
        return content
    other = next((name for name in STAGES if found == stage_format(name)), None)
    problem = f"is a checkpoint of the {other}" if other else f"has the format {found!r}"
    raise UserError(f"{path}: {problem}; a {stage} checkpoint ({stage_format(stage)}) is needed here")
