"""Whether a training run still trains, seen in its numbers: explosions, a loss that rises, one that parts from the held-out."""

import math
import statistics
from collections import deque
from collections.abc import Callable, Mapping

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


# A rule sees the numbers of each step, and those of each evaluation, in order. It answers what is wrong; empty if nothing is.
Rule = Callable[[int, Mapping[str, float]], str]


class Rising:
    """The loss of training rises: the mean over a block of steps, twice in a row, is well over the lowest."""

    BLOCK, FACTOR = 200, 1.05  # steps; a falling loss, averaged over so many, rises by less (docs/reliability.md)

    def __init__(self) -> None:
        self._block: list[float] = []
        self._lowest, self._lowest_step, self._n_high = math.inf, 0, 0

    def __call__(self, step: int, values: Mapping[str, float]) -> str:
        if not math.isfinite(values.get("loss", math.nan)):
            return ""
        self._block.append(values["loss"])
        if len(self._block) < self.BLOCK:
            return ""
        mean, self._block = statistics.fmean(self._block), []
        self._n_high = self._n_high + 1 if mean > self.FACTOR * self._lowest else 0
        if mean < self._lowest:
            self._lowest, self._lowest_step = mean, step
        if self._n_high < 2:
            return ""
        return (
            f"the loss has risen from {self._lowest:.3g} (around step {self._lowest_step}) to {mean:.3g}: the learning rate is "
            "probably too high. Lower it by --hparams learning_rate, from a backup of before"
        )


class Parting:
    """A loss on held-out data rises while that of training falls: the model learns its data by heart."""

    EVALUATIONS, FACTOR = 3, 1.02  # in a row over the lowest times this

    def __init__(self, held_out: str, training: str = "loss") -> None:
        """The names of the two losses."""
        self._held_out, self._training = held_out, training
        self._since: list[float] = []  # training losses since the last evaluation
        self._lowest, self._lowest_step, self._then, self._n_high = math.inf, 0, math.inf, 0

    def __call__(self, step: int, values: Mapping[str, float]) -> str:
        if self._training in values:
            self._since.append(values[self._training])
        if self._held_out not in values:
            return ""
        loss, now = values[self._held_out], statistics.fmean(self._since or [math.inf])
        self._since = []
        self._n_high = self._n_high + 1 if loss > self.FACTOR * self._lowest and now < self._then else 0
        if loss < self._lowest:
            self._lowest, self._lowest_step, self._then = loss, step, now
        if self._n_high < self.EVALUATIONS:
            return ""
        return (
            f"{self._held_out} has risen from {self._lowest:.3g} (step {self._lowest_step}) to {loss:.3g} while the loss of "
            f"training fell from {self._then:.3g} to {now:.3g}: the model learns its data by heart. More data help; so do "
            "--patience, or the backup next to that step"
        )
