"""Command lines: help that documents, errors of one line, `--hparams` checked against dataclasses. Imports nothing heavy."""

import argparse
import dataclasses
import difflib
import math
import os
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Threads that wait should soon sleep: on a busy CPU, OpenMP's long spinning makes a training step tens of times slower, and
# without any, one of a small model takes twice as long. Read when torch is imported, which the scripts do after this module.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
# numpy's own products are small ones: shared between threads they take a multiple of the time. Read when numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

DEFAULT_MODELS = Path("saved_models/default")  # what the scripts take where no model is named


class UserError(Exception):
    """A mistake the user can mend, in one line: the file, what is wrong, what to do. Never shown as a traceback."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message, exit_code)  # both, so that it survives being pickled by a worker process
        self.message = message
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.message


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of every option that has one, and none for flags and options that are simply absent."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if not action.option_strings or action.default in (None, "", argparse.SUPPRESS) or action.default is False:
            return action.help
        return super()._get_help_string(action)


def parser(description: str) -> argparse.ArgumentParser:
    """A parser whose `-h` tells every default. Paths are best read with `type=Path`."""
    return argparse.ArgumentParser(description=description, formatter_class=_HelpFormatter)


def run(main: Callable[[], None]) -> None:
    """Run a script's main: a UserError becomes one line and its exit code, Ctrl-C becomes 130."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our output (head, less) left
        sys.exit(1)
    except OSError as error:  # disk full, no permission, a file where a folder is needed
        place = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or error
        print(f"error: {place}{reason}; check the path, its permissions and the space on the disk", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def whole_number(at_least: int, at_most: int | None = None) -> Callable[[str], int]:
    """A `type=` for add_argument: an int in these bounds; anything else is an error of usage."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if number < at_least or (at_most is not None and number > at_most):
            bounds = f"at least {at_least}" if at_most is None else f"from {at_least} to {at_most}"
            raise argparse.ArgumentTypeError(f"must be {bounds}, not {number}")
        return number

    return convert


def names(text: str) -> list[str]:
    """A `type=` for add_argument: "a,b" -> ["a", "b"], one at least."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} holds no name; write one, or several parted by commas")
    return found


COUNT = whole_number(at_least=0)
SEED = whole_number(at_least=0, at_most=2**32 - 1)  # what every generator of random numbers takes


def add_hparams(to: argparse.ArgumentParser, what: str) -> None:
    """Add --hparams; `what` names the settings it can change, for the help."""
    to.add_argument("--hparams", default="", metavar="A=1,B=2", help=f"settings to change, by name: {what}")


def add_scheduler(to: argparse.ArgumentParser) -> None:
    """Add --scheduler, of those scripts whose work several hosts can share."""
    to.add_argument("--scheduler", metavar="tcp://HOST:PORT",
                    help="have the work done by the workers of this Dask scheduler, on this host and others that have the same "
                    "disk under the same path, instead of by processes here; --n_processes then changes nothing "
                    "(docs/performance.md tells how to start them)")  # fmt: skip


