"""What --hparams of demo_cli.py can change. Imports nothing heavy."""

from dataclasses import dataclass

from utils.config import check_at_least, setting


@dataclass(frozen=True)
class CloningSettings:
    """Settings of the demo."""

    pause: float = setting(0.3, "silence between two lines of a text file", "s")
    target: int = setting(8000, "length of the pieces that the vocoder makes in parallel; shorter is faster", "samples")
    overlap: int = setting(600, "overlap of neighbouring pieces, where they are joined", "samples")
    griffin_lim_iterations: int = setting(60, "iterations of --griffin_lim; more are slower and cleaner")

    def __post_init__(self) -> None:
        check_at_least(self, 1, "target", "griffin_lim_iterations")
        check_at_least(self, 0, "pause", "overlap")
