"""A training schedule: reduction factor, learning rate and batch size that change at given steps."""

from collections.abc import Iterable, Sequence

from synthesizer.config import Stage
from utils.training.batching import EpochPlan


def stage_at(stages: Sequence[Stage], step: int) -> Stage:
    """The stage that a step belongs to; the last one goes on without end."""
    return next((stage for stage in stages if step <= stage.until), stages[-1])


def remaining(stages: Sequence[Stage], step: int, r: int) -> str:
    """The schedule after `step`, its steps counted from there, all with the reduction factor r."""
    left = [stage for stage in stages if stage.until > step] or [stages[-1]]
    return _written(stage._replace(r=r, until=max(1, stage.until - step)) for stage in left)


def with_batches_of(stages: Sequence[Stage], largest: int) -> str:
    """The hparam of the schedule without larger batches."""
    return "schedule=" + _written(stage._replace(batch_size=min(stage.batch_size, largest)) for stage in stages)


def _written(stages: Iterable[Stage]) -> str:
    return ";".join(f"{stage.r}:{stage.learning_rate:g}:{stage.until}:{stage.batch_size}" for stage in stages)


def fade(step: int, start: int, end: int) -> float:
    """1 until the step `start`, then linearly to 0 at `end`."""
    return 1.0 if step <= start else max(0.0, (end - step) / (end - start)) if end > start else 0.0


class StagedPlan:
    """plan(step) -> [index, ...]: an EpochPlan for each stage, starting at its first step."""

    def __init__(self, stages: Sequence[Stage], lengths: Sequence[int], seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.stages = list(stages)
        firsts = [1, *(stage.until + 1 for stage in stages[:-1])]
        self.plans = {
            stage: EpochPlan(lengths, stage.batch_size, seed, rank, world_size, first)
            for stage, first in zip(stages, firsts, strict=True)
        }

    def __call__(self, step: int) -> list[int]:
        return self.plans[stage_at(self.stages, step)](step)
