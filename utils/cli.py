"""Command lines: help that documents every option, errors in one line. Imports nothing heavy."""

import argparse
import contextlib
import math
import os
import signal
import stat
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from utils import garbage
from utils.config import PRECISIONS, Described, describe
from utils.errors import UserError

ENVIRONMENT = {
    # On a busy CPU, OpenMP threads that spin while they wait make a training step many times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "3000",
    # numpy's matrices are small here; sharing them among threads takes several times as long.
    "OPENBLAS_NUM_THREADS": "1",
    # When a rank is lost, torch warns with pages of C++ frames; utils.training.peers says it in a line.
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    # A process that a signal ends leaves semaphores to the resource tracker, which removes them with a warning.
    "PYTHONWARNINGS": "ignore:resource_tracker",
}


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of every option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if not action.option_strings or action.default in (None, "", [], argparse.SUPPRESS) or isinstance(action.default, bool):
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


def parser(description: str, command: str | None = None) -> argparse.ArgumentParser:
    """A parser whose `-h` shows defaults; `command` where it is not a script. Use `type=Path` for paths."""
    return argparse.ArgumentParser(command, description=description, formatter_class=_HelpFormatter)


def run(main: Callable[[], None]) -> None:
    """Run a script's main. A UserError becomes one line and its exit code, Ctrl-C becomes 130; a second one ends it at once.

    Sets the variables of ENVIRONMENT that are not set yet, before main imports torch and numpy, which read them.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _set_numba_cache()
    garbage.look_seldom()
    signal.signal(signal.SIGINT, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # names that this terminal cannot show
    try:
        main()
    except UserError as error:
        print(f"error: {_shown(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # whoever read our output (head, less) has left
        sys.exit(1)
    except OSError as error:  # disk full, no permission, a file in place of a folder
        place = f"{_shown(str(error.filename))}: " if error.filename else ""
        reason = error.strerror or error
        print(f"error: {place}{reason}; check the path, its permissions and the free space", file=sys.stderr)
        sys.exit(1)
    except UnicodeEncodeError as error:
        if sys.getfilesystemencoding() == "utf-8":
            raise
        problem = f"the file name {ascii(error.object)[:120]} cannot be written in this locale"
        print(f"error: {problem}; set LC_ALL=C.UTF-8 or PYTHONUTF8=1", file=sys.stderr)
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        print("error: there is not enough memory; make batches or sizes smaller (--hparams)", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left to be dealt with


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Ctrl-C: raises KeyboardInterrupt, but ends the process while an earlier one is dealt with."""
    if sys.exc_info()[0] is KeyboardInterrupt:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    raise KeyboardInterrupt


def _set_numba_cache() -> None:
    """numba, which librosa uses too, ends with an error where it can keep what it compiled neither beside the source nor in the
    user's cache: as a user without a home, in a container. It gets a folder for temporary files, that no other user can write.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    existing = next(filter(os.path.isdir, (cache, *map(str, Path(cache).parents))), "")
    if os.name != "posix" or "NUMBA_CACHE_DIR" in os.environ or os.access(existing, os.W_OK):
        return
    folder = os.path.join(tempfile.gettempdir(), f"numba-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    found = os.lstat(folder)
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    os.environ["NUMBA_CACHE_DIR"] = folder if is_ours else tempfile.mkdtemp(prefix="numba-")


def _shown(message: str) -> str:
    """Without what would command the terminal, as the names of a stranger's files may hold it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)


def _is_lack_of_memory(error: Exception) -> bool:
    """Python's and numpy's error, or one of torch's, which is not imported here."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)


def whole_number(at_least: int, at_most: int | None = None) -> Callable[[str], int]:
    """A `type=` for add_argument: an int within these bounds."""
    return number(at_least, at_most, int)


def number(at_least: float, at_most: float | None = None, kind: type = float) -> Callable[[str], Any]:
    """A `type=` for add_argument: a float, or another kind of number, within these bounds."""

    def convert(text: str) -> float:
        try:
            found = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a {'whole ' * (kind is int)}number") from None
        if not at_least <= found <= (math.inf if at_most is None else at_most):
            bounds = f"at least {at_least}" if at_most is None else f"from {at_least} to {at_most}"
            raise argparse.ArgumentTypeError(f"must be {bounds}, not {text}")
        return found

    return convert


def names(text: str) -> list[str]:
    """A `type=` for add_argument: "a,b" -> ["a", "b"], at least one."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} holds no name; write one, or several separated by commas")
    return found


