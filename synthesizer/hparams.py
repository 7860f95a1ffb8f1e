"""Settings to read under their names in Real-Time-Voice-Cloning, for notebooks written for it."""

from collections import namedtuple
from dataclasses import asdict
from typing import Any

from synthesizer.config import PreprocessSettings, TacotronConfig
from utils.data.mel_format import MelFormat

NAMES = {  # ours: theirs
    **{"hop_length": "hop_size", "win_length": "win_size", "n_mels": "num_mels", "rescale_peak": "rescaling_max"},
    **{"ref_db": "ref_level_db", "min_db": "min_level_db", "max_abs": "max_abs_value"},
}
ALWAYS = "rescale preemphasize signal_normalization symmetric_mels allow_clipping_in_normalization".split()


def hparams_of(mel: MelFormat) -> Any:
    """A named tuple, as they cannot be changed: a model keeps the settings it was trained with."""
    values = {NAMES.get(name, name): value for name, value in asdict(mel).items()} | dict.fromkeys(ALWAYS, True)
    for name in ("max_mel_frames", "silence_min_duration_split", "utterance_min_duration"):
        values[name] = getattr(PreprocessSettings(), name)
    values["speaker_embedding_size"] = TacotronConfig().speaker_size
    return namedtuple("Hparams", values)(**values)


hparams = hparams_of(MelFormat())
