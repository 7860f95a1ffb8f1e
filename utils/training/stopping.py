"""SIGINT and SIGTERM end a training run after the current step."""

import signal
from types import FrameType

import torch


class StopSignals:
    """`with StopSignals() as signals:` remembers the first signal; a second one kills the process as usual."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before = {}

    def __enter__(self) -> "StopSignals":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        signal.signal(number, signal.SIG_DFL)

    def any_rank_received(self, world_size: int) -> bool:
        """Whether any rank received a signal, so that all stop after the same step. Asked on the CPU, not to wait for GPUs."""
        if world_size == 1:
            return self.received is not None
        flag = torch.tensor(float(self.received is not None))
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag)
