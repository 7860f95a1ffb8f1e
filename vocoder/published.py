"""What was published before this project: weights, turned into its own, and how speech was folded. Nothing else knows of it."""

import dataclasses
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from utils.data.audio import MelFormat
from vocoder.model import WaveRNN, WaveRNNConfig

# Names of the published layout -> ours, in order; a name goes through all of them.
_RENAMED = (
    (r"^I\.", "input."),
    (r"^rnn([12])\.", r"gru\1."),
    (r"^fc([12])\.", r"hidden\1."),
    (r"^fc3\.", "output."),
    (r"^upsample\.resnet\.batch_norm\.", "upsample.context.norm."),
    (r"^upsample\.resnet\.layers\.(\d+)\.batch_norm(\d)\.", r"upsample.context.blocks.\1.norm\2."),
    (r"^upsample\.resnet\.layers\.", "upsample.context.blocks."),
    (r"^upsample\.resnet\.", "upsample.context."),
)
_SMOOTH = re.compile(r"^upsample\.up_layers\.(\d+)\.weight$")


def own_content(content: dict[str, Any]) -> dict[str, Any]:
    """The content of any vocoder's file -> that of a checkpoint of this project, as far as the file has it.

    KeyError or RuntimeError when the weights are not a WaveRNN's.
    """
    if "format" in content:
        return content
    model, step = from_published(content.get("model_state", content))
    mel = dataclasses.asdict(MelFormat())
    return {"model": dataclasses.asdict(model.config), "mel": mel, "model_state": model.state_dict(), "step": step}


def from_published(state: dict[str, Tensor]) -> tuple[WaveRNN, int]:
    """The model with published weights, its sizes read from their shapes, and the step they were trained to.

    Raises KeyError or RuntimeError when the state is not a WaveRNN's.
    """
    renamed = {}
    for name, value in state.items():
        for pattern, ours in _RENAMED:
            name = re.sub(pattern, ours, name)
        if layer := _SMOOTH.match(name):  # every second published layer is a repetition, without weights
            name, value = f"upsample.stretch.{int(layer[1]) // 2}.weight", value.flatten()
        renamed[name] = value
    step = int(renamed.pop("step", torch.zeros(1)))
    model = WaveRNN(_sizes(renamed))
    model.load_state_dict(renamed)
    return model, step


def _sizes(state: dict[str, Tensor]) -> WaveRNNConfig:
    channels, n_mels, width = state["upsample.context.conv_in.weight"].shape
    factors = [value for name, value in state.items() if name.startswith("upsample.stretch.")]
    n_outputs, fc_dims = state["output.weight"].shape
    is_raw = n_outputs.bit_count() == 1  # 30 outputs of a mixture of ten are no power of two
    return WaveRNNConfig(
        mode="RAW" if is_raw else "MOL",
        bits=n_outputs.bit_length() - 1 if is_raw else WaveRNNConfig.bits,
        n_mixtures=WaveRNNConfig.n_mixtures if is_raw else n_outputs // 3,
        n_mels=n_mels,
        upsample_factors=tuple((len(value) - 1) // 2 for value in factors),
        pad=(width - 1) // 2,
        context_dims=channels,
        n_context_blocks=sum(
            re.fullmatch(r"upsample\.context\.blocks\.\d+\.conv1\.weight", name) is not None for name in state
        ),
        aux_dims=state["upsample.context.conv_out.weight"].size(0),
        rnn_dims=state["input.weight"].size(0),
        fc_dims=fc_dims,
    )


# ---- how published code folds; kept so that its numbers can be reproduced, as generation here folds otherwise


def published_fold(x: Tensor, target: int, overlap: int) -> Tensor:
    """(1, N, C) -> (n_folds, target + 2 overlap, C); neighbours share `overlap` steps, zeros stand for what is missing."""
    step = target + overlap
    n_folds = max(1, -(-(x.size(1) - overlap) // step))
    padded = F.pad(x, (0, 0, 0, n_folds * step + overlap - x.size(1)))
    return padded[0].unfold(0, step + overlap, step).transpose(1, 2)


def published_unfold(pieces: np.ndarray, overlap: int) -> np.ndarray:
    """(n_folds, target + 2 overlap) -> (n_folds (target + overlap) + overlap,), crossfaded in half of each overlap.

    The old fold has faded out before the new one fades in: each seam dips to silence in its middle.
    """
    n_folds, length = pieces.shape
    step = length - overlap
    ramp, muted = np.sqrt(np.linspace(0, 1, overlap - overlap // 2)), np.zeros(overlap // 2)
    gains = np.ones(length, dtype=pieces.dtype)
    gains[:overlap] = np.concatenate([muted, ramp])
    gains[step:] *= np.concatenate([ramp[::-1], muted])
    wave = np.zeros(n_folds * step + overlap, dtype=pieces.dtype)
    for i, piece in enumerate(pieces):
        wave[i * step : i * step + length] += gains * piece
    return wave
