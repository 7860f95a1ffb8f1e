"""The synthesizer as three ONNX graphs: text encoder, decoder with its loop, and post-net."""

import numpy as np

from synthesizer.attention import LEAST_PRIOR, DynamicConvolutionAttention, LocationSensitiveAttention
from synthesizer.decoder import ResidualLSTM
from synthesizer.generation import MIN_FRAMES
from synthesizer.layers import CBHG, ConvNorm, Highway, PreNet
from synthesizer.model import Tacotron
from utils.export.graph import BOOL, INT32, INT64, Graph, Value


def synthesizer_graphs(model: Tacotron, precision: str) -> dict[str, Graph]:
    return {
        "synthesizer_text": text_graph(model, precision),
        "synthesizer_decoder": decoder_graph(model, precision),
        "synthesizer_postnet": postnet_graph(model, precision),
    }


def text_graph(model: Tacotron, precision: str) -> Graph:
    """ids (B, T), lengths (B,), speakers (B, speaker_size), noise (B, T, both layers of the pre-net), uniform in [0, 1)
    -> values (B, T, E), keys (B, T, A), which `decoder_graph` takes"""
    c, encoder, attention = model.config, model.encoder, model.decoder.attention
    g = Graph("text", precision)
    ids, lengths = g.input("ids", ("B", "T"), "int64"), g.input("lengths", ("B",), "int64")
    speakers = g.input("speakers", ("B", c.speaker_size))
    noise = g.input("noise", ("B", "T", sum(c.encoder_prenet)))
    embedded = g.op("Gather", g.weight(encoder.embedding.weight), ids)
    encoded = cbhg(g, encoder.cbhg, prenet(g, encoder.prenet, embedded, noise), lengths)
    speakers = g.op("Unsqueeze", g.op("Mul", speakers, g.constant(c.speaker_scale)), g.ints(1))
    shape = g.op("Concat", g.op("Shape", ids), g.ints(c.speaker_size), axis=0)
    values = g.op("Concat", encoded, g.op("Expand", speakers, shape), axis=2)
    g.output(values, "values", ("B", "T", c.encoder_size + c.speaker_size))
    if isinstance(attention, DynamicConvolutionAttention):  # it does not look at the text
        keys = g.op("Slice", values, g.ints(0), g.ints(c.attention_size), g.ints(2))
    else:
        keys = g.linear(values, attention.key.weight, attention.location.weight @ attention.filters.bias)
    g.output(keys, "keys", ("B", "T", "A"))
    return g


def postnet_graph(model: Tacotron, precision: str) -> Graph:
    """before (B, F, n_mels), lengths (B,) -> mels (B, F, n_mels)"""
    g = Graph("postnet", precision)
    before = g.input("before", ("B", "F", model.config.n_mels))
    refined = cbhg(g, model.postnet, before, g.input("lengths", ("B",), "int64"))
    g.output(g.layer(refined, model.output), "mels", ("B", "F", model.config.n_mels))
    return g


