"""Attention: what word times teach it, and the kinds of it."""

import numpy as np
import pytest
import torch
from torch import nn

from synthesizer.attention import AttentionState, beta_binomial, make_attention
from synthesizer.dataset import Item, Utterances, collate
from synthesizer.held_out import alignment_score, position_error
from synthesizer.loss import attention_loss, expected_symbols
from synthesizer.model import Tacotron
from synthesizer.schedule import fade
from synthesizer.text import SYMBOLS
from synthesizer.text.word_times import WordTimes, parse_word_times, read_word_times, symbol_ends
from tests.synthesizer.test_synthesizer_model import TINY
from utils.data.audio import MelFormat
from utils.data.paths import SynthesizerData, save_npy, save_text
from utils.data.rows import Row
from utils.errors import UserError

# ---- word times to symbol times


def ends(text, words, seconds, duration=None):
    found = symbol_ends(text + "~", WordTimes(tuple(words.split(",")), tuple(seconds)), duration or seconds[-1])
    return None if found is None else dict(zip(text + "~", found.round(3).tolist(), strict=True))


def test_letters_share_their_word_and_signs_the_pause():
    spoken = ends("ab, cde.", ",AB,,CDE,", [0.1, 0.5, 0.9, 1.5, 1.9])
    by_hand = {"a": 0.3, "b": 0.5, ",": 0.7, " ": 0.9, "c": 1.1, "d": 1.3, "e": 1.5, ".": 1.7, "~": 1.9}
    assert spoken == pytest.approx(by_hand)


def test_without_a_pause_a_space_takes_no_time_and_the_end_still_has_some():
    spoken = ends("ab c", "AB,C", [0.4, 1.0])
    assert spoken == pytest.approx({"a": 0.2, "b": 0.4, " ": 0.4, "c": 0.9, "~": 1.0})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("don't go-now, mister brown ok", "DON'T,GO-NOW,MISTER,,BROWN,OK"),
        ("don't go now mister brown ok", "dont,GO,NOW,MR,BROWN,OK"),  # what differs shares its time
        ('\'tis a "cafe", a (good) one', ",TIS,A,CAFÉ,,A,GOOD,ONE,"),
        ("it was henry crawford who said so", "IT,WAS,HENRY,THE,ZEROTHCRAWFORD,WHO,SAID,SO"),
    ],
)
def test_words_written_in_another_way(text, words):
    seconds = np.linspace(0.3, 4, words.count(",") + 1)
    times = WordTimes(tuple(words.split(",")), tuple(seconds))
    found = symbol_ends(text + "~", times, 4.0)
    assert found.shape == (len(text) + 1,) and (np.diff(found) >= 0).all() and found[0] > 0 and found[-1] == 4
    last = text.rindex(" ")  # the words on both sides of what differs keep their times
    assert found[last] == pytest.approx(seconds[-2 - words.endswith(",")], abs=1e-6)


@pytest.mark.parametrize("words", ["", ",,", "QUITE,ANOTHER,SENTENCE,ALTOGETHER", "SOME"])
def test_words_of_another_text_teach_nothing(words):
    assert ends("some words here now", words, list(np.linspace(0.2, 2, words.count(",") + 1))) is None


@pytest.mark.parametrize("line", ["A,B|0.5,0.4", "A,B|0.5,x", "A,B|0.5,nan", "A,B|-1,2"])
def test_times_that_do_not_grow_teach_nothing(line):
    assert parse_word_times(line) is None


def test_lines_of_other_mels_and_no_file_and_a_damaged_file(tmp_path):
    path = tmp_path / "alignments.txt"
    assert read_word_times(path, {"a.npy"}) == {}
    path.write_text("a.npy|,A|0.1,0.2\nb.npy|B|0.2\n")
    assert read_word_times(path, {"a.npy"}) == {"a.npy": ",A|0.1,0.2"}
    path.write_text("a.npy|,A|0.1,0.2\na.npy|A,B|0.2\n")
    with pytest.raises(UserError, match=r"alignments\.txt, line 2"):
        read_word_times(path, {"a.npy"})


def test_items_carry_times_in_frames_where_they_are_known(tmp_path):
    data = SynthesizerData(tmp_path)
    rows = [Row("", f"mel-{name}.npy", f"embed-{name}.npy", 0, 80, "Ab, 2 c.") for name in "xyz"]
    for row in rows:
        save_npy(data.mels_dir / row.mel, np.zeros((80, 80), np.float16))
        save_npy(data.embeds_dir / row.embed, np.zeros(4, np.float32))
    save_text(data.alignments, "mel-x.npy|AB,,TWO,C,|0.2,0.4,0.7,0.8,1\nmel-y.npy|OTHER,WORDS|0.2,1\n")
    utterances = Utterances(data, rows, SYMBOLS, "english", MelFormat(), 4, use_times=True)
    np.testing.assert_allclose(utterances[0].ends, [8, 16, 24, 32, 40, 48, 56, 56, 64, 72, 80], rtol=1e-5)
    assert utterances[1].ends is None and utterances[2].ends is None
    assert utterances.fitting_times(9) == (2, 1)
    batch = collate([utterances[0], utterances[2]._replace(text=np.arange(2, 15))])
    assert batch.ends[0, 10:].tolist() == [80, np.inf, np.inf] and not batch.ends[1].any()
    assert Utterances(data, rows, SYMBOLS, "english", MelFormat(), 4)[0].ends is None


# ---- the loss


def loss_of(attention, batch, **how):
    return attention_loss(attention, batch.ends, batch.text_lengths, batch.mel_lengths, 2, **how)


