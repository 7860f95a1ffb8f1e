"""Training steps as CUDA graphs, where there is a GPU."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from utils.report_lines import say_once

if TYPE_CHECKING:
    import torch

    from utils.training.run import Run


def uses_graphs(run: "Run", wanted: int) -> bool:
    """wanted: the setting cuda_graphs: 0 never, 1 on a single GPU, 2 on several too; a line tells those who could use 2."""
    if wanted == 1 and run.world_size > 1 and run.device.type == "cuda":
        say_once("steps are not recorded as CUDA graphs, as there are several GPUs; --hparams cuda_graphs=2 records them")
    return wanted > 1 or (wanted > 0 and run.world_size == 1)


def recorded_step(run: "Run", step: Callable, *optimizers: "torch.optim.Optimizer") -> Callable | None:
    """`step` as CUDA graphs, see utils.cuda_graph.StepGraphs; None on other devices."""
    if run.device.type != "cuda":
        return None
    from utils.cuda_graph import StepGraphs

    return StepGraphs(step, optimizers, run.device, run.abandon_step)