def decoder_graph(model: Tacotron, precision: str) -> Graph:
    """values (B, T, E), keys (B, T, A), lengths (B,), spoken_lengths (B,): characters before those that end the text,
    max_frames (B,), noise (S, B, both layers of the pre-net), uniform in [0, 1), for at most S steps
    -> before (B, F, n_mels), attention (B, F / r, T), mel_lengths (B,), stopped (B,): by itself, not at max_frames"""
    c, g = model.config, Graph("decoder", precision)
    T = ("B", "T")
    values, keys = g.input("values", (*T, c.encoder_size + c.speaker_size)), g.input("keys", (*T, "A"))
    lengths, spoken = g.input("lengths", ("B",), "int64"), g.input("spoken_lengths", ("B",), "int64")
    max_frames = g.input("max_frames", ("B",), "int64")
    noise = g.input("noise", ("S", "B", sum(c.decoder_prenet)))
    inside, unspoken = g.mask(lengths, values, 1), g.as_float(g.op("Not", g.mask(spoken, values, 1)))
    batch = g.op("Slice", g.op("Shape", values), g.ints(0), g.ints(1))

    def zeros(*size: Value, of: type = np.float32) -> Value:
        return g.op("Expand", g.constant(0, of), g.op("Concat", batch, *size, axis=0))

    sizes = (c.n_mels, c.attention_size, c.encoder_size + c.speaker_size, *(4 * [c.decoder_size]))
    start = {name: zeros(g.ints(size)) for name, size in zip(STATE, sizes, strict=True)}
    start["weights"] = start["cumulative"] = zeros(g.op("Slice", g.op("Shape", values), g.ints(1), g.ints(2)))
    if isinstance(model.decoder.attention, DynamicConvolutionAttention):
        start["weights"] = g.as_float(g.mask(g.op("Expand", g.ints(1), batch), values, 1))  # on the first character
    start |= {"at_end": zeros(of=np.int64), "mel_lengths": max_frames, "stopped": g.op("Cast", zeros(of=np.int64), to=BOOL)}

    step = g.inner("step")
    i = step.input("i", (), "int64")
    step.input("go_on", (), "bool")
    shapes = [("B", size) for size in sizes] + [T, T, ("B",), ("B",), ("B",)]
    types = ["float"] * (len(sizes) + 2) + ["int64", "int64", "bool"]
    for name, shape, kind in zip(start, shapes, types, strict=True):
        step.input(name, shape, kind)
    frames, state = decoder_step(step, model, values, keys, inside, step.op("Gather", noise, i))
    n_frames = step.op("Mul", step.op("Add", i, step.constant(1, np.int64)), step.constant(int(model.r), np.int64))
    state |= stopping(step, model, state, unspoken, n_frames, max_frames)
    busy = step.op("Cast", step.op("Greater", state["mel_lengths"], n_frames), to=INT32)
    go_on = step.op("Cast", step.op("ReduceMax", busy, keepdims=0), to=BOOL)
    step.output(go_on, "goes_on", (), "bool")
    for name, shape, kind in zip(start, shapes, types, strict=True):
        step.output(state[name], f"next_{name}", shape, kind)
    step.output(frames, "frames", ("B", int(model.r) * c.n_mels))
    step.output(state["weights"], "attention_now", T)

    n_steps = g.op("Squeeze", g.op("Slice", g.op("Shape", noise), g.ints(0), g.ints(1)))
    outputs = g.op("Loop", n_steps, g.constant(True, bool), *start.values(), n=len(start) + 2, body=step)
    ended = dict(zip(start, outputs, strict=False))
    by_item = (g.op("Transpose", each, perm=[1, 0, 2]) for each in outputs[-2:])
    frames, attention = by_item
    before = g.op("Reshape", frames, g.ints(0, -1, c.n_mels))
    g.output(before, "before", ("B", "F", c.n_mels))
    g.output(attention, "attention", ("B", "steps", "T"))
    g.output(ended["mel_lengths"], "mel_lengths", ("B",), "int64")
    g.output(ended["stopped"], "stopped", ("B",), "bool")
    return g


STATE = ("frame", "hidden", "context", "hidden1", "cell1", "hidden2", "cell2")


def decoder_step(
    g: Graph, model: Tacotron, values: Value, keys: Value, inside: Value, noise: Value
) -> tuple[Value, dict[str, Value]]:
    """Decoder.step: the state by its names -> frames (B, r n_mels), and the next state with `stop` (B,)"""
    d, c = model.decoder, model.config
    seen = prenet(g, d.prenet, "frame", noise)
    x_gates = g.op("Add", g.layer(seen, d.query_prenet), g.linear("context", d.query_context.weight))
    hidden = gru_cell(g, x_gates, g.layer("hidden", d.query_hidden), "hidden")
    weights = attend(g, d.attention, hidden, keys, inside)
    cumulative = g.op("Add", "cumulative", weights)
    context = g.op("Squeeze", g.op("MatMul", g.op("Unsqueeze", weights, g.ints(1)), values), g.ints(1))
    x = g.layer(g.op("Concat", context, hidden, axis=1), d.join)
    x, hidden1, cell1 = residual_lstm(g, d.lstm1, x, "hidden1", "cell1")
    x, hidden2, cell2 = residual_lstm(g, d.lstm2, x, "hidden2", "cell2")
    frames = g.linear(x, d.frame_weights(int(model.r)))
    frame = g.op("Slice", frames, g.ints(-c.n_mels), g.ints(2**31), g.ints(1))
    stop = g.op("Squeeze", g.layer(g.op("Concat", x, context, axis=1), d.stop, exact=True), g.ints(1))
    state = {"frame": frame, "hidden": hidden, "context": context, "hidden1": hidden1, "cell1": cell1}
    state |= {"hidden2": hidden2, "cell2": cell2, "weights": weights, "cumulative": cumulative, "stop": stop}
    return frames, state


