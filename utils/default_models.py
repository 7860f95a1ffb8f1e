"""Provides the default models, for notebooks written for Real-Time-Voice-Cloning."""

import subprocess
import sys
from pathlib import Path

from utils.modelutils import check_model_paths

ROOT = Path(__file__).parent.parent


def ensure_default_models(models_dir: str | Path) -> None:
    """Fetch models_dir/default/encoder.pt if it is missing; the other models come with the repository.

    UserError if one of them is still not there.
    """
    encoder, synthesizer, vocoder = (
        Path(models_dir).resolve() / "default" / f"{stage}.pt" for stage in ("encoder", "synthesizer", "vocoder")
    )
    if not encoder.is_file():
        subprocess.run([sys.executable, "-m", "encoder.download", str(encoder)], cwd=ROOT)  # prints what went wrong
    check_model_paths(encoder, synthesizer, vocoder)
