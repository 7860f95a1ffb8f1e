"""Weights that were published before this project, converted to its own. Nothing else knows their layout."""

import dataclasses
import re
from typing import Any

import torch
from torch import Tensor

from utils.data.mel_format import MelFormat
from utils.models import size
from vocoder.config import WaveRNNConfig
from vocoder.model import WaveRNN

# Published names -> ours; all patterns are applied to each name, in order.
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
    """The model with published weights, its sizes read from their shapes, and the step that they were trained to.

    Raises KeyError or RuntimeError when the state is not a WaveRNN's.
    """
    renamed = {}
    for name, value in state.items():
        for pattern, ours in _RENAMED:
            name = re.sub(pattern, ours, name)
        if layer := _SMOOTH.match(name):  # every second published layer only repeats, without weights
            name, value = f"upsample.stretch.{int(layer[1]) // 2}.weight", value.flatten()
        renamed[name] = value
    step = int(renamed.pop("step", torch.zeros(1)))
    config = _sizes(renamed)
    model = size.of_state(lambda: WaveRNN(config), renamed)
    model.load_state_dict(renamed)
    return model, step


def _sizes(state: dict[str, Tensor]) -> WaveRNNConfig:
    channels, n_mels, width = state["upsample.context.conv_in.weight"].shape
    factors = [value for name, value in state.items() if name.startswith("upsample.stretch.")]
    n_outputs, fc_dims = state["output.weight"].shape
    is_raw = n_outputs.bit_count() == 1  # a mixture of ten has 30 outputs, which is no power of two
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
