"""The vocoder as two ONNX graphs: the conditioning of mel frames, and the samples of a frame, one after another."""

import numpy as np
import torch

from utils.export.graph import INT64, Graph, Value
from utils.export.onnx_file import TABLES
from vocoder.config import margin
from vocoder.distribution import Distribution, LogisticMixture, MuLaw
from vocoder.model import WaveRNN
from vocoder.tables import Matrices, filter_taps, split


def vocoder_graphs(model: WaveRNN, precision: str) -> dict[str, Graph]:
    with torch.inference_mode():
        matrices, taps = split(model), filter_taps(model)
        return {
            "vocoder_conditioning": conditioning_graph(model, matrices, taps, precision),
            "vocoder_sampling": sampling_graph(model, matrices, taps, precision),
        }


def conditioning_graph(model: WaveRNN, m: Matrices, taps: torch.Tensor, precision: str) -> Graph:
    """windows (R, margin + T + margin, n_mels) of the padded mel, see vocoder.config.margin
    -> what `sampling_graph` takes of each frame: mel (R, T + taps - 1, 4 H), first (R, T, 4 H), gates2 (R, T, 3 H), hidden1 and
    hidden2 (R, T, fc)
    """
    c, g, outside, around = model.config, Graph("conditioning", precision), margin(model.config), taps.size(1) // 2
    windows = g.input("windows", ("R", "W", c.n_mels))

    def without(n: int) -> Value:
        return g.op("Slice", windows, g.ints(n), g.ints(-n), g.ints(1)) if n else windows

    x = g.op("Transpose", without(outside - c.pad), perm=[0, 2, 1])
    net = model.upsample.context
    x = g.op("Relu", g.norm(g.op("Conv", x, g.weight(net.conv_in.weight)), net.norm))
    for block in net.blocks:
        hidden = g.op("Relu", g.norm(g.op("Conv", x, g.weight(block.conv1.weight)), block.norm1))
        x = g.op("Add", x, g.norm(g.op("Conv", hidden, g.weight(block.conv2.weight)), block.norm2))
    aux = g.op("Conv", x, g.weight(net.conv_out.weight), g.constant(net.conv_out.bias))
    parts = g.op("Split", g.op("Transpose", aux, perm=[0, 2, 1]), n=4, axis=2)
    n_first = 4 * c.rnn_dims
    g.output(g.op("MatMul", without(outside - around), g.weight(m.mel_to_first)), "mel", ("R", "M", n_first))
    weights = (m.aux_to_first, m.aux_to_gates2, m.aux_to_hidden1, m.aux_to_hidden2)
    biases = (m.first_bias, m.gates2_bias, m.hidden1_bias, m.hidden2_bias)
    sizes = (n_first, 3 * c.rnn_dims, c.fc_dims, c.fc_dims)
    for name, part, weight, bias, size in zip(TABLES, parts, weights, biases, sizes, strict=True):
        g.output(g.linear(part, weight.t(), bias, exact=True), name, ("R", "T", size))
    return g


def sampling_graph(model: WaveRNN, m: Matrices, taps: torch.Tensor, precision: str) -> Graph:
    """One frame of R rows: mel (R, taps, 4 H) around it, first (R, 4 H), gates2 (R, 3 H), hidden1 and hidden2 (R, fc), uniform
    random numbers (R, hop, 2) in (0, 1], and the state before it: level (R, 1), h1 and h2 (R, H), zeros at first
    -> wave (R, hop), pre-emphasised, and the state after it"""
    c, g = model.config, Graph("sampling", precision)
    H, hop = c.rnn_dims, c.hop_length
    sizes = dict(zip(TABLES, (4 * H, 3 * H, c.fc_dims, c.fc_dims), strict=True))
    mel = g.input("mel", ("R", taps.size(1), 4 * H))
    tables = {name: g.input(name, ("R", size)) for name, size in sizes.items()}
    uniform = g.input("uniform", ("R", hop, 2))
    state = [g.input("level", ("R", 1)), g.input("h1", ("R", H)), g.input("h2", ("R", H))]
    fine = g.op("Transpose", g.op("MatMul", g.constant(taps), mel), perm=[1, 0, 2])  # (hop, R, 4 H)
    fine = g.op("Add", fine, tables["first"])
    drawn = g.op("Transpose", uniform, perm=[1, 2, 0])  # (hop, 2, R)

    step = g.inner("sample")
    for name, shape in (
        ("level_", ("R", 1)),
        ("h1_", ("R", H)),
        ("h2_", ("R", H)),
        ("fine_", ("R", 4 * H)),
        ("drawn_", (2, "R")),
    ):
        step.input(name, shape)
    level, h1, h2 = sample(step, m, model.distribution, tables, H)
    for value, name, shape in ((level, "level_next", ("R", 1)), (h1, "h1_next", ("R", H)), (h2, "h2_next", ("R", H))):
        step.output(value, name, shape)
    step.output(level, "sample", ("R", 1))
    *state, levels = g.op("Scan", *state, fine, drawn, n=4, body=step, num_scan_inputs=2)
    for value, name, size in zip(state, ("next_level", "next_h1", "next_h2"), (1, H, H), strict=True):
        g.output(value, name, ("R", size))
    levels = g.op("Transpose", g.op("Squeeze", levels, g.ints(2)), perm=[1, 0])
    g.output(decoded(g, model.distribution, levels), "wave", ("R", hop))
    return g


