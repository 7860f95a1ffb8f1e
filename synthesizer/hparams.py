"""Settings to read under their names in Real-Time-Voice-Cloning, for notebooks written for it."""

from collections import namedtuple
from dataclasses import asdict
from typing import Any

from synthesizer.config import PreprocessSettings, TacotronConfig
from utils.data.mel_format import MelFormat

NAMES = {  # ours: theirs; hop_length and win_length are the newest of them
    **{"hop_length": "hop_size", "win_length": "win_size", "n_mels": "num_mels", "rescale_peak": "rescaling_max"},
    **{"ref_db": "ref_level_db", "min_db": "min_level_db", "max_abs": "max_abs_value"},
}
ALWAYS = "rescale preemphasize signal_normalization symmetric_mels allow_clipping_in_normalization mu_law".split()
SIZES = {  # of the model
    **{"embedding_size": "tts_embed_dims", "encoder_size": "tts_encoder_dims", "encoder_kernels": "tts_encoder_K"},
    **{"attention_size": "tts_decoder_dims", "decoder_size": "tts_lstm_dims", "postnet_size": "tts_postnet_dims"},
    **{"postnet_kernels": "tts_postnet_K", "n_highways": "tts_num_highways", "prenet_dropout": "tts_dropout"},
    **{"silence_level": "tts_stop_threshold", "speaker_size": "speaker_embedding_size"},
}


def hparams_of(mel: MelFormat, config: TacotronConfig, cleaner: str) -> Any:
    """A named tuple, as they cannot be changed: a model keeps the settings it was trained with."""
    values = {NAMES.get(name, name): value for name, value in asdict(mel).items()} | dict.fromkeys(ALWAYS, True)
    values |= {theirs: getattr(config, name) for name, theirs in SIZES.items()}
    values |= {"hop_length": mel.hop_length, "win_length": mel.win_length, "fft_bins": mel.n_fft // 2 + 1}
    values |= {"tts_cleaner_names": [f"{cleaner.split(':')[0]}_cleaners"], "griffin_lim_iters": 60, "power": 1.5, "bits": 9}
    for name in ("max_mel_frames", "silence_min_duration_split", "utterance_min_duration"):
        values[name] = getattr(PreprocessSettings(), name)
    return namedtuple("Hparams", values)(**values)


hparams = hparams_of(MelFormat(), TacotronConfig(), "english")