def stopping(
    g: Graph, model: Tacotron, state: dict[str, Value], unspoken: Value, n_frames: Value, max_frames: Value
) -> dict[str, Value]:
    """generation.StopDetection: after a step that ends with frame n_frames -> at_end, mel_lengths and stopped of the state"""
    r, arrival = int(model.r), model.config.arrival_frames
    on_end = g.op("ReduceSum", g.op("Mul", state["weights"], unspoken), g.ints(1), keepdims=0)
    on_end = g.op("Cast", g.op("Greater", on_end, g.constant(0.5)), to=INT64)
    at_end = g.op("Mul", g.op("Add", "at_end", g.constant(r, np.int64)), on_end)
    stops = g.op("Greater", state["stop"], g.constant(0))
    if arrival:
        stops = g.op("Or", stops, g.op("GreaterOrEqual", at_end, g.constant(arrival, np.int64)))
    allowed = g.op("And", g.op("Not", "stopped"), g.op("LessOrEqual", n_frames, max_frames))
    allowed = g.op("And", allowed, g.op("Greater", n_frames, g.constant(MIN_FRAMES + r, np.int64)))
    now = g.op("And", stops, allowed)
    return {"at_end": at_end, "mel_lengths": g.op("Where", now, n_frames, "mel_lengths"), "stopped": g.op("Or", "stopped", now)}


