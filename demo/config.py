"""What --hparams of demo_cli.py can change, besides synthesizer.config.ReadingSettings. Imports nothing heavy."""

from dataclasses import dataclass

from utils.config import check_at_least, setting
from vocoder.config import OVERLAP, TARGET


@dataclass(frozen=True)
class CloningSettings:
    """Settings of the demo."""

    loudness: float = setting(-23.0, "level of the speech (RMS), the same for all pieces of a text", "dBFS")
    recordings_pace: bool = setting(
        True, "speak as fast as the recording, if it has 3 s of speech; false: at the model's own pace"
    )
    tail: float = setting(0.2, "silence after the last sound", "s")
    target: int = setting(TARGET, "length of the pieces that the vocoder makes in parallel; shorter is faster", "samples")
    overlap: int = setting(OVERLAP, "overlap of neighbouring pieces, where they are joined", "samples")
    griffin_lim_iterations: int = setting(60, "iterations of --griffin_lim; more are slower and cleaner")

    def __post_init__(self) -> None:
        check_at_least(self, 1, "target", "griffin_lim_iterations")
        check_at_least(self, 0, "tail", "overlap")
        if self.loudness > 0:
            raise ValueError(f"loudness must be 0 or less, not {self.loudness:g}")
