"""A run's checkpoints on disk: the last one, its backups, and the last good one of a run that went wrong."""

import itertools
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from utils.data.paths import make_durable, remove_leftovers, write_atomically
from utils.errors import DiskFull, UserError
from utils.models import checkpoint

GROWTH = 100  # times the size of the weights, which no training reaches from one checkpoint to the next


class CheckpointFiles:
    """The files of one stage in a run's folder.

    A checkpoint is written beside the last one, and replaces it once a step has shown that its weights are good.
    """

    def __init__(self, folder: Path, stage: str, step: int, keep_backups: int | None) -> None:
        """step: what the checkpoint that is there holds."""
        self.folder, self.stage, self.keep_backups = folder, stage, keep_backups
        self.path, self.last_good = folder / f"{stage}.pt", folder / f"{stage}.last_good.pt"
        self.best = folder / "backups" / f"{stage}-best.pt"  # of the lowest held-out loss
        self.step = step
        self._unproven = folder / f".{stage}.pt.unproven"
        self._waiting: tuple[int, bool, float] | None = None  # step of the unproven one, whether to back it up, size of weights
        self._backup_failed = False
        self._size: float | None = None  # of the weights that are known to be good

    def clean(self) -> None:
        """Remove what a killed process left."""
        remove_leftovers(self.folder, f"{self.stage}*")  # another stage may be training in the same folder
        self._unproven.unlink(missing_ok=True)

    def measure(self, models: list[nn.Module]) -> float:
        """The norm of all weights. The first one is that of good weights."""
        norms = torch._foreach_norm([parameter.detach() for model in models for parameter in model.parameters()])
        size = float(torch.stack([norm.double() for norm in norms]).norm())
        self._size = size if self._size is None else self._size
        return size

    def write(self, content: dict[str, Any], size: float, backup: bool) -> None:
        """Write a checkpoint, to be proven. UserError if something in it is not finite, DiskFull if there is no room."""
        self.prove()  # no step has spoken against the one before
        self._save(self._unproven, content)
        self._waiting = content["step"], backup, size

    def write_best(self, content: dict[str, Any]) -> None:
        """Write a checkpoint whose held-out loss is the lowest, which proves it."""
        self._save(self.best, content)

    def _save(self, path: Path, content: dict[str, Any]) -> None:
        if name := checkpoint.not_finite(content):
            problem = f"{name} holds numbers that are not finite, so it is not saved"
            raise UserError(f"step {content['step']}: {problem}; {self.held()}")
        checkpoint.save(path, content)

    def prove(self) -> None:
        """Promote the pending checkpoint: its weights have proved good."""
        if self._waiting:
            self.step, backup, self._size = self._waiting
            self._waiting = None
            self._unproven.replace(self.path)
            make_durable(self.folder)
            if backup or self._backup_failed:
                self._back_up()

    def disprove(self, for_sure: bool) -> None:
        """Handle a bad step after an unconfirmed checkpoint; the step's data may be at fault unless `for_sure`."""
        if self._waiting and (for_sure or not self.is_plausible(self._waiting[2])):
            self._waiting = None
            self._unproven.unlink(missing_ok=True)

    def is_plausible(self, size: float) -> bool:
        """Whether the weights have not grown beyond what training does. Without a next step, this is all that is known."""
        return size <= GROWTH * max(1.0, self._size or 0.0)

    def keep_last_good(self) -> None:
        """Copy the checkpoint, if there is one, so that later ones do not replace it."""
        if self.path.exists():
            self.copy(self.path, self.last_good)

    def held(self) -> str:
        """What is on disk, for messages."""
        return f"{self.path} holds step {self.step}" if self.step else "nothing has been saved yet"

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file, atomically."""
        with write_atomically(target, source.stat().st_size) as temporary:
            shutil.copyfile(source, temporary)

    def put_aside(self) -> None:
        """Rename what a new start would overwrite, and copy the curves, as other stages of the run add to their file."""
        for path in (self.path, self.last_good, self.best, *self._backups()):
            if path.exists():
                print(f"{path} is kept as {path.rename(_free_name(path))}")
        metrics = self.folder / "metrics.jsonl"
        if metrics.exists():
            shutil.copyfile(metrics, _free_name(metrics))

    def _back_up(self) -> None:
        try:
            self.copy(self.path, self.best.with_name(f"{self.stage}-{self.step:07d}.pt"))
        except (OSError, DiskFull) as error:
            self._backup_failed = True
            why = error.fact if isinstance(error, DiskFull) else error
            tqdm.write(
                f"step {self.step} is saved but not backed up: {why}; the next save is backed up instead", file=sys.stderr
            )
            return
        self._backup_failed = False
        if self.keep_backups is not None:
            for old in self._backups()[: -self.keep_backups]:
                old.unlink(missing_ok=True)

    def _backups(self) -> list[Path]:
        """From the oldest to the newest."""
        pattern = re.compile(rf"{self.stage}-(\d+)\.pt")
        found = {path: pattern.fullmatch(path.name) for path in self.best.parent.glob("*.pt")}
        return sorted((path for path, match in found.items() if match), key=lambda path: int(found[path][1]))


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.stem}.before-restart-{n}{path.suffix}") for n in itertools.count(1))
    return next(name for name in names if not name.exists())
