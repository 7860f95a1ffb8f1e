"""Settings: dataclasses whose fields `--hparams` changes by name. Imports nothing heavy."""

import dataclasses
import difflib
import math
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.errors import UserError

# Beside the scripts, from wherever they are run.
DEFAULT_MODELS = Path(__file__).resolve().parent.parent / "saved_models" / "default"


def default_model(name: str) -> Path:
    """The file of "encoder", "synthesizer" or "vocoder" that is used unless another one is named."""
    return from_here(DEFAULT_MODELS / f"{name}.pt")


def from_here(path: Path) -> Path:
    """The path relative to the current folder, which is shorter, if it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def setting(default: Any, meaning: str, unit: str = "", of_weights: bool = False, adjustable: bool = False) -> Any:
    """A field of a settings dataclass: its default, its meaning and its unit, which `-h` and docs/settings.md show.

    of_weights: a training setting that says how the weights are to be used, so --init_from takes it from the file.
    adjustable: a setting of a model that --hparams may change after its weights were trained.
    """
    metadata = {"meaning": meaning, "unit": unit, "of_weights": of_weights, "adjustable": adjustable}
    return dataclasses.field(default=default, metadata=metadata)


# What a setting means that several stages have
CLIP = "largest norm of the gradient; a larger one is scaled down to it"
AVERAGE_DECAY = "decay per step of the moving average of the weights, which is what speaks; 0 takes the last weights"
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
PRECISION = (
    "auto: fp16 on a GPU, bf16 on CPUs that have it, about twice as fast and the same to the ear; fp32; bf16; fp16 (GPU only)"
)


def marked(config: Any, mark: str) -> set[str]:
    """The names of a dataclass's settings with this mark, "of_weights" or "adjustable"."""
    return {field.name for field in dataclasses.fields(config) if field.metadata.get(mark)}


class Described(typing.NamedTuple):
    """A setting as shown to the user."""

    name: str
    default: str  # as written after --hparams
    unit: str
    meaning: str


def describe(config: Any) -> list[Described]:
    """The settings of a dataclass, in order. Given an instance, its values are the defaults."""
    values = config() if isinstance(config, type) else config
    return [
        Described(f.name, as_text(getattr(values, f.name)), f.metadata.get("unit", ""), f.metadata.get("meaning", ""))
        for f in dataclasses.fields(values)
    ]


def as_text(value: Any) -> str:
    """The inverse of _converted."""
    if isinstance(value, tuple):
        return ":".join(map(as_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse_overrides(text: str) -> dict[str, str]:
    """`"a=1,b=2"` -> {"a": "1", "b": "2"}. Raises UserError (exit 2) for anything that is not name=value."""
    overrides = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise UserError(f"--hparams: {part[:80]!r} is not name=value (write --hparams a=1,b=2)", exit_code=2)
        overrides[name.strip()] = value.strip()
    return overrides


def check_at_least(config: Any, minimum: float, *names: str) -> None:
    """For the __post_init__ of a dataclass: ValueError if one of these fields, or a number in it, is less than the minimum."""
    for name in names:
        value = getattr(config, name)
        if min(value if isinstance(value, tuple) else (value,), default=minimum) < minimum:
            raise ValueError(f"{name} must be at least {minimum}, not {value}")


def check_positive(config: Any, *names: str) -> None:
    """As check_at_least: ValueError if one of these fields is 0 or less."""
    for name in names:
        if getattr(config, name) <= 0:
            raise ValueError(f"{name} must be positive, not {getattr(config, name):g}")


def check_choice(config: Any, choices: Sequence[str], name: str) -> None:
    """As check_at_least: ValueError if this field is none of the choices."""
    if getattr(config, name) not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {getattr(config, name)}")


def check_at_most(config: Any, maximum: float, *names: str) -> None:
    """As check_at_least, for sizes that would take all memory."""
    for name in names:
        if getattr(config, name) > maximum:
            raise ValueError(f"{name} must be at most {maximum}, not {getattr(config, name)}")


def rebuilt(kind: type, values: dict[str, Any]) -> Any:
    """The dataclass from values that a file holds. ValueError for a value of another type, or that it refuses itself."""
    types = typing.get_type_hints(kind)
    for name, value in values.items():
        wanted = types.get(name)
        parts = value if typing.get_origin(wanted) is tuple and isinstance(value, tuple | list) else (value,)
        wanted = typing.get_args(wanted)[0] if typing.get_origin(wanted) is tuple else wanted
        if wanted in (int, float, bool, str) and not all(_is_of(part, wanted) for part in parts):
            raise ValueError(f"{name} is not of type {_label(wanted)}")
    return kind(**values)


def with_tuples(values: Any) -> Any:
    """What JSON made of a dictionary of settings, with tuples again where it has lists."""
    if not isinstance(values, dict):
        return values
    return {name: tuple(each) if isinstance(each, list) else with_tuples(each) for name, each in values.items()}


def _is_of(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def override(overrides: dict[str, str], *configs: Any) -> tuple[Any, ...]:
    """Copies of the dataclass instances with the named fields replaced, in every instance that has them.

    Raises UserError (exit 2) for an unknown name, with the nearest known ones, and for a value of the wrong type.
    """
    known = {field.name for config in configs for field in dataclasses.fields(config)}
    for name in overrides:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)
            raise UserError(f"--hparams: no setting is called {name[:80]!r}; nearest: {', '.join(near)}", exit_code=2)
    return tuple(_replaced(config, overrides) for config in configs)


def _replaced(config: Any, overrides: dict[str, str]) -> Any:
    types = typing.get_type_hints(type(config))
    names = [field.name for field in dataclasses.fields(config) if field.name in overrides]
    values = {name: _converted(name, overrides[name], types[name]) for name in names}
    try:
        return dataclasses.replace(config, **values)
    except ValueError as error:  # a dataclass may check its values in __post_init__
        raise UserError(f"--hparams: {str(error)[:300]}", exit_code=2) from error


def _converted(name: str, text: str, kind: Any) -> Any:
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if typing.get_origin(kind) is tuple:
            parts, kinds = text.split(":"), typing.get_args(kind)
            if Ellipsis not in kinds and len(parts) != len(kinds):
                raise ValueError
            return tuple(kinds[0](part) for part in parts)
        value = kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError
        return value
    except (KeyError, ValueError) as error:
        label = _label(kind)
        raise UserError(f"--hparams: {name}={text[:80]!r} is not of type {label}", exit_code=2) from error


def _label(kind: Any) -> str:
    if typing.get_origin(kind) is not tuple:
        return {int: "whole number", float: "finite number", bool: "true or false"}.get(kind, kind.__name__)
    kinds = typing.get_args(kind)
    return "numbers a:b:c" if Ellipsis in kinds else f"{len(kinds)} numbers a:b"
