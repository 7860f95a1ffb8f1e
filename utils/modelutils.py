"""Checks that model files are there, for scripts written for Real-Time-Voice-Cloning."""

from pathlib import Path

from utils.errors import UserError


def check_model_paths(encoder_path: str | Path, synthesizer_path: str | Path, vocoder_path: str | Path) -> None:
    """UserError that names the missing files."""
    missing = [str(path) for path in (encoder_path, synthesizer_path, vocoder_path) if not Path(path).is_file()]
    if missing:
        raise UserError(f"{', '.join(missing)}: no such file; saved_models/default holds the models of this project")
