"""Whether a training run still trains, seen in its numbers: explosions, a loss that rises or stays at guessing, overfitting."""

import math
import statistics
from collections import deque
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

EXPLODED = 10  # times the running median
WINDOW = 100  # steps of the running median
TO_GIVE_UP = 20  # bad steps in a row


class Health:
    """Judges each step by its loss, in order. `problem` is what is wrong with the last one; empty if nothing is."""

    def __init__(self) -> None:
        self.problem = ""
        self.is_finite = True  # the loss and gradient of the last step
        self.n_bad = self.in_a_row = 0  # bad steps
        self._losses: deque[float] = deque(maxlen=WINDOW)  # of good steps

    def see(self, loss: float | None, n_skipped_in_a_row: int) -> None:
        """The loss of the next step, if it has one, and how many updates in a row were skipped by then."""
        self.is_finite = not n_skipped_in_a_row and (loss is None or math.isfinite(loss))
        self.problem = "" if self.is_finite else "the loss or the gradient is not finite"
        if loss is not None and self.is_finite:
            median = statistics.median(self._losses) if self._losses else 0.0
            if 0 < median * EXPLODED < loss:
                self.problem = f"the loss is {loss:.3g}, {loss / median:.3g} times its running median"
            else:
                self._losses.append(loss)
        self.n_bad += bool(self.problem)
        self.in_a_row = self.in_a_row + 1 if self.problem else 0


class Rule:
    """Sees the numbers of each step, and those of each evaluation, in order. It answers what is wrong; empty if nothing is.

    What it remembers, numbers and lists of numbers, is kept in the checkpoint: a run may be resumed before it has seen enough.
    """

    def __init__(self, **remembered: float | list[float]) -> None:
        self._now = SimpleNamespace(**remembered)

    def __call__(self, step: int, values: Mapping[str, float]) -> str:
        raise NotImplementedError

    @property
    def state(self) -> dict[str, float | list[float]]:
        return {name: list(value) if isinstance(value, list) else value for name, value in vars(self._now).items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; what it lacks begins anew. TypeError or ValueError for what is no state of a rule."""
        for name, value in self.state.items():
            kept = state.get(name, value)
            setattr(self._now, name, [float(each) for each in kept] if isinstance(value, list) else type(value)(kept))


class Guessing(Rule):
    """The loss of training, averaged over some steps, is still that of guessing when it should be well below."""

    WINDOW = 100  # steps

    def __init__(self, guess: float, share: float, from_step: int, problem: str, remedy: str) -> None:
        """guess: the loss of guessing, of which the loss has less than this share by from_step. The rest is what to say."""
        super().__init__(losses=[])
        self.guess, self._share, self._from_step, self._problem, self._remedy = guess, share, from_step, problem, remedy

    def __call__(self, step: int, values: Mapping[str, float]) -> str:
        if math.isfinite(values.get("loss", math.nan)):
            self._now.losses = [*self._now.losses, values["loss"]][-self.WINDOW :]
        return self.line() if self.is_late(step) and self.guesses(self.WINDOW) else ""

    def is_late(self, step: int) -> bool:
        return step >= self._from_step and len(self._now.losses) == self.WINDOW

    def guesses(self, n_steps: int) -> bool:
        """Whether the mean loss of the last n_steps is that of guessing."""
        losses = self._now.losses[-n_steps:]
        return bool(losses) and statistics.fmean(losses) >= self._share * self.guess

    def line(self, also: str = "") -> str:
        loss = statistics.fmean(self._now.losses)
        return f"{self._problem} (loss {loss:.3g}{also}; guessing has {self.guess:.3g}): {self._remedy}"


class Rising(Rule):
    """The loss of training rises: the mean over a block of steps, twice in a row, is well over the lowest."""

    BLOCK, FACTOR = 200, 1.05  # steps; a falling loss, averaged over so many, rises by less (docs/reliability.md)

    def __init__(self) -> None:
        super().__init__(block=[], lowest=math.inf, lowest_step=0, n_high=0)

    def __call__(self, step: int, values: Mapping[str, float]) -> str:
        now = self._now
        if not math.isfinite(values.get("loss", math.nan)):
            return ""
        now.block.append(values["loss"])
        if len(now.block) < self.BLOCK:
            return ""
        mean, now.block = statistics.fmean(now.block), []
        now.n_high = now.n_high + 1 if mean > self.FACTOR * now.lowest else 0
        if mean < now.lowest:
            now.lowest, now.lowest_step = mean, step
        if now.n_high < 2:
            return ""
        return (
            f"the loss has risen from {now.lowest:.3g} (around step {now.lowest_step}) to {mean:.3g}: the learning rate is "
            "probably too high. Lower it by --hparams learning_rate, from a backup of before"
        )


class Parting(Rule):
    """A loss on held-out data rises while that of training falls: the model is overfitting."""

    EVALUATIONS, FACTOR = 3, 1.02  # in a row over the lowest times this

    def __init__(self, held_out: str, training: str = "loss") -> None:
        """The names of the two losses."""
        super().__init__(total=0.0, n=0, lowest=math.inf, lowest_step=0, then=math.inf, n_high=0)
        self._held_out, self._training = held_out, training

    def __call__(self, step: int, values: Mapping[str, float]) -> str:
        now = self._now
        if math.isfinite(values.get(self._training, math.nan)):
            now.total, now.n = now.total + values[self._training], now.n + 1
        if self._held_out not in values:
            return ""
        loss, training = values[self._held_out], now.total / now.n if now.n else math.inf
        now.total, now.n = 0.0, 0  # losses of training since the last evaluation
        now.n_high = now.n_high + 1 if loss > self.FACTOR * now.lowest and training < now.then else 0
        if loss < now.lowest:
            now.lowest, now.lowest_step, now.then = loss, step, training
        if now.n_high < self.EVALUATIONS:
            return ""
        return (
            f"{self._held_out} has risen from {now.lowest:.3g} (step {now.lowest_step}) to {loss:.3g} while the training loss "
            f"fell from {now.then:.3g} to {training:.3g}: the model is overfitting. More data helps; so does --patience, or "
            "the backup next to that step"
        )
