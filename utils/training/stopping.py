"""What ends a training run after the current step: SIGINT, SIGTERM, SIGHUP, or a held-out loss that no longer falls."""

import math
import signal
from types import FrameType

import torch

STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP


class StopSignals:
    """`with StopSignals() as signals:` remembers the first signal.

    A second SIGINT or SIGTERM ends the process at once; the last checkpoint is whole. SIGHUP does not count, as a terminal that
    closes sends several, and systemd one with SIGTERM. Nor does any signal among ranks: their launcher passes on what they have
    received already.
    """

    def __init__(self, has_launcher: bool = False) -> None:
        self.received: signal.Signals | None = None
        self._counted = () if has_launcher else (signal.SIGINT, signal.SIGTERM)
        self._is_second = False
        self._before = {}

    def __enter__(self) -> "StopSignals":
        for number in STOPPING:
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)
        if number in self._counted and self._is_second:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._is_second = self._is_second or number in self._counted

    def any_rank_stops(self, world_size: int, is_over: bool) -> bool:
        """Whether any rank received a signal, which all then know, or `is_over` on any, so that all stop after the same step.

        Asked on the CPU, not to wait for GPUs.
        """
        if world_size > 1:
            told = torch.tensor([int(self.received or 0), int(is_over)])
            torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
            number, is_over = told.tolist()
            if number:
                self.received = self.received or signal.Signals(number)
            return bool(number or is_over)  # a signal that came meanwhile counts at the next step, when the others know it too
        return self.received is not None or is_over


class Patience:
    """The lowest held-out loss so far, and whether too many evaluations have passed since."""

    def __init__(self, n_evaluations: int, eval_every: int, state: dict[str, float]) -> None:
        """n_evaluations 0 is patient for ever. `state` is the `state` of an earlier run, or empty."""
        self._steps = n_evaluations * eval_every
        self.state = {"loss": math.inf, "step": 0, **state}

    def is_lowest(self, step: int, loss: float) -> bool:
        """To be told each held-out loss; whether it is the lowest, to be kept."""
        if not self._steps or not loss < self.state["loss"]:
            return False
        self.state |= {"loss": loss, "step": step}
        return True

    def is_spent(self, step: int) -> bool:
        """Whether the loss has not fallen for n_evaluations."""
        return 0 < self._steps <= step - self.state["step"]
