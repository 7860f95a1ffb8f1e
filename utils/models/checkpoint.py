"""Checkpoints: plain containers, replaced atomically, and loaded without running code from them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from utils.config import default_model
from utils.data.paths import make_durable, refuse_address, write_atomically
from utils.errors import UserError
from utils.models import untrusted

STAGES = ("encoder", "synthesizer", "vocoder")
SUFFIXES = (".safetensors", ".pt")
NO_SYMBOLS = {"symbols": type(None), "encoder_sha256": type(None)}  # in what is no synthesizer
# Of some entries.
KINDS = {"symbols": str, "encoder_sha256": list, "step": int, "patience": dict, "rules": dict, "frozen": list}
MOST_STEPS = 10**15


def stage_format(stage: str) -> str:
    """The `format` entry of this project's checkpoints of a stage."""
    return f"sv2tts-{stage}-1"


def save(path: Path, content: dict[str, Any]) -> None:
    """Write atomically: a crash or a power loss leaves the previous checkpoint whole. DiskFull if there is no room."""
    path = Path(path)
    with write_atomically(path, sum(each.numel() * each.element_size() for _, each in tensors(content))) as temporary:
        torch.save(content, temporary)
    make_durable(path.parent)


def tensors(content: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors in plain containers, with their dotted names. A container is looked into once, however often it is held."""
    waiting, seen = [("", content)], set()
    while waiting:
        name, each = waiting.pop()
        if isinstance(each, torch.Tensor):
            yield name, each
        elif isinstance(each, dict | list | tuple | set | frozenset) and id(each) not in seen:
            seen.add(id(each))
            inside = each.items() if isinstance(each, dict) else enumerate(each)
            waiting += [(f"{name}.{key}".lstrip("."), value) for key, value in inside]


def not_finite(content: Any) -> str:
    """The name of a tensor with numbers that are not finite; empty if there is none."""
    floating = ((name, each) for name, each in tensors(content) if each.is_floating_point())
    return next((name for name, each in floating if not bool(torch.isfinite(each).all())), "")


def load(path: Path, stage: str, device: str | torch.device = "cpu", published: bool = False) -> dict[str, Any]:
    """The content of a checkpoint of "encoder", "synthesizer" or "vocoder".

    With `published`, weights published elsewhere, which lack this project's format entry, are accepted too and returned as they
    are, for the package's own_content. Raises UserError if the file is missing, damaged, no checkpoint or of another stage.
    """
    path = model_file(Path(path), stage)
    if not path.is_file():
        raise UserError(f"{path}: no such {stage} checkpoint; {where_from(path, stage)}")
    try:
        untrusted.check_archive(path)
        content = _read(path, device)
        untrusted.check_tensors((each for _, each in tensors(content)), path.stat().st_size)
    except Exception as error:  # files of other kinds make the unpickler fail in many ways
        if name := untrusted.called(path):
            problem = f"is a pickle that would run {name[:80]!r} when loaded, which no model needs; it was not run"
            raise UserError(f"{path}: {problem}; delete this file") from error
        reason = f" ({error})" if type(error) is ValueError else ""
        problem = f"cannot be read as a checkpoint{reason}; it is cut short, damaged or something else"
        raise UserError(f"{path}: {problem}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not a checkpoint but holds a {type(content).__name__}")
    found = content.get("format")
    if found == stage_format(stage) or (published and found is None):
        state = content.get("model_state", content)
        if not isinstance(state, dict):
            raise UserError(f"{path}: is damaged, its model_state is a {type(state).__name__}")
        for name, kind in KINDS.items() if found else ():
            if type(content.get(name, kind())) not in (kind, NO_SYMBOLS.get(name)):
                raise UserError(f"{path}: is damaged, its {name} is a {type(content[name]).__name__}")
        if found and not 0 <= content.get("step", 0) < MOST_STEPS:
            raise UserError(f"{path}: is damaged, its step is {content['step']:.3g}")
        if name := not_finite(content):
            raise UserError(f"{path}: {name} holds numbers that are not finite; its training went wrong, use a backup")
        return content
    other = next((name for name in STAGES if found == stage_format(name)), None)
    found = repr(found)[:40] if isinstance(found, str) else type(found).__name__  # others may be of any length
    problem = f"is a checkpoint of the {other}" if other else f"has the format {found}"
    raise UserError(f"{path}: {problem}; a checkpoint of the {stage} ({stage_format(stage)}) is needed here")


def where_from(path: Path, stage: str) -> str:
    """What to do about a model's file that is missing."""
    fetched = "`make weights` fetches it; or " if path.absolute() == default_model("encoder").absolute() else ""
    return f"{fetched}train one with {stage}_train.py or name another file"


def _read(path: Path, device: str | torch.device) -> Any:
    if path.suffix != ".safetensors":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about kinds of pickle
            return torch.load(path, map_location=device, weights_only=True)
    from utils.models import tensors_file

    return tensors_file.read(path, device)


def model_file(path: Path, stage: str) -> Path:
    """The path of a file; of a folder, that of the stage's file in it. UserError for an address, for
    two such files, and for ONNX files."""
    refuse_address(path)
    if path.suffix == ".onnx":
        raise UserError(f"{path}: is an ONNX file, which demo/onnx_runner.py alone reads; name a .safetensors or .pt file here")
    if path.is_file() or (path.suffix and not path.is_dir()):
        return path
    found = [file for suffix in SUFFIXES if (file := path / f"{stage}{suffix}").is_file()]
    if len(found) > 1:
        raise UserError(f"{path}: holds both {found[0].name} and {found[1].name}; name one of them")
    if not found and next(path.glob(f"{stage}*.onnx"), None):
        raise UserError(
            f"{path}: holds ONNX files, which demo/onnx_runner.py alone reads; name a folder of .safetensors or .pt here"
        )
    return found[0] if found else path / f"{stage}.pt"


def or_default(path: str | Path | None, stage: str) -> Path:
    """The path of the stage's file; without one, of the stage's default model, which a line says."""
    if path is not None:
        return model_file(Path(path), stage)
    print(f"{stage}: {default_model(stage)}, as no file was named")
    return default_model(stage)


def averaged(content: dict[str, Any]) -> dict[str, Any]:
    """The content with the averaged weights, if there are any, as model_state: a model speaks with them."""
    return content | {"model_state": content.get("average_state", content["model_state"])}


@contextmanager
def restoring(path: Path, stage: str) -> Iterator[None]:
    """`with restoring(path, stage):` around the use of a checkpoint's content: whatever does not fit becomes a UserError."""
    try:
        yield
    except (UserError, AttributeError, LookupError, TypeError, ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        problem = f"does not hold the weights of a fitting {stage}; it is damaged or of another version ({reason})"
        raise UserError(f"{path}: {problem}") from error
