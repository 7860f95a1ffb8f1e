"""Models as ONNX files: their graphs, checked against torch, with all settings in their metadata."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoder.config import EncoderConfig
from encoder.model import SpeakerEncoder
from synthesizer.config import TacotronConfig
from synthesizer.model import Tacotron
from utils.config import rebuilt
from utils.errors import UserError
from utils.export.graph import Graph
from utils.export.onnx_file import FORMAT, KEY, TABLES
from utils.export.synthesizer_graphs import synthesizer_graphs
from utils.export.vocoder_graphs import vocoder_graphs
from utils.models import checkpoint, identity, size
from vocoder.config import WaveRNNConfig, margin
from vocoder.model import WaveRNN
from vocoder.sampling import PlainSampler

TOLERANCE = 1e-3  # relative; rounding differs by 1e-6, a model whose code was changed by much more


def serialized_graphs(stage: str, content: dict[str, Any], path: Path, precision: str) -> dict[str, bytes]:
    """What is exported of a checkpoint -> its graphs by their names, as the bytes of ONNX files.

    Raises UserError if a graph does not calculate what the model does, because the model's code was changed.
    """
    make, build, answers = STAGES[stage]
    state = content["model_state"]
    if stage == "encoder":
        state = {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
    with checkpoint.restoring(path, stage):
        model = size.of_state(lambda: make(content["model"]), state).eval()
        model.load_state_dict(state)
    known = {
        name: content[name] for name in ("step", "model", "mel", "symbols", "training", "encoder_sha256") if name in content
    }
    if stage == "encoder":
        known["encoder_sha256"] = identity.digests(model.state_dict(), path)
    if stage == "synthesizer":
        known["r"] = int(model.r)
    with torch.inference_mode():
        _check(path, stage, *answers(model))
        return {name: _bytes(graph, name, precision, known) for name, graph in build(model, precision).items()}


def _bytes(graph: Graph, name: str, precision: str, known: dict[str, Any]) -> bytes:
    settings = json.dumps({"format": FORMAT, "graph": name, "precision": precision, **known})
    metadata = {KEY: settings, "sample_rate": str(known["mel"]["sample_rate"])}
    return graph.model(metadata).SerializeToString()


def _check(path: Path, stage: str, expected: list[np.ndarray], found: list[np.ndarray]) -> None:
    near = (np.isclose(a, b, atol=TOLERANCE * max(np.abs(a).max(), 1e-3)) for a, b in zip(expected, found, strict=True))
    if any(each.mean() < 0.9 for each in near):  # a few samples may fall between two classes
        raise UserError(f"{path}: the {stage}'s code was changed, so its ONNX graphs would calculate something else")


def run(graph: Graph, **inputs: np.ndarray) -> list[np.ndarray]:
    """The outputs of a graph, by onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(graph.model({}).SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, inputs)


def encoder_graphs(model: SpeakerEncoder, precision: str) -> dict[str, Graph]:
    """mels (B, T, n_mels) -> embeddings (B, E)"""
    c, g = model.config, Graph("encoder", precision)
    x = g.op("Transpose", g.input("mels", ("B", "T", c.n_mels)), perm=[1, 0, 2])  # (T, B, n_mels)
    for layer in range(c.n_layers):
        if c.projection_size:
            x = g.projected_lstm(x, model.lstm, layer)  # (T, B, projection)
        else:
            x = g.op("Squeeze", g.lstm_or_gru(x, [model.lstm], layer), g.ints(1))  # (T, B, hidden)
    last = g.op("Gather", x, g.constant(-1, int))
    raw = g.op("Relu", g.layer(last, model.linear))
    norm = g.op("Add", g.op("ReduceL2", raw, axes=[1], keepdims=1), g.constant(1e-5))
    g.output(g.op("Div", raw, norm), "embeddings", ("B", c.embedding_size))
    return {"encoder": g}


# ---- the same small inputs to a model and its graphs


def _encoder_answers(model: SpeakerEncoder) -> tuple[list[np.ndarray], list[np.ndarray]]:
    mels = np.random.default_rng(0).random((2, 30, model.config.n_mels), dtype=np.float32)
    return [model(torch.from_numpy(mels)).numpy()], run(encoder_graphs(model, "fp32")["encoder"], mels=mels)


def _synthesizer_answers(model: Tacotron) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Without dropout, whose random numbers differ."""
    prenets, rng = (model.encoder.prenet, model.decoder.prenet), np.random.default_rng(0)
    dropouts, n_steps, c = [each.dropout for each in prenets], 8, model.config
    ids, lengths = rng.integers(2, c.n_symbols, (2, 12)), np.array([12, 9])
    speakers = rng.normal(0, 0.1, (2, c.speaker_size)).astype(np.float32)
    caps = np.full(2, n_steps * int(model.r))
    for each in prenets:
        each.dropout = 0.0
    try:
        made = model.generate(*map(torch.from_numpy, (ids, lengths, speakers, caps)))
        graphs = synthesizer_graphs(model, "fp32")
    finally:
        for each, dropout in zip(prenets, dropouts, strict=True):
            each.dropout = dropout
    noise = [np.zeros(shape, np.float32) for shape in ((2, 12, sum(c.encoder_prenet)), (n_steps, 2, sum(c.decoder_prenet)))]
    values, keys = run(graphs["synthesizer_text"], ids=ids, lengths=lengths, speakers=speakers, noise=noise[0])
    said = {"values": values, "keys": keys, "lengths": lengths, "spoken_lengths": lengths - 1, "max_frames": caps}
    before, attention, mel_lengths, _ = run(graphs["synthesizer_decoder"], **said, noise=noise[1])
    (after,) = run(graphs["synthesizer_postnet"], before=before, lengths=mel_lengths)
    return [made.after.numpy(), made.attention.numpy(), made.lengths.numpy()], [after, attention, mel_lengths]


def _vocoder_answers(model: WaveRNN) -> tuple[list[np.ndarray], list[np.ndarray]]:
    c, rng = model.config, np.random.default_rng(0)
    windows = rng.uniform(-1, 1, (3, 1 + 2 * margin(c), c.n_mels)).astype(np.float32)
    uniform = 1 - rng.random((3, c.hop_length, 2), dtype=np.float32)
    sampler = PlainSampler(model)
    sampler.start(3)
    sampler.load(windows)
    graphs = vocoder_graphs(model, "fp32")
    mel, *tables = run(graphs["vocoder_conditioning"], windows=windows)
    frame = dict(zip(TABLES, (each[:, 0] for each in tables), strict=True))
    state = {"level": np.zeros((3, 1), np.float32), **{name: np.zeros((3, c.rnn_dims), np.float32) for name in ("h1", "h2")}}
    wave = run(graphs["vocoder_sampling"], mel=mel, uniform=uniform, **frame, **state)[-1]
    return [model.distribution.decode(sampler.frames(0, uniform))[:, :20]], [wave[:, :20]]


# Of each stage: a configuration -> a model; the model -> its graphs; what the model and its graphs answer
STAGES: dict[str, tuple[Callable, Callable, Callable]] = {
    "encoder": (lambda sizes: SpeakerEncoder(rebuilt(EncoderConfig, sizes)), encoder_graphs, _encoder_answers),
    "synthesizer": (lambda sizes: Tacotron(rebuilt(TacotronConfig, sizes)), synthesizer_graphs, _synthesizer_answers),
    "vocoder": (lambda sizes: WaveRNN(rebuilt(WaveRNNConfig, sizes)), vocoder_graphs, _vocoder_answers),
}
