"""Small models of all three stages, and what is exported from them."""

import dataclasses
from pathlib import Path

import pytest
import torch

from encoder.config import EncoderConfig
from encoder.model import EncoderWithLoss
from synthesizer.config import TacotronConfig
from synthesizer.model import Tacotron
from synthesizer.text import SYMBOLS
from tests.vocoder_data import FORMAT, TINY, TINY_SYNTHESIZER
from utils.export import export
from utils.models import checkpoint
from vocoder.model import WaveRNN, WaveRNNConfig

KINDS = {
    "encoder": (EncoderConfig, EncoderWithLoss, {"hidden_size": 16, "n_layers": 2, "embedding_size": 256}),
    "synthesizer": (TacotronConfig, Tacotron, TINY_SYNTHESIZER),
    "vocoder": (WaveRNNConfig, WaveRNN, TINY),
}


def write_model(path: Path, stage: str, **changes) -> Path:
    """A small model with random weights, as a checkpoint."""
    torch.manual_seed(0)
    config_class, model_class, sizes = KINDS[stage]
    config = config_class(**sizes | changes)
    model = model_class(config)
    for module in model.modules():  # as if it had been trained
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    mel = {"sample_rate": 16000, "n_fft": 400, "hop_length": 160, "n_mels": 40}
    content = {
        **{"format": checkpoint.stage_format(stage), "step": 3, "model": dataclasses.asdict(config)},
        **{"mel": mel if stage == "encoder" else dataclasses.asdict(FORMAT), "model_state": model.state_dict()},
        **{"symbols": SYMBOLS, "training": {"cleaner": "english", "postfilter": 0.5}},
    }
    checkpoint.save(path, content)
    return path


def paths_in(folder: Path) -> dict[str, Path]:
    return {stage: folder / f"{stage}.pt" for stage in checkpoint.STAGES}


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """Encoder, synthesizer and vocoder. A mixture of logistics does not amplify rounding as classes do."""
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "encoder.pt", "encoder")
    write_model(folder / "synthesizer.pt", "synthesizer", cap_frames=(30, 1))
    write_model(folder / "vocoder.pt", "vocoder", mode="MOL")
    return folder


@pytest.fixture(scope="module")
def exported(models, tmp_path_factory, request) -> Path:
    """The same in the format that the file of tests names."""
    out = tmp_path_factory.mktemp(request.module.FILE_FORMAT)
    export(paths_in(models), out, format=request.module.FILE_FORMAT, precision="fp32")
    return out
