"""Writes docs/settings.md from the settings themselves: `python docs/settings.py`."""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import demo.config  # noqa: E402
import encoder.config  # noqa: E402
import synthesizer.config  # noqa: E402
import vocoder.config  # noqa: E402
from utils.config import describe  # noqa: E402
from utils.data.mel_format import MelFormat  # noqa: E402

INTRODUCTION = """\
# Settings

All settings that `--hparams "name=value,name=value"` changes, by script, with their defaults. `-h` of each script lists them
too. Sizes of a model hold for a new run; a run that resumes or starts from other weights (`--init_from`) keeps its own.

Written by `python docs/settings.py` from the dataclasses in each package's `config.py`; a test compares this page with them.
"""
SCRIPTS = {
    "encoder_preprocess.py": (encoder.config.PreprocessSettings,),
    "encoder_train.py": (encoder.config.EncoderTraining, encoder.config.EncoderConfig),
    "synthesizer_preprocess_audio.py": (synthesizer.config.PreprocessSettings, MelFormat),
    "synthesizer_preprocess_embeds.py": (synthesizer.config.EmbedSettings,),
    "synthesizer_train.py": (synthesizer.config.SynthesizerTraining, synthesizer.config.NEW_MODEL),
    "vocoder_preprocess.py": (vocoder.config.GtaSettings,),
    "vocoder_train.py": (vocoder.config.VocoderTraining, vocoder.config.WaveRNNConfig),
    "demo_cli.py, demo_toolbox.py": (demo.config.CloningSettings, synthesizer.config.ReadingSettings),
}


def settings() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *(line for script in SCRIPTS for line in section(script, SCRIPTS[script]))])


def section(script: str, configs: tuple[Any, ...]) -> list[str]:
    """The table of a script: a setting in each row."""
    rows = [
        f"| `{each.name}` | `{each.default}` | {each.unit} | {each.meaning} |"
        for config in configs
        for each in describe(config)
    ]
    return [f"## {script}", "", "| setting | default | unit | meaning |", "|---|---|---|---|", *rows, ""]


if __name__ == "__main__":
    (ROOT / "docs" / "settings.md").write_text(settings(), encoding="utf-8", newline="\n")