def attend(
    g: Graph, attention: LocationSensitiveAttention | DynamicConvolutionAttention, hidden: Value, keys: Value, inside: Value
) -> Value:
    """The attention's weights (B, T) of the next step."""
    weights, cumulative = (g.op("Unsqueeze", each, g.ints(1)) for each in ("weights", "cumulative"))  # (B, 1, T)
    (kernel,) = attention.filters.kernel_size
    n_seen, around = attention.filters.in_channels, [kernel // 2] * 2
    location = (attention.location.weight @ attention.filters.weight.flatten(1)).unflatten(1, (n_seen, kernel))
    if isinstance(attention, DynamicConvolutionAttention):
        located = g.op("Conv", weights, g.weight(location), pads=around)  # (B, A, T)
        windows = g.op("Conv", weights, g.constant(np.eye(kernel)[:, None]), pads=around)  # (B, K, T)
        filters = g.linear(g.op("Tanh", g.layer(hidden, attention.query)), attention.dynamic_filters.weight)
        filters = g.op("Reshape", filters, g.ints(0, -1, kernel))  # (B, filters, K)
        filtered = g.op("Transpose", g.op("MatMul", filters, windows), perm=[0, 2, 1])
        others = g.layer(filtered, attention.dynamic)
        prior = g.op("Conv", weights, g.constant(attention.prior[None, None]), pads=[len(attention.prior) - 1, 0])
        prior = g.op("Squeeze", g.op("Log", g.op("Max", prior, g.constant(LEAST_PRIOR))), g.ints(1))  # (B, T)
    else:
        seen = g.op("Concat", weights, cumulative, axis=1) if n_seen == 2 else cumulative
        located, prior = g.op("Conv", seen, g.weight(location), pads=around), None
        others = g.op("Add", keys, g.op("Unsqueeze", g.layer(hidden, attention.query), g.ints(1)))
    energies = g.op("Tanh", g.op("Add", others, g.op("Transpose", located, perm=[0, 2, 1])))
    scores = g.op("Squeeze", g.linear(energies, attention.score.weight, exact=True), g.ints(2))
    scores = g.op("Add", scores, prior) if prior else scores
    return g.op("Softmax", g.op("Where", inside, scores, g.constant(-np.inf)), axis=1)


def gru_cell(g: Graph, x_gates: Value, h_gates: Value, hidden: Value) -> Value:
    """decoder.gru_cell"""
    x_reset, x_update, x_new = g.op("Split", x_gates, n=3, axis=1)
    h_reset, h_update, h_new = g.op("Split", h_gates, n=3, axis=1)
    reset, update = (g.op("Sigmoid", g.op("Add", *pair)) for pair in ((x_reset, h_reset), (x_update, h_update)))
    candidate = g.op("Tanh", g.op("Add", x_new, g.op("Mul", reset, h_new)))
    return g.op("Add", candidate, g.op("Mul", update, g.op("Sub", hidden, candidate)))


def residual_lstm(g: Graph, module: ResidualLSTM, x: Value, hidden: Value, cell: Value) -> tuple[Value, Value, Value]:
    """ResidualLSTM.step: x (B, C) and the state -> (B, C), hidden, cell"""
    lstm = module.lstm
    gates = g.linear(x, lstm.weight_ih_l0, lstm.bias_ih_l0 + lstm.bias_hh_l0)
    hidden, cell = g.lstm_cell(g.op("Add", gates, g.linear(hidden, lstm.weight_hh_l0)), cell)
    return g.op("Add", x, hidden), hidden, cell


def prenet(g: Graph, module: PreNet, x: Value, noise: Value) -> Value:
    """noise (..., both layers), uniform in [0, 1): a number is dropped where it is under the probability."""
    sizes = (module.first.out_features, module.second.out_features)
    for layer, drawn in zip((module.first, module.second), g.op("Split", noise, g.ints(*sizes), n=2, axis=-1), strict=True):
        kept = g.as_float(g.op("GreaterOrEqual", drawn, g.constant(module.dropout)))
        factors = g.op("Mul", kept, g.constant(1 / (1 - module.dropout)))
        x = g.op("Mul", g.op("Relu", g.layer(x, layer)), factors)
    return x


def cbhg(g: Graph, module: CBHG, x: Value, lengths: Value) -> Value:
    """(B, T, C), lengths (B,) -> (B, T, channels)"""
    mask = g.as_float(g.mask(lengths, x, 1))  # (B, T)
    mask_t, mask = g.op("Unsqueeze", mask, g.ints(1)), g.op("Unsqueeze", mask, g.ints(2))
    x = g.op("Mul", x, mask)
    y = g.op("Transpose", x, perm=[0, 2, 1])  # (B, C, T)
    y = g.op("Concat", *(conv_norm(g, each, y, mask_t) for each in module.bank), axis=1)
    y = g.op("Mul", g.op("MaxPool", y, kernel_shape=[2], strides=[1], pads=[1, 0]), mask_t)
    y = conv_norm(g, module.project_back, conv_norm(g, module.project, y, mask_t), mask_t)
    y = g.op("Add", g.op("Transpose", y, perm=[0, 2, 1]), x)
    if hasattr(module.widen, "weight"):
        y = g.layer(y, module.widen)
    for each in module.highways:
        y = highway(g, each, y)
    by_time = g.op("Transpose", y, perm=[1, 0, 2])
    gru = module.gru
    both = g.lstm_or_gru(by_time, [gru.forward_gru, gru.backward_gru], lengths=g.op("Cast", lengths, to=INT32))
    return g.op("Reshape", g.op("Transpose", both, perm=[2, 0, 1, 3]), g.ints(0, 0, 2 * gru.forward_gru.hidden_size))


def conv_norm(g: Graph, module: ConvNorm, x: Value, mask: Value) -> Value:
    (kernel,) = module.conv.kernel_size
    y = g.op("Conv", x, g.weight(module.conv.weight), pads=[kernel // 2, (kernel - 1) // 2])
    return g.op("Mul", g.norm(g.op("Relu", y) if module.relu else y, module.norm), mask)


def highway(g: Graph, module: Highway, x: Value) -> Value:
    changed, gate = g.op("Relu", g.layer(x, module.transform)), g.op("Sigmoid", g.layer(x, module.gate))
    return g.op("Add", x, g.op("Mul", gate, g.op("Sub", changed, x)))
