"""A few seconds of real speech as the synthesizer's preprocessing stores it, and models small enough to train in a test."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from encoder.config import MEL_FORMAT, EncoderConfig
from encoder.model import EncoderWithLoss
from synthesizer.model import Tacotron, TacotronConfig
from synthesizer.text import SYMBOLS
from utils.data import audio
from utils.data.mel_format import MelFormat
from utils.data.paths import SynthesizerData, save_npy, save_text
from utils.data.rows import Row, write_rows
from utils.models import checkpoint
from vocoder.config import SILENCE, WaveRNNConfig
from vocoder.model import WaveRNN

FORMAT = MelFormat()
TINY = {"rnn_dims": 24, "fc_dims": 16, "context_dims": 8, "n_context_blocks": 1, "aux_dims": 8}
TINY_SYNTHESIZER = {
    **{"embedding_size": 8, "encoder_prenet": (8, 8), "encoder_size": 8, "encoder_kernels": 2, "decoder_prenet": (8, 8)},
    **{"attention_size": 8, "decoder_size": 16, "postnet_size": 8, "postnet_kernels": 2},
}


def write_speech(samples: Path, root: Path, n_utterances: int = 8) -> SynthesizerData:
    """Utterances of 0.6 s and a little more each, none as long as another."""
    data = SynthesizerData(root)
    paths = sorted(samples.rglob("*.flac"))[:n_utterances]
    rows = []
    for i, path in enumerate(paths):
        wav = audio.rescale(audio.load(path), FORMAT.rescale_peak)[4000 : 4000 + 9600 + 700 * i]
        mel = audio.mel_spectrogram(wav, FORMAT)
        stored = np.zeros(len(mel) * FORMAT.hop_length, np.int16)
        stored[: len(wav)] = audio.to_int16(wav)
        row = Row(f"audio-{i}.npy", f"mel-{i}.npy", f"embed-{i}.npy", len(stored), len(mel), "WORDS " * (i + 1))
        save_npy(data.audio_dir / row.audio, stored)
        save_npy(data.mels_dir / row.mel, mel.astype(np.float16))
        save_npy(data.embeds_dir / row.embed, np.random.default_rng(i).random(256, dtype=np.float32))
        rows.append(row)
    write_rows(data.manifest, rows)
    save_text(data.parameters, json.dumps({"mel": dataclasses.asdict(FORMAT)}))
    return data


def write_encoder(path: Path, seed: int = 0, **sizes) -> Path:
    """A small encoder with random weights, as a checkpoint."""
    torch.manual_seed(seed)
    config = EncoderConfig(hidden_size=8, n_layers=1, **sizes)
    content = {"format": checkpoint.stage_format("encoder"), "step": 1, "model": dataclasses.asdict(config), "mel": MEL_FORMAT}
    checkpoint.save(path, content | {"model_state": EncoderWithLoss(config).state_dict()})
    return path


def write_synthesizer(path: Path, mel_format: MelFormat = FORMAT) -> Path:
    """A small synthesizer with random weights, as a checkpoint."""
    torch.manual_seed(0)
    config = TacotronConfig(**TINY_SYNTHESIZER)
    content = {"model": dataclasses.asdict(config), "model_state": Tacotron(config).state_dict()}
    return _save(path, "synthesizer", content | {"symbols": SYMBOLS, "training": {"cleaner": "english"}}, mel_format)


def write_vocoder(path: Path, model: WaveRNN, mel_format: MelFormat = FORMAT) -> Path:
    """A checkpoint as training writes it, with what inference reads."""
    content = {"model": dataclasses.asdict(model.config), "model_state": model.state_dict()}
    return _save(path, "vocoder", content, mel_format)


def _save(path: Path, stage: str, content: dict, mel_format: MelFormat) -> Path:
    common = {"format": checkpoint.stage_format(stage), "step": 1, "mel": dataclasses.asdict(mel_format)}
    checkpoint.save(path, common | content)
    return path


def tiny_vocoder(**sizes) -> WaveRNN:
    return WaveRNN(WaveRNNConfig(**TINY | sizes)).eval()


def pad_mels(mels: list[Tensor], pad: int) -> Tensor:
    """Mels (T_i, n_mels) -> (B, pad + max T_i + pad, n_mels) with silence around each, so that longer neighbours in a batch
    do not change its numbers."""
    longest = max(len(mel) for mel in mels)
    return torch.stack([F.pad(mel, (0, 0, pad, pad + longest - len(mel)), value=SILENCE) for mel in mels])
