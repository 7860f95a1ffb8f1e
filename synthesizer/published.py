"""Checkpoints of other code, and of earlier versions of this project, in today's names."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from synthesizer.config import TacotronConfig
from synthesizer.text import SYMBOLS
from utils.data.audio import MelFormat

RENAMED_HERE = (  # since earlier versions of this project
    (r"\.gru\.ahead(?=\.|$)", ".gru.forward_gru"),
    (r"\.gru\.back(?=\.|$)", ".gru.backward_gru"),
)
RENAMED = (  # published name -> ours, applied in this order
    (r"^encoder_proj\.", "decoder.attention.key."),
    (r"^encoder\.pre_net\.", "encoder.prenet."),
    (r"^post_proj\.", "output."),
    (r"^decoder\.r$", "r"),
    (r"\.fc1\.", ".first."),
    (r"\.fc2\.", ".second."),
    (r"\.conv1d_bank\.", ".bank."),
    (r"\.bnorm\.", ".norm."),
    (r"\.conv_project1\.", ".project."),
    (r"\.conv_project2\.", ".project_back."),
    (r"\.pre_highway\.", ".widen."),
    (r"\.W1\.", ".transform."),
    (r"\.W2\.", ".gate."),
    (r"\.rnn\.(\w+_l0)_reverse$", r".gru.backward_gru.\1"),
    (r"\.rnn\.(\w+_l0)$", r".gru.forward_gru.\1"),
    (r"\.attn_net\.conv\.", ".attention.filters."),
    (r"\.attn_net\.L\.", ".attention.location."),
    (r"\.attn_net\.W\.", ".attention.query."),
    (r"\.attn_net\.v\.", ".attention.score."),
    (r"\.attn_rnn\.(weight|bias)_hh$", r".query_hidden.\1"),
    (r"\.attn_rnn\.bias_ih$", ".query_prenet.bias"),
    (r"\.rnn_input\.", ".join."),
    (r"\.res_rnn([12])\.(\w+)$", r".lstm\1.lstm.\2_l0"),
    (r"\.mel_proj\.", ".frames."),
    (r"\.stop_proj\.", ".stop."),
)


def own_content(content: dict[str, Any]) -> dict[str, Any]:
    """The content of any synthesizer's file -> that of a checkpoint of this project, as far as the file has it."""
    if "format" in content:
        return _with_todays_names(content)
    published = from_published(content.get("model_state", content))
    mel = dataclasses.asdict(MelFormat())
    return {**published, "mel": mel, "symbols": SYMBOLS, "training": {"cleaner": "english"}}


def _with_todays_names(content: dict[str, Any]) -> dict[str, Any]:
    """The optimizer's state goes by the parameters' order, which stays."""
    states = {name: content[name] for name in ("model_state", "average_state") if name in content}
    renamed = {of: {_renamed(name, RENAMED_HERE): value for name, value in state.items()} for of, state in states.items()}
    if "frozen" in content:
        renamed["frozen"] = [_renamed(name, RENAMED_HERE) for name in content["frozen"]]
    return {**content, **renamed}


def from_published(state: dict[str, Tensor], config: TacotronConfig | None = None) -> dict[str, Any]:
    """A published `model_state` -> model, model_state and step of a checkpoint of this project.

    Nothing is dropped: loading the model_state fails if an entry is missing, unknown or of another shape.
    """
    state = dict(state)
    config = config or TacotronConfig()
    config = dataclasses.replace(config, silence_level=float(state.pop("stop_threshold", config.silence_level)))
    step = int(state.pop("step", torch.zeros(1)))
    queries = state.pop("decoder.attn_rnn.weight_ih", None)  # (3 A, E + prenet)
    renamed = {_renamed(name, RENAMED): value for name, value in state.items()}
    if queries is not None:
        n_context = config.encoder_size + config.speaker_size
        renamed["decoder.query_context.weight"] = queries[:, :n_context].clone()
        renamed["decoder.query_prenet.weight"] = queries[:, n_context:].clone()
    return {"model": dataclasses.asdict(config), "model_state": renamed, "step": step}


def _renamed(name: str, patterns: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name
