"""The compiled loop that speaks and the compiled GRU against plain torch."""

import json
import sys

import numpy as np
import pytest
import torch
from torch import nn

from synthesizer import graph, layers
from synthesizer.compiled_loop import CompiledLoop
from synthesizer.generation import SPAN, TorchLoop
from synthesizer.gru import BidirectionalGRU
from synthesizer.layers import sequence_mask
from synthesizer.loops import fastest_loop
from tests.test_synthesizer_model import tiny_model
from tests.vocoder_data import write_speech, write_synthesizer
from utils.errors import UserError
from utils.models.device import computes_bf16
from vocoder.preprocess import preprocess

pytest.importorskip("numba")

R, STEPS = 3, 2 * SPAN
in_bf16 = pytest.mark.skipif(not computes_bf16(torch.device("cpu")), reason="needs a CPU with bfloat16 products")


def memory_of(model, n_texts=7):
    """Texts of different lengths, read."""
    draw = torch.Generator().manual_seed(n_texts)
    lengths = torch.randint(3, 20, (n_texts,), generator=draw)
    text = torch.randint(2, 66, (n_texts, int(lengths.max())), generator=draw)
    with torch.no_grad():
        return model._read(text, lengths, torch.randn(n_texts, 8, generator=draw))


@torch.no_grad()
def said(loop, memory):
    """mel, stop logits and attention of STEPS steps."""
    loop.start(memory)
    return [torch.cat(parts) for parts in zip(*(loop.steps(SPAN) for _ in range(STEPS // SPAN)), strict=True)]


@pytest.mark.parametrize("attention", ["location", "location_both"])
@pytest.mark.parametrize("n_texts", [1, 2, 7, 16])
def test_compiled_steps_are_those_of_plain_torch(attention, n_texts):
    model = tiny_model(attention=attention, decoder_size=50, attention_size=18).eval()  # panels are not filled up by either
    memory = memory_of(model, n_texts)
    plain = said(TorchLoop(model.decoder, R, torch.float32), memory)
    assert plain[0].std() > 0.05 and plain[2].std() > 0.01
    for ours, theirs in zip(said(CompiledLoop(model.decoder, R, torch.float32), memory), plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=in_bf16)])
def test_threads_and_company_change_no_bit(dtype):
    model, seen = tiny_model(decoder_size=70).eval(), []
    memory = memory_of(model)
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        seen.append(said(CompiledLoop(model.decoder, R, dtype), memory))
    torch.set_num_threads(1)
    second = memory._replace(values=memory.values[1:2], keys=memory.keys[1:2], padding=memory.padding[1:2])
    alone = said(CompiledLoop(model.decoder, R, dtype), second)
    for one, two, three, of_second in zip(*seen, alone, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)
        torch.testing.assert_close(of_second, one[:, 1:2], atol=0, rtol=0)


@in_bf16
def test_bfloat16_rounds_a_little():
    model = tiny_model(decoder_size=64).eval()
    memory = memory_of(model)
    exact, rounded = (said(CompiledLoop(model.decoder, R, dtype), memory)[0] for dtype in (torch.float32, torch.bfloat16))
    assert 0 < (exact - rounded).abs().max() < 0.05 * exact.std()


def test_dropout_falls_as_it_was_drawn(monkeypatch):
    model = tiny_model(prenet_dropout=0.4).eval()
    memory, sizes = memory_of(model, 2), model.config.decoder_prenet
    torch.manual_seed(11)
    ours = said(CompiledLoop(model.decoder, R, torch.float32), memory)
    torch.manual_seed(11)
    drawn = torch.cat([torch.empty(SPAN, 2, sum(sizes)).bernoulli_(0.6) for _ in range(STEPS // SPAN)])
    assert 0.5 < drawn.mean() < 0.7
    factors = iter(part for step in drawn / 0.6 for part in step.split(sizes, dim=1))
    monkeypatch.setattr(layers.F, "dropout", lambda x, p, training: x * next(factors))
    for one, other in zip(ours, said(TorchLoop(model.decoder, R, torch.float32), memory), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_broken_weight_is_heard_of():
    model = tiny_model().eval()
    model.decoder.lstm2.lstm.weight_hh_l0.data[3, 4] = torch.nan
    mel, stop, _ = said(CompiledLoop(model.decoder, R, torch.float32), memory_of(model))
    assert mel[1:].isnan().any() and stop[1:].isnan().any()


def test_what_cannot_be_compiled_speaks_in_torch(monkeypatch):
    located, dynamic = tiny_model(), tiny_model(attention="dynamic")
    assert isinstance(fastest_loop(located.decoder, R), CompiledLoop)
    assert isinstance(fastest_loop(dynamic.decoder, R), TorchLoop)
    assert isinstance(fastest_loop(located.decoder, R, torch.float16), TorchLoop)
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "utils.cpu.vectors", raising=False)
    monkeypatch.delattr("utils.cpu.vectors", raising=False)
    assert isinstance(fastest_loop(located.decoder, R), TorchLoop)


@pytest.mark.parametrize("attention", ["location_both", "dynamic"])
def test_recorded_steps_can_be_replayed(attention, monkeypatch):
    """What a CUDA graph does, done again instead of replayed: everything goes through the tensors that it holds."""

    def record(work):
        work()  # once, as recording does
        return work

    monkeypatch.setattr(graph, "record", record)
    model = tiny_model(attention=attention).eval()
    loop = graph.GraphLoop(model.decoder, R, torch.float32)
    for n_texts in (3, 2):
        memory = memory_of(model, n_texts)
        for one, other in zip(said(loop, memory), said(TorchLoop(model.decoder, R, torch.float32), memory), strict=True):
            assert torch.equal(one, other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("attention", ["location_both", "dynamic"])
def test_a_cuda_graph_speaks_as_single_steps_do(attention, capsys):
    model = tiny_model(attention=attention).eval().cuda()
    loop = fastest_loop(model.decoder, R)
    assert isinstance(loop, graph.GraphLoop)
    for n_texts in (3, 2):
        memory = type(made := memory_of(model.cpu(), n_texts))(*(each.cuda() for each in made))
        model.cuda()
        plain = said(TorchLoop(model.decoder, R, torch.float32), memory)
        for one, other in zip(said(loop, memory), plain, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert "no CUDA graph" not in capsys.readouterr().out


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_compiled_gru_is_torch_s_on_each_length(n_threads):
    torch.set_num_threads(n_threads)
    gru, lengths = BidirectionalGRU(10, 21), [12, 5, 1, 9]
    x, mask = torch.randn(4, 12, 10), sequence_mask(torch.tensor(lengths), 12)[:, :, None].float()
    with torch.no_grad():
        ours = gru(x, mask)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = gru(x, mask)
    for row, length in enumerate(lengths):
        ahead, _ = gru.ahead(x[row, None, :length])
        back, _ = gru.back(x[row, None, :length].flip(1))
        torch.testing.assert_close(ours[row, :length], torch.cat([ahead, back.flip(1)], dim=2)[0], atol=1e-6, rtol=1e-5)
    assert not ours[mask.expand_as(ours) == 0].any() and not rounded[mask.expand_as(ours) == 0].any()
    torch.testing.assert_close(rounded.float(), ours, atol=0.02, rtol=0)


def test_aligned_mels_say_their_precision_and_hardly_depend_on_it(samples, tmp_path):
    data = write_speech(samples, tmp_path / "in", 4)
    path, found = write_synthesizer(tmp_path / "synthesizer.pt"), {}
    for precision in ("auto", "fp32", "bf16"):
        preprocess(path, data.root, tmp_path / precision, cpu=True, hparams=f"precision={precision}")
        made_from = json.loads((tmp_path / precision / "mels_gta" / "made_from.json").read_text())
        found[precision] = [np.load(tmp_path / precision / "mels_gta" / f"mel-{i}.npy").astype(float) for i in range(4)]
        usual = "bf16" if computes_bf16(torch.device("cpu")) else "fp32"
        assert made_from["precision"] == (usual if precision == "auto" else precision)
    for exact, rounded in zip(found["fp32"], found["bf16"], strict=True):
        assert 0 < np.abs(exact - rounded).max() < 0.05
    with pytest.raises(UserError, match="precision must be one of auto, fp32"):
        preprocess(path, data.root, tmp_path / "no", cpu=True, hparams="precision=half")


def test_a_stop_at_each_step_of_a_span_ends_there():
    """The model says stop at a step that is not the last of those generated at once: what follows it is not returned."""
    model = tiny_model().eval()
    nn.init.zeros_(model.decoder.stop.weight)
    model.decoder.stop.bias.data.fill_(50.0)
    text, lengths = torch.randint(2, 66, (2, 9)), torch.tensor([9, 6])
    for r, n_frames in ((2, 14), (3, 15), (11, 22)):  # the first step that begins after frame 10
        spoken = model.generate(text, lengths, torch.zeros(2, 8), torch.tensor([90, 90]), r)
        assert spoken.lengths.tolist() == [n_frames] * 2 and spoken.after.size(1) == n_frames
        assert spoken.attention.size(1) == n_frames // r
