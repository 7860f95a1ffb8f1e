"""When a run is saved, and when not: nothing bad replaces a good checkpoint, and a full disk does not end the training."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from utils.errors import DiskFull, UserError
from utils.training.files import CheckpointFiles
from utils.training.health import TO_GIVE_UP, Health
from utils.training.options import RunOptions
from utils.training.peers import NoPeers

REMEDY = "Lower the learning rate, or look at the data"


class Saving:
    """The checkpoints of a run. All ranks decide alike; the first one writes."""

    def __init__(self, folder: Path, stage: str, step: int, options: RunOptions, peers: NoPeers) -> None:
        """step: what the checkpoint that is there holds."""
        self.files = CheckpointFiles(folder, stage, step, options.keep_backups)
        self._options, self._peers, self.is_main = options, peers, peers.rank == 0
        self._health = Health()
        self._step = step  # saved last
        self._is_due = self._backup_is_due = False
        if self.is_main:
            self.files.clean()

    def start(self, models: list[nn.Module], content: Callable[[], dict[str, Any]], tell: Callable[[str, str], None]) -> None:
        """content: what is to be saved, at any time. tell: Run.tell."""
        self._models, self._content, self._tell = models, content, tell
        self.files.measure(models)
        self._peers.hold(self.files.held())

    def held(self) -> str:
        """What is on disk, for messages."""
        return self._peers.held() or self.files.held()

    def judge(self, step: int, loss: float | None, n_skipped_in_a_row: int) -> None:
        """Whether the checkpoint before this step is good. UserError if there is no sense in going on."""
        self._health.see(loss, n_skipped_in_a_row)
        if not (problem := self._health.problem):
            self._trying(step, self.files.prove)
            return
        self.files.disprove(for_sure=self._health.is_finite)
        if self._health.n_bad == 1:
            hint = f"nothing is saved meanwhile, and {TO_GIVE_UP} such steps in a row end the run"
            self._keep_last_good(step, problem, hint)
        if self._health.in_a_row >= TO_GIVE_UP:
            self._trying(step, self.files.prove)  # if it is not known to be bad
            raise self._only_on_main(f"step {step}: {problem}, {TO_GIVE_UP} times in a row; {self.held()}. {REMEDY}")

    def _keep_last_good(self, step: int, problem: str, hint: str) -> None:
        if self.is_main:
            self._trying(step, self.files.keep_last_good)
            kept = f"; {self.files.last_good} keeps it" if self.files.last_good.exists() else ""
            self._tell("explosion", f"step {step}: {problem}; {self.held()}{kept}; {hint}. {REMEDY}")

    def if_due(self, step: int, settle: Callable[[], None]) -> None:
        """Save every so many steps; not after a bad one, but after the next good one. settle: judges what is not judged yet."""
        backup = is_due(step, self._options.backup_every)
        self._is_due |= backup or is_due(step, self._options.save_every)
        self._backup_is_due |= backup
        if self._is_due:
            settle()
            if not self._health.problem:
                self._is_due = False
                self._trying(step, lambda: self._write(step))

    def at_end(self, step: int) -> None:
        """Save the last step, unless it is bad: then UserError, and the file that is there stays."""
        self.files.disprove(for_sure=False)
        self.files.prove()
        problem = self._health.problem
        if problem and self._health.is_finite is False and not self.files.step:
            problem = ""  # its weights are those of the last good step, and there is no file yet
        if self._step != step and not problem:
            self._write(step)
            self.files.prove()
        self._peers.hold(self.files.held())
        if problem:
            raise self._only_on_main(f"step {step}: {problem}, so it is not saved; {self.held()}. {REMEDY}")

    def keep_best(self, step: int) -> None:
        """Keep this step's state, which has the lowest held-out loss so far, in a file of its own."""
        if self.is_main:
            self._trying(step, lambda: self.files.write_best(self._content()))

    def end_with_best(self, step: int, loss: float) -> None:
        """Replace the last checkpoint by the one of the lowest held-out loss."""
        if self.is_main and self.files.best.exists():
            self.files.copy(self.files.best, self.files.path)
            now = f"{self.files.path} is of that step"
            print(f"{self.files.stage}: the held-out loss has not fallen since step {step} ({loss:.4g}); {now}")

    def _write(self, step: int) -> None:
        """UserError if the weights have exploded, which a loss that is bounded, as an encoder's is, does not show."""
        size = self.files.measure(self._models)
        if not self.files.is_plausible(size):
            problem = f"the weights have grown to a norm of {size:.3g}"
            self._keep_last_good(step, problem, "the run ends")
            raise self._only_on_main(f"step {step}: {problem}, so it is not saved; {self.held()}. {REMEDY}")
        if self.is_main:
            self.files.write(self._content(), size, self._backup_is_due)
        self._step, self._backup_is_due = step, False

    def _trying(self, step: int, save: Callable[[], None]) -> None:
        try:
            save()
        except (OSError, DiskFull) as error:
            why = error.fact if isinstance(error, DiskFull) else error
            tqdm.write(f"step {step} is not saved: {why}; training goes on, and tries again at the next save", file=sys.stderr)
        self._peers.hold(self.files.held())

    def _only_on_main(self, message: str) -> BaseException:
        """The error, on one of the ranks that all come to it."""
        return UserError(message) if self.is_main else SystemExit(1)


def is_due(step: int, every: int) -> bool:
    """Whether this step is a multiple of `every`; 0 is never."""
    return every > 0 and step % every == 0
