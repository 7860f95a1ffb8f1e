"""Speaking: where it stops, and that whatever decoder there is runs, changed or not."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from synthesizer.accelerate import accelerate
from synthesizer.attention import AttentionState, LocationSensitiveAttention
from synthesizer.config import ATTENTIONS
from synthesizer.dataset import collate
from synthesizer.generation import SPAN, TorchLoop
from tests.synthesizer.test_synthesizer_model import items, tiny_model
from tests.vocoder_data import write_speech, write_synthesizer
from utils.errors import UserError
from utils.models.device import computes_bf16
from vocoder.preprocess import preprocess

R = 3


def memory_of(model, n_texts=7):
    """Encoded texts of different lengths."""
    draw = torch.Generator().manual_seed(n_texts)
    lengths = torch.randint(3, 20, (n_texts,), generator=draw)
    text = torch.randint(2, 66, (n_texts, int(lengths.max())), generator=draw)
    with torch.no_grad():
        return model._read(text, lengths, torch.randn(n_texts, 8, generator=draw))


@torch.no_grad()
def run_loop(loop, memory, n_spans=2):
    """mel, stop logits and attention of that many spans, with fixed random numbers."""
    torch.manual_seed(11)
    loop.start(memory)
    return [torch.cat(parts) for parts in zip(*(loop.steps(SPAN) for _ in range(n_spans)), strict=True)]


@pytest.fixture
def never_stops():
    model = tiny_model(prenet_dropout=0.5, attention="location").eval()
    model.decoder.stop.bias.data.fill_(-50.0)
    return model


def generate(model, **how):
    batch = collate(items([9, 12], [10, 10]))
    torch.manual_seed(7)
    return model.generate(batch.text, batch.text_lengths, batch.speakers, torch.tensor([20, 30]), 2, **how)


# ---- a changed decoder


def sharper(forward):
    def changed(self, query, state, memory):
        weights = nn.functional.normalize(forward(self, query, state, memory).weights ** 1.1, p=1, dim=1)
        return AttentionState(weights, state.cumulative + weights)

    return changed


class SharperAttention(LocationSensitiveAttention):
    forward = sharper(LocationSensitiveAttention.forward)


def same(a, b):
    return torch.allclose(a.after, b.after, atol=1e-4) and torch.allclose(a.attention, b.attention, atol=1e-5)


def test_the_chosen_loop_gives_what_the_plain_one_gives(never_stops):
    assert same(generate(never_stops, loop=accelerate(never_stops)), generate(never_stops))


@pytest.mark.parametrize("changed", ["a subclass", "the class", "the object"])
def test_a_changed_attention_is_honoured(changed, never_stops, monkeypatch):
    usual, attention = generate(never_stops), never_stops.decoder.attention
    if changed == "a subclass":
        attention.__class__ = SharperAttention
    elif changed == "the class":
        monkeypatch.setattr(LocationSensitiveAttention, "forward", SharperAttention.forward)
    else:
        monkeypatch.setattr(attention, "forward", SharperAttention.forward.__get__(attention))
    plain = generate(never_stops)
    assert same(generate(never_stops, loop=accelerate(never_stops)), plain)
    assert not same(plain, usual)


@pytest.mark.parametrize("where", ["the object", "the class", "a hook"])
def test_code_that_was_touched_is_not_replaced_even_where_it_gives_the_same(where, never_stops, monkeypatch):
    """It may differ for texts that no comparison holds."""
    attention = never_stops.decoder.attention
    forward = LocationSensitiveAttention.forward
    if where == "the object":
        monkeypatch.setattr(attention, "forward", lambda *inputs: forward(attention, *inputs))
    elif where == "the class":
        monkeypatch.setattr(LocationSensitiveAttention, "forward", lambda *inputs: forward(*inputs))
    else:
        attention.register_forward_hook(lambda *_: None)
    assert type(accelerate(never_stops)) is TorchLoop


# ---- where it stops


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_batch_equals_its_items(attention):
    model = tiny_model(attention=attention).eval()
    nn.init.normal_(model.decoder.stop.weight, 0, 2.0)  # so that the items stop at different steps
    model.decoder.stop.bias.data.fill_(-2.0)
    batch = collate(items([9, 30, 14, 21], [10, 10, 10, 10]))
    caps = torch.tensor([90, 60, 90, 75])
    together = model.generate(batch.text, batch.text_lengths, batch.speakers, caps, 3)
    assert len(set(together.lengths.tolist())) > 1 and 0 < together.stopped.sum() < 4
    for row, n_symbols in enumerate(batch.text_lengths.tolist()):
        one = slice(row, row + 1)
        alone = model.generate(batch.text[one, :n_symbols], batch.text_lengths[one], batch.speakers[one], caps[one], 3)
        n_frames = int(alone.lengths)
        assert (n_frames, bool(alone.stopped)) == (int(together.lengths[row]), bool(together.stopped[row]))
        torch.testing.assert_close(together.after[row, :n_frames], alone.after[0, :n_frames], atol=1e-5, rtol=0)


def test_the_cap_ends_speech_that_does_not_stop(never_stops):
    spoken = generate(never_stops)
    assert spoken.lengths.tolist() == [20, 30] and not spoken.stopped.any() and not spoken.arrived.any()


@pytest.mark.parametrize(("r", "n_frames"), [(2, 14), (3, 15), (11, 22)])
def test_speech_stops_after_the_first_step_that_starts_after_frame_10(r, n_frames):
    """That step is not the last of its span; what the loop generated after it is not returned."""
    model = tiny_model().eval()
    nn.init.zeros_(model.decoder.stop.weight)
    model.decoder.stop.bias.data.fill_(50.0)
    text, lengths = torch.randint(2, 66, (2, 9)), torch.tensor([9, 6])
    spoken = model.generate(text, lengths, torch.zeros(2, 8), torch.tensor([90, 90]), r)
    assert spoken.lengths.tolist() == [n_frames] * 2 and spoken.after.size(1) == n_frames
    assert spoken.attention.size(1) == n_frames // r
    assert spoken.stopped.all() and not spoken.arrived.any()


@pytest.mark.parametrize(
    ("arrival_frames", "spoken_lengths", "lengths"),
    [(9, None, [28, 44]), (9, torch.tensor([4, 8]), [28, 44]), (9, torch.tensor([3, 6]), [24, 36]), (0, None, [60, 60])],
)
def test_speech_stops_when_the_attention_stays_on_the_end_of_the_text(arrival_frames, spoken_lengths, lengths, monkeypatch):
    """Texts of 5 and 9 symbols, one symbol a step of 4 frames: at the end after 4 and 8 steps; 3 more make 9 frames."""
    model = tiny_model(arrival_frames=arrival_frames).eval()
    model.decoder.stop.bias.data.fill_(-50.0)
    steps = iter(range(100))

    def one_symbol_a_step(query, state, memory):
        at = (~memory.padding).sum(1).sub(1).clamp(max=next(steps))
        return AttentionState(nn.functional.one_hot(at, 9).float(), state.cumulative)

    monkeypatch.setattr(model.decoder.attention, "forward", one_symbol_a_step)
    batch = collate(items([5, 9], [10, 10]))
    spoken = model.generate(batch.text, batch.text_lengths, batch.speakers, torch.tensor([60, 60]), 4, spoken_lengths)
    assert spoken.lengths.tolist() == lengths
    assert spoken.arrived.tolist() == spoken.stopped.tolist() == [arrival_frames > 0] * 2


# ---- precision


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
