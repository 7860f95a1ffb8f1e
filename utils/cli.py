"""Command lines: help that documents, errors in one line. Imports nothing heavy."""

import argparse
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from utils.config import Described, describe
from utils.errors import UserError

ENVIRONMENT = {
    # Waiting threads should soon sleep: on a busy CPU, OpenMP's long spinning makes a training step many times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "3000",
    # numpy's own products are small here; shared between threads they take several times as long.
    "OPENBLAS_NUM_THREADS": "1",
}


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of every option that has one, and none for flags and options that are simply absent."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if not action.option_strings or action.default in (None, "", argparse.SUPPRESS) or action.default is False:
            return action.help
        return super()._get_help_string(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Keeps the lines of the table of settings; wraps everything else."""
        if "\n" not in text:
            return super()._fill_text(text, width, indent)
        hanging = indent + " " * 4
        return "\n".join(
            textwrap.fill(line, width, initial_indent=indent, subsequent_indent=hanging) for line in text.split("\n")
        )


def parser(description: str) -> argparse.ArgumentParser:
    """A parser whose `-h` tells every default. Paths are best read with `type=Path`."""
    return argparse.ArgumentParser(description=description, formatter_class=_HelpFormatter)


def run(main: Callable[[], None]) -> None:
    """Run a script's main: a UserError becomes one line and its exit code, Ctrl-C becomes 130.

    Sets ENVIRONMENT where it is not set already; torch and numpy, imported inside main, read it then.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
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


def add_hparams(to: argparse.ArgumentParser, *configs: Any) -> None:
    """Add --hparams, which changes the fields of these dataclasses (or instances); the help lists each with its default."""
    to.add_argument("--hparams", default="", metavar="A=1,B=2", help="settings to change by name, as listed below")
    if isinstance(configs[0], str):  # to go once every script names its dataclasses
        to.epilog = configs[0]
        return
    known = {each.name: each for config in reversed(configs) for each in describe(config)}
    names = dict.fromkeys(each.name for config in configs for each in describe(config))
    lines = [f"  {known[name].name}={known[name].default}  {_explained(known[name])}" for name in names]
    to.epilog = "\n".join(["settings for --hparams, with their defaults:", *lines])


def _explained(each: Described) -> str:
    return f"{each.meaning} ({each.unit})" if each.unit else each.meaning


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
    """The parsed training arguments as keyword arguments of utils.training.run.RunOptions."""
    return {name: getattr(args, name) for name in RUN_ARGUMENTS} | {"visdom": not args.no_visdom}
