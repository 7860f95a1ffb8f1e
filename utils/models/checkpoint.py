"""Checkpoints: plain containers, written so that only a finished one is ever seen, read without running code from them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from utils.config import DEFAULT_MODELS
from utils.data.paths import write_atomically
from utils.errors import UserError

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
    is, for the package's own_content. Raises UserError when it is missing, cut short, no checkpoint or of another stage.
    """
    path = Path(path)
    if not path.is_file():
        fetched = "`make weights` fetches it; or " if path == DEFAULT_MODELS / "encoder.pt" else ""
        raise UserError(f"{path}: no such {stage} checkpoint; {fetched}train one with {stage}_train.py or name another file")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # on a file of another kind the unpickler fails in every way there is
        raise UserError(f"{path}: cannot be read as a checkpoint; it is cut short, damaged or something else") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not a checkpoint but holds a {type(content).__name__}")
    found = content.get("format")
    if found == stage_format(stage) or (published and found is None):
        _check_finite(path, content.get("model_state", content))
        return content
    other = next((name for name in STAGES if found == stage_format(name)), None)
    problem = f"is a checkpoint of the {other}" if other else f"has the format {found!r}"
    raise UserError(f"{path}: {problem}; a checkpoint of the {stage} ({stage_format(stage)}) is needed here")


def averaged(content: dict[str, Any]) -> dict[str, Any]:
    """With the average of the weights for weights, if there is one: what a model speaks with."""
    return content | {"model_state": content.get("average_state", content["model_state"])}


def _check_finite(path: Path, state: dict[str, Any]) -> None:
    weights = [value for value in state.values() if isinstance(value, torch.Tensor) and value.is_floating_point()]
    if not all(bool(torch.isfinite(value).all()) for value in weights):
        raise UserError(f"{path}: holds weights that are not finite numbers; its training went wrong, take a backup")


@contextmanager
def restoring(path: Path, stage: str) -> Iterator[None]:
    """What makes a model of a checkpoint's content belongs inside: whatever does not fit becomes a UserError of one line."""
    try:
        yield
    except (UserError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        problem = f"does not hold the weights of a fitting {stage}; it is damaged or of another version ({reason})"
        raise UserError(f"{path}: {problem}") from error