def test_expected_symbol_in_the_middle_of_each_step():
    spoken = expected_symbols(torch.tensor([[4.0, 8, 8, 16, torch.inf]]), torch.tensor([4]), 6, 4)
    assert spoken[0].tolist() == [0, 1, 2.75, 3.25, 3.5, 3.5]


def test_attention_loss_by_hand():
    """Two utterances of 2 steps and 3 symbols, r = 2; the second has no word times, and a step less."""
    texts = [Item(np.arange(3), np.zeros((n, 80), np.float32), np.zeros(4, np.float32)) for n in (4, 2)]
    batch = collate([texts[0]._replace(ends=np.array([2, 4, 4], np.float32)), texts[1]])
    attention = torch.tensor([[[1.0, 0, 0], [0, 0, 1.0]], [[0.0, 0, 1.0], [9.0, 9, 9]]])
    loss = loss_of(attention, batch, width=2.0, times_weight=0.4, diagonal_weight=0.5)
    taught = [0.0, 0.4 * 0.5 * (1 / 2.0) ** 2]  # on the symbol, then one beside it
    guided = 0.5 * (1 - np.exp(-0.5 * ((2 / 3) / 0.2) ** 2))
    assert loss.item() == pytest.approx((sum(taught) + guided) / 3, abs=1e-4)
    lost = loss_of(torch.zeros(2, 2, 3), batch, width=0.01, times_weight=1.0, diagonal_weight=0.0)
    assert torch.isfinite(lost)


def test_word_times_teach_an_attention_to_follow_them():
    """Speech that is slow at first and fast at the end: a diagonal is far from it."""
    torch.manual_seed(1)
    model = Tacotron(type(TINY)(**{**vars(TINY), "attention": "location_both"})).train()
    draw = np.random.default_rng(2)
    spoken = 60 * np.linspace(0, 1, 13, dtype=np.float32)[1:] ** 0.5
    mel, voice = draw.normal(size=(60, 80)).astype(np.float32), np.zeros(8, np.float32)
    batch = collate([Item(draw.permutation(40)[:12] + 2, mel, voice, spoken) for _ in range(4)])
    expected = expected_symbols(batch.ends, batch.text_lengths, 30, 2)[0].numpy()
    optimizer = torch.optim.Adam(model.attention_parameters(), 1e-2)
    errors, scores = [], []
    for _ in range(25):
        attention = model(*batch.inputs, 2).attention
        loss_of(attention, batch, width=2.0, times_weight=1.0, diagonal_weight=1.0).backward()
        optimizer.step()
        optimizer.zero_grad()
        errors.append(position_error(attention[0].detach().numpy(), expected))
        scores.append(alignment_score(attention[0].detach().numpy()))
    assert errors[0] > 2 and errors[-1] < 0.8
    assert scores[-1] > 2 * scores[0]


def test_attention_loss_reaches_what_is_clipped_apart_and_nothing_else():
    model = Tacotron(TINY)
    batch = collate([Item(np.arange(2, 9), np.zeros((12, 80), np.float32), np.ones(8, np.float32))])
    loss_of(model(*batch.inputs, 2).attention, batch, width=2.0, times_weight=1.0, diagonal_weight=1.0).backward()
    apart = set(model.attention_parameters())
    assert apart == {parameter for parameter in model.parameters() if parameter.grad is not None}


def test_fade_is_whole_then_falls_then_is_gone():
    assert [fade(step, 10, 20) for step in (1, 10, 15, 20, 99)] == [1, 1, 0.5, 0, 0]
    assert [fade(step, 10, 10) for step in (10, 11)] == [1, 0]


# ---- kinds of attention


def test_location_sensitive_attention_over_both_is_the_published_one_where_it_ignores_the_last_step():
    torch.manual_seed(0)
    both, published = (make_attention(kind, 6, 5, 8, 4, 5) for kind in ("location_both", "location"))
    state = both.state_dict()
    state["filters.weight"][:, 0] = 0
    published.load_state_dict({**state, "filters.weight": state["filters.weight"][:, 1:]})
    values, mask = torch.randn(2, 9, 6), torch.ones(2, 9, dtype=torch.bool)
    memories = [attention.prepare(values, mask) for attention in (both, published)]
    states = [both.start(memories[0]), published.start(memories[1])]
    for query in torch.randn(3, 2, 5):
        states = [a(query, s, m) for a, s, m in zip((both, published), states, memories, strict=True)]
        torch.testing.assert_close(states[0].weights, states[1].weights)


def test_prior_of_dynamic_convolution_goes_one_symbol_forward_a_step_and_never_back():
    prior = beta_binomial(10, 0.1, 0.9)
    assert prior.sum().item() == pytest.approx(1) and (prior * torch.arange(11)).sum().item() == pytest.approx(1)
    attention = make_attention("dynamic", 6, 5, 8, 4, 5)
    nn.init.zeros_(attention.score.weight)  # the prior alone
    memory = attention.prepare(torch.randn(1, 60, 6), torch.ones(1, 60, dtype=torch.bool))
    state = attention.start(memory)
    assert state.weights[0].tolist() == [1.0] + [0.0] * 59
    for step in range(1, 4):
        state = attention(torch.randn(1, 5), state, memory)
        assert (state.weights[0] * torch.arange(60)).sum().item() == pytest.approx(step, abs=0.01)
    halfway = AttentionState(nn.functional.one_hot(torch.tensor([30]), 60).float(), state.cumulative)
    assert attention(torch.randn(1, 5), halfway, memory).weights[0, :30].sum() < 1e-4
