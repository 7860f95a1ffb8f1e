"""A training schedule: reduction factor, learning rate and batch size that change at given steps."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from utils.training.batching import EpochPlan


class Stage(NamedTuple):
    r: int  # frames per decoder step
    learning_rate: float
    until: int  # last step of the stage
    batch_size: int  # on each rank


def parse_schedule(text: str) -> list[Stage]:
    """`"2:1e-3:20000:12;2:5e-4:40000:12"` -> stages. Raises ValueError for anything else."""
    stages = []
    for part in filter(None, text.split(";")):
        try:
            r, rate, until, batch_size = part.split(":")
            stages.append(Stage(int(r), float(rate), int(until), int(batch_size)))
        except ValueError as error:
            raise ValueError(f"schedule: {part!r} is not r:learning_rate:until_step:batch_size") from error
    ends = [stage.until for stage in stages]
    if not stages or ends != sorted(set(ends)) or any(not 0 < value < math.inf for stage in stages for value in stage):
        raise ValueError(f"schedule: {text!r} needs stages with positive numbers and growing steps")
    return stages


def stage_at(stages: Sequence[Stage], step: int) -> Stage:
    """The stage that a step belongs to; the last one goes on without end."""
    return next((stage for stage in stages if step <= stage.until), stages[-1])


def fade(step: int, start: int, end: int) -> float:
    """1 until the step `start`, then in a straight line to 0 at `end`."""
    return 1.0 if step <= start else max(0.0, (end - step) / (end - start)) if end > start else 0.0


class StagedPlan:
    """plan(step) -> [index, ...]: an EpochPlan for each stage, beginning with its first step."""

    def __init__(self, stages: Sequence[Stage], lengths: Sequence[int], seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.stages = list(stages)
        firsts = [1, *(stage.until + 1 for stage in stages[:-1])]
        self.plans = {
            stage: EpochPlan(lengths, stage.batch_size, seed, rank, world_size, first)
            for stage, first in zip(stages, firsts, strict=True)
        }

    def __call__(self, step: int) -> list[int]:
        return self.plans[stage_at(self.stages, step)](step)