def add_training_arguments(to: argparse.ArgumentParser, stage: str, parts: str, save_every: int, backup_every: int) -> None:
    """The arguments that the three trainers share; `run_options` collects them. `parts` of the model, by name, for the help."""
    to.add_argument("run_id", help="name of the run: everything it writes goes to <models_dir>/<run_id>, and giving the "
                    "same name again continues it exactly where it stopped")  # fmt: skip
    to.add_argument("-m", "--models_dir", type=Path, default=Path("saved_models"), help="folder of all runs")
    to.add_argument("-s", "--save_every", type=COUNT, default=save_every, metavar="STEPS",
                    help=f"steps between two writings of {stage}.pt; 0 writes it only when the run ends")  # fmt: skip
    to.add_argument("-b", "--backup_every", type=COUNT, default=backup_every, metavar="STEPS",
                    help="steps between two copies kept for good in backups/; 0 keeps none")  # fmt: skip
    to.add_argument("--eval_every", type=COUNT, default=500, metavar="STEPS",
                    help="steps between two evaluations on held-out data; 0 never evaluates")  # fmt: skip
    to.add_argument("--max_steps", type=whole_number(at_least=1), metavar="STEPS",
                    help="train until this step, counted from the start of the run; without it, until interrupted")  # fmt: skip
    to.add_argument("-f", "--force_restart", action="store_true",
                    help=f"start from step 0; the previous {stage}.pt is kept beside under another name")  # fmt: skip
    to.add_argument("--init_from", type=Path, metavar="FILE",
                    help=f"weights to start a new run from, instead of random ones: any {stage}.pt, of this project or "
                    "published before it. The model's settings are the file's; optimizer and step are new. A run that "
                    "continues ignores it")  # fmt: skip
    to.add_argument("--freeze", type=names, metavar="PART,PART",
                    help="parts of the model that training leaves as they are, weights and running statistics, by name: "
                    f"{parts}; or anything inside them, with dots. The rest learns. For use with --init_from, where little "
                    "data would spoil what the file has learnt from much (docs/fine-tuning.md). A run that continues keeps its "
                    "choice until it is given again; 'nothing' trains all")  # fmt: skip
    to.add_argument("--seed", type=SEED, default=0,
                    help="number that weights, batches and dropout follow from; the same number repeats a run")  # fmt: skip
    to.add_argument("--precision", choices=["auto", "fp32", "bf16", "fp16"], default="auto",
                    help="arithmetic of the forward and backward pass; auto is bf16 on GPUs that have it, else fp16 on a "
                    "GPU and fp32 on a CPU")  # fmt: skip
    to.add_argument("--cpu", action="store_true", help="train on the CPU even if there is a GPU")
    to.add_argument("--n_workers", type=COUNT, metavar="N",
                    help="processes that prepare batches ahead (default: 4 on a GPU; on a CPU 0, in the loop)")  # fmt: skip
    to.add_argument("--no_visdom", action="store_true", help="do not look for a Visdom server")
    to.add_argument("--visdom_server", default="http://localhost", metavar="URL",
                    help="Visdom server to draw on, with :port if it is not 8097")  # fmt: skip


RUN_ARGUMENTS = (
    *("run_id", "models_dir", "save_every", "backup_every", "eval_every", "max_steps", "force_restart"),
    *("init_from", "freeze", "seed", "precision", "cpu", "n_workers", "visdom_server"),
)


def run_options(args: argparse.Namespace) -> dict[str, Any]:
    """The parsed training arguments as keyword arguments of utils.training.RunOptions."""
    return {name: getattr(args, name) for name in RUN_ARGUMENTS} | {"visdom": not args.no_visdom}


def parse_overrides(text: str) -> dict[str, str]:
    """`"a=1,b=2"` -> {"a": "1", "b": "2"}. Raises UserError (exit 2) for anything that is not name=value."""
    overrides = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise UserError(f"--hparams: {part!r} is not name=value (write --hparams a=1,b=2)", exit_code=2)
        overrides[name.strip()] = value.strip()
    return overrides


def check_at_least(config: Any, minimum: float, *names: str) -> None:
    """For the __post_init__ of a dataclass: ValueError, naming the field, where one of these is (or holds) less."""
    for name in names:
        value = getattr(config, name)
        if min(value if isinstance(value, tuple) else (value,), default=minimum) < minimum:
            raise ValueError(f"{name} must be at least {minimum}, not {value}")


def override(overrides: dict[str, str], *configs: Any) -> tuple[Any, ...]:
    """Copies of the dataclass instances with the named fields replaced; a name changes every config that has it.

    Raises UserError (exit 2) for a name that none of them has, with the nearest names, and for a value of the wrong type.
    """
    known = {field.name for config in configs for field in dataclasses.fields(config)}
    for name in overrides:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)
            raise UserError(f"--hparams: no setting is called {name!r}; nearest: {', '.join(near)}", exit_code=2)
    return tuple(_replaced(config, overrides) for config in configs)


def _replaced(config: Any, overrides: dict[str, str]) -> Any:
    types = typing.get_type_hints(type(config))
    names = [field.name for field in dataclasses.fields(config) if field.name in overrides]
    values = {name: _converted(name, overrides[name], types[name]) for name in names}
    try:
        return dataclasses.replace(config, **values)
    except ValueError as error:  # a dataclass may check its values in __post_init__
        raise UserError(f"--hparams: {error}", exit_code=2) from error


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
        raise UserError(f"--hparams: {name}={text!r} is not of type {label}", exit_code=2) from error


def _label(kind: Any) -> str:
    if typing.get_origin(kind) is not tuple:
        return {int: "whole number", float: "finite number", bool: "true or false"}.get(kind, kind.__name__)
    kinds = typing.get_args(kind)
    return "numbers a:b:c" if Ellipsis in kinds else f"{len(kinds)} numbers a:b"
