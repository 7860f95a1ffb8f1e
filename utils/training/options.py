"""What the command line of a trainer says about its run."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.errors import UserError


@dataclass(frozen=True)
class RunOptions:
    """The command line of a trainer; utils.cli.add_training_arguments explains each option."""

    run_id: str
    models_dir: Path = Path("saved_models")
    save_every: int = 500
    backup_every: int = 0
    keep_backups: int | None = None
    eval_every: int = 500
    vis_every: int = 10
    max_steps: int | None = None
    force_restart: bool = False
    seed: int = 0
    precision: str = "auto"
    cpu: bool = False
    n_workers: int | None = None
    init_from: Path | None = None
    freeze: Sequence[str] | None = None
    fine_tune: bool = False
    patience: int = 0
    visdom: bool = False
    visdom_server: str = "http://localhost"
    rank_timeout: float = 1800

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.run_id):
            raise UserError(
                f"run_id {self.run_id!r}: must be a name (letters, digits, '_', '-', '.'), not a path; "
                "choose the folder with --models_dir",
                exit_code=2,
            )