def sample(
    g: Graph, m: Matrices, distribution: Distribution, tables: dict[str, Value], n_rnn: int
) -> tuple[Value, Value, Value]:
    """WaveRNN.predict and the distribution's sample -> next level (R, 1), h1 and h2 (R, H)"""
    first = g.op("Add", "fine_", g.op("Mul", "level_", g.constant(m.level_to_first)))
    x, gates = g.op("Split", first, g.ints(n_rnn, 3 * n_rnn), n=2, axis=1)
    h1 = gru_cell(g, gates, g.linear("h1_", m.h1_to_gates.t(), m.h1_bias), "h1_", n_rnn)
    x = g.op("Add", x, h1)
    gates = g.op("Add", g.linear(x, m.x_to_gates2.t()), tables["gates2"])
    h2 = gru_cell(g, gates, g.linear("h2_", m.h2_to_gates.t(), m.h2_bias), "h2_", n_rnn)
    x = g.op("Add", x, h2)
    x = g.op("Relu", g.op("Add", g.linear(x, m.to_hidden1.t()), tables["hidden1"]))
    x = g.op("Relu", g.op("Add", g.linear(x, m.to_hidden2.t()), tables["hidden2"]))
    outputs = g.linear(x, m.to_output.t(), m.output_bias, exact=True)
    return drawn_level(g, distribution, outputs), h1, h2


def gru_cell(g: Graph, x_gates: Value, h_gates: Value, hidden: Value, n_rnn: int) -> Value:
    """What input and state add to the gates (reset, update, new), (R, 3 H) each, and hidden (R, H) -> next hidden"""
    parts = g.ints(2 * n_rnn, n_rnn)
    x_both, x_new = g.op("Split", x_gates, parts, n=2, axis=1)
    h_both, h_new = g.op("Split", h_gates, parts, n=2, axis=1)
    reset, update = g.op("Split", g.op("Sigmoid", g.op("Add", x_both, h_both)), n=2, axis=1)
    candidate = g.op("Tanh", g.op("Add", x_new, g.op("Mul", reset, h_new)))
    return g.op("Add", candidate, g.op("Mul", update, g.op("Sub", hidden, candidate)))


def drawn_level(g: Graph, distribution: Distribution, outputs: Value) -> Value:
    """The distribution's sample: outputs (R, C), `drawn_` (2, R) -> level (R, 1)"""
    first, second = (g.op("Transpose", each, perm=[1, 0]) for each in g.op("Split", "drawn_", n=2, axis=0))  # (R, 1)
    if isinstance(distribution, MuLaw):
        labels = inverse_cdf(g, outputs, first)
        return g.op("Sub", g.op("Mul", labels, g.constant(2 / (distribution.n_outputs - 1))), g.constant(1))
    weights, means, log_scales = g.op("Split", outputs, n=3, axis=1)
    chosen = g.op("Cast", inverse_cdf(g, weights, first), to=INT64)
    mean, log_scale = (g.op("GatherElements", each, chosen, axis=1) for each in (means, log_scales))
    scale = g.op("Exp", g.op("Max", log_scale, g.constant(LogisticMixture.min_log_scale)))
    inside = g.op("Clip", second, g.constant(1e-5), g.constant(1 - 1e-5))
    spread = g.op("Log", g.op("Div", inside, g.op("Sub", g.constant(1), inside)))
    return g.op("Clip", g.op("Add", mean, g.op("Mul", scale, spread)), g.constant(-1), g.constant(1))


def inverse_cdf(g: Graph, logits: Value, uniform: Value) -> Value:
    """distribution.inverse_cdf: logits (R, C), uniform (R, 1) -> class (R, 1) as a float"""
    likely = g.op("Exp", g.op("Sub", logits, g.op("ReduceMax", logits, axes=[1], keepdims=1)))
    cumulative = g.op("CumSum", likely, g.constant(1, np.int64))
    total = g.op("Slice", cumulative, g.ints(-1), g.ints(2**31), g.ints(1))
    below = g.op("Less", cumulative, g.op("Mul", uniform, total))
    return g.op("ReduceSum", g.as_float(below), g.ints(1), keepdims=1)


def decoded(g: Graph, distribution: Distribution, levels: Value) -> Value:
    """The distribution's decode: levels -> wave"""
    if not isinstance(distribution, MuLaw):
        return levels
    mu = distribution.n_outputs - 1
    grown = g.op("Sub", g.op("Pow", g.constant(1 + mu), g.op("Abs", levels)), g.constant(1))
    return g.op("Mul", g.op("Sign", levels), g.op("Div", grown, g.constant(mu)))