def not_blank(text: str) -> str:
    """A `type=` for add_argument: a text that holds more than white space."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is blank")
    return text


def file_named(ending: str) -> Callable[[str], Path]:
    """A `type=` for add_argument: the path of a file to write, whose name has this ending."""

    def convert(text: str) -> Path:
        path = Path(text)
        if path.is_dir() or path.suffix.lower() != ending:
            raise argparse.ArgumentTypeError(f"{text}: name a {ending} file")
        return path

    return convert


def weighted_file(text: str) -> tuple[Path, float]:
    """A `type=` for add_argument: FILE or FILE:WEIGHT -> file and weight, 1 where none is given."""
    path, colon, weight = text.rpartition(":")
    try:
        return (Path(path), float(weight)) if colon else (Path(text), 1.0)
    except ValueError:  # the colon belongs to the path
        return Path(text), 1.0


COUNT = whole_number(at_least=0)
SEED = whole_number(at_least=0, at_most=2**32 - 1)  # what random number generators take


def add_hparams(to: argparse.ArgumentParser, *configs: Any) -> None:
    """Add --hparams, which changes fields of these dataclasses; the help lists them one a line, with their defaults.

    An instance in place of a dataclass shows its own values as the defaults.
    """
    to.add_argument("--hparams", default="", metavar="A=1,B=2", help="settings to change by name, as listed below")
    described = {each.name: each for config in reversed(configs) for each in describe(config)}
    in_order = dict.fromkeys(each.name for config in configs for each in describe(config))
    lines = [f"  {name}={described[name].default}  {_explained(described[name])}" for name in in_order]
    to.epilog = "\n".join(["settings for --hparams, with their defaults:", *lines])


def _explained(each: Described) -> str:
    return f"{each.meaning} ({each.unit})" if each.unit else each.meaning


def add_corpus_arguments(to: argparse.ArgumentParser) -> None:
    """Add the arguments that the scripts share which read corpora."""
    add, number = to.add_argument, whole_number(at_least=1)
    add("-n", "--n_processes", type=number, metavar="N", help="processes, a speaker at a time each (default: one per CPU core)")
    columns_help = "columns of a manifest in their order, where it does not show them: audio, speaker, text, and - for others"
    add("--columns", type=names, default=[], metavar="A,B", help=columns_help)
    speaker_help = "one speaker of a manifest that names none (default: its folder's name), or 'folder': that of each recording"
    add("--speaker", default="", metavar="NAME", help=speaker_help)
    seconds_help = "skip and list longer audio files; memory grows with it, by 64 KB a second in each process"
    add("--max_seconds", type=number, default=3600, metavar="N", help=seconds_help)
    scheduler_help = (
        "Dask scheduler whose workers do the work, instead of processes on this machine; all hosts must see the same disk "
        "under the same path, and --n_processes has no effect (docs/data.md says how to start one)"
    )
    add("--scheduler", metavar="tcp://HOST:PORT", help=scheduler_help)
    add("--ignore_space", action="store_true", help="start even if the disk seems too small for what will be written")


class _FineTune(argparse.Action):
    """--fine_tune FILE: --init_from FILE, and `const` in place of the defaults of other options."""

    def __call__(self, to: argparse.ArgumentParser, args: argparse.Namespace, value: Path, option: str | None = None) -> None:
        for name, instead in {**self.const, "init_from": value, "fine_tune": True}.items():
            if getattr(args, name, None) == to.get_default(name):
                setattr(args, name, instead)


def add_training_arguments(
    to: argparse.ArgumentParser,
    stage: str,
    parts: str,
    save_every: int,
    backup_every: int,
    fine_tune: dict[str, Any] | None = None,
) -> None:
    """Add the arguments that the trainers share, by the names of utils.training.options.RunOptions.

    parts: names for --freeze, for the help. fine_tune: what --fine_tune gives in place of the defaults of these arguments;
    None leaves it out.
    """
    add, at_least_one = to.add_argument, whole_number(at_least=1)
    run_help = "name of the run; its files go to <models_dir>/<run_id>. An existing run resumes exactly where it stopped"
    add("run_id", help=run_help)
    add("-m", "--models_dir", type=Path, default=Path("saved_models"), help="folder of all runs")
    _add_cadence(to, stage, save_every, backup_every)
    add("-f", "--force_restart", action="store_true", help=f"start from step 0; the previous {stage}.pt is renamed and kept")
    init_help = (
        f"{stage}.pt to start a new run from, of this project or published before it. Its model settings are kept; optimizer "
        "and step are new. Ignored when a run resumes"
    )
    add("--init_from", type=Path, metavar="FILE", help=init_help)
    freeze_help = (
        f"parts of the model that are not trained: {parts}, or any module inside them by its dotted name. Use it with "
        "--init_from when there is little data (docs/fine-tuning.md). A resumed run keeps its choice; 'nothing' trains all"
    )
    add("--freeze", type=names, metavar="PART,PART", help=freeze_help)
    to.set_defaults(fine_tune=False)
    if fine_tune:
        instead = ", ".join(f"--{name} {','.join(v) if isinstance(v, list) else v}" for name, v in fine_tune.items())
        tune_help = (
            f"learn one voice from minutes of its speech: as --init_from, with a lower learning rate, and {instead} unless "
            "given (docs/fine-tuning.md)"
        )
        add("--fine_tune", type=Path, action=_FineTune, const=fine_tune, default=False, metavar="FILE", help=tune_help)
    add("--seed", type=SEED, default=0, help="seed of weights, batches and dropout; the same seed repeats a run")
    precision_help = (
        "precision of the forward and backward pass; auto is fp16 on a GPU, and on a CPU bf16 if it computes in it, else fp32"
    )
    add("--precision", choices=PRECISIONS, default="auto", help=precision_help)
    add("--cpu", action="store_true", help="train on the CPU even if there is a GPU")
    workers_help = "processes that load batches; 0 loads them in the training process (default: 4 on a GPU, 0 on a CPU)"
    add("--n_workers", type=COUNT, metavar="N", help=workers_help)
    timeout_help = (
        "with several GPUs or hosts: how long one may keep the others waiting before all end; evaluation must be faster"
    )
    add("--rank_timeout", type=at_least_one, default=1800, metavar="SECONDS", help=timeout_help)
    add("--no_visdom", dest="visdom", action="store_false", help="do not look for a Visdom server")
    add("--visdom_server", default="http://localhost", metavar="URL", help="Visdom server, with :port unless it is 8097")


def _add_cadence(to: argparse.ArgumentParser, stage: str, save_every: int, backup_every: int) -> None:
    """The arguments that count steps."""
    add, every, at_least_one = to.add_argument, {"type": COUNT, "metavar": "STEPS"}, whole_number(at_least=1)
    save_help = f"save {stage}.pt every so many steps; 0: only at the end. -s as in Real-Time-Voice-Cloning"
    add("-s", "--save_every", default=save_every, **every, help=save_help)
    add("-b", "--backup_every", default=backup_every, **every, help="copy it into backups/ every so many steps; 0: never")
    add("--keep_backups", type=at_least_one, metavar="N", help="keep only the last N files in backups/ (default: all)")
    add("--eval_every", default=500, **every, help="evaluate on held-out data every so many steps; 0: never")
    patience_help = (
        "end when the held-out loss (an encoder's EER) has not fallen for so many evaluations, with the checkpoint of the "
        "lowest; 0: never"
    )
    add("--patience", default=0, type=COUNT, metavar="N", help=patience_help)
    last_help = "last step, counted from the start of the run (default: train until interrupted)"
    add("--max_steps", type=at_least_one, metavar="STEPS", help=last_help)
