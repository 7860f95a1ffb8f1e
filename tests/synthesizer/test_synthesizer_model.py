"""Tacotron against the published numbers, and the rule that padding never changes a result."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from synthesizer.config import ATTENTIONS, TacotronConfig
from synthesizer.dataset import Item, collate
from synthesizer.decoder import ResidualLSTM, gru_cell
from synthesizer.held_out import attention_peak, coverage, monotonicity
from synthesizer.inference import Synthesizer
from synthesizer.layers import BidirectionalGRU, sequence_mask
from synthesizer.loss import attention_loss, tacotron_losses
from synthesizer.model import Tacotron
from synthesizer.published import from_published, own_content
from synthesizer.text import spoken_length, text_to_ids
from tests.published_state import published_state
from utils.data.audio import MelFormat
from utils.errors import UserError
from utils.models import checkpoint
from utils.models.recurrent import LoopProduct
from utils.training.ranks import BatchNorm

TINY = TacotronConfig(
    embedding_size=16,
    encoder_prenet=(16, 12),
    encoder_size=14,
    encoder_kernels=3,
    decoder_prenet=(16, 12),
    attention_size=16,
    attention_filters=4,
    attention_kernel=5,
    decoder_size=24,
    postnet_size=16,
    postnet_kernels=4,
    n_highways=2,
    n_mels=80,
    speaker_size=8,
    prenet_dropout=0.0,
    zoneout=0.0,
)


@pytest.fixture(scope="module")
def published():
    state = published_state("synthesizer")
    content = from_published(state, TacotronConfig(prenet_dropout=0.0))
    model = Tacotron(TacotronConfig(**content["model"]))
    model.load_state_dict(content["model_state"])
    return model.eval()


def tiny_model(**changes):
    torch.manual_seed(3)
    model = Tacotron(TacotronConfig(**{**vars(TINY), **changes}))
    for module in model.modules():  # batch norms as after some training, so that padding would show
        if isinstance(module, BatchNorm):
            nn.init.normal_(module.running_mean, 0.5, 0.2)
            nn.init.normal_(module.bias, 0.0, 0.3)
    return model


def items(text_lengths, frame_counts):
    draw = np.random.default_rng(5)
    return [
        Item(
            draw.integers(2, 66, n_symbols),
            draw.uniform(-4, 4, (n_frames, 80)).astype(np.float32),
            draw.normal(size=8).astype(np.float32),
        )
        for n_symbols, n_frames in zip(text_lengths, frame_counts, strict=True)
    ]


# ---- published numbers


@torch.no_grad()
def test_teacher_forced_numbers_are_the_published_ones(published, expected):
    text, mel = torch.from_numpy(expected["ids_0"])[None], torch.from_numpy(expected["teacher_mel"]).transpose(1, 2)
    lengths = torch.tensor([text.size(1)]), torch.tensor([mel.size(1)])
    answer = published(text, lengths[0], mel, lengths[1], torch.from_numpy(expected["speaker"]), 2)
    np.testing.assert_allclose(answer.before.transpose(1, 2), expected["teacher_before_postnet"], atol=1e-4)
    np.testing.assert_allclose(answer.after.transpose(1, 2), expected["teacher_after_postnet"], atol=1e-4)
    np.testing.assert_allclose(answer.attention, expected["teacher_attention"], atol=1e-4)
    stop = torch.sigmoid(answer.stop_logits).repeat_interleave(2, dim=1)
    np.testing.assert_allclose(stop, expected["teacher_stop"], atol=1e-4)


def test_free_running_numbers_are_the_published_ones(published, expected):
    text = torch.from_numpy(expected["ids_0"])[None]
    speaker = torch.from_numpy(expected["speaker"])
    spoken = published.generate(text, torch.tensor([text.size(1)]), speaker, torch.tensor([2000]))
    assert spoken.stopped.all() and spoken.lengths.tolist() == [expected["generated_after_postnet"].shape[2]]
    np.testing.assert_allclose(spoken.before.transpose(1, 2), expected["generated_before_postnet"], atol=1e-4)
    np.testing.assert_allclose(spoken.after.transpose(1, 2), expected["generated_after_postnet"], atol=1e-4)
    np.testing.assert_allclose(spoken.attention, expected["generated_attention"], atol=1e-4)


def test_published_size_and_nothing_dropped_silently(published):
    assert sum(parameter.numel() for parameter in published.parameters()) == 30_870_177
    state, model = published_state("synthesizer"), Tacotron(TacotronConfig())
    changed = (
        ({**state, "surplus.weight": torch.zeros(1)}, r"Unexpected.*surplus\.weight"),
        ({name: value for name, value in state.items() if name != "post_proj.weight"}, r"Missing.*output\.weight"),
        ({**state, "post_proj.weight": torch.zeros(80, 511)}, r"output\.weight.*80, 511"),
    )
    for other, told in changed:
        with pytest.raises(RuntimeError, match=told):
            model.load_state_dict(from_published(other)["model_state"])


# ---- padding


@pytest.mark.parametrize("attention", ATTENTIONS)
@torch.no_grad()
def test_teacher_forced_batch_equals_its_items(attention):
    model = tiny_model(attention=attention).eval()
    several = items([9, 23, 14], [31, 40, 17])
    together = model(*collate(several).inputs, 3)
    for row, item in enumerate(several):
        alone = model(*collate([item]).inputs, 3)
        n_frames, n_steps, n_symbols = len(item.mel), alone.stop_logits.size(1), len(item.text)
        torch.testing.assert_close(together.after[row, :n_frames], alone.after[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(together.before[row, :n_frames], alone.before[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(together.stop_logits[row, :n_steps], alone.stop_logits[0], atol=1e-5, rtol=0)
        attention = together.attention[row, :n_steps]
        torch.testing.assert_close(attention[:, :n_symbols], alone.attention[0], atol=1e-5, rtol=0)
        assert (attention[:, n_symbols:] == 0).all()
        torch.testing.assert_close(attention.sum(1), torch.ones(n_steps))


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_padding_changes_neither_losses_nor_gradients_in_training(attention):
    """Batch norm's statistics, its running ones, every loss and every gradient; of two utterances one has word times."""
    timed, plain = items([9, 12], [20, 16])
    several = collate([timed._replace(ends=np.linspace(2, 20, 9, dtype=np.float32)), plain])
    padded = several._replace(
        text=nn.functional.pad(several.text, (0, 7), value=5),
        ends=nn.functional.pad(several.ends, (0, 7), value=torch.inf),
        mels=nn.functional.pad(several.mels, (0, 0, 0, 12), value=3.0),
    )
    models = []
    for batch in (several, padded):
        model = tiny_model(attention=attention).train()
        prediction = model(*batch.inputs, 2)
        losses = tacotron_losses(prediction, batch.mels, batch.mel_lengths, 2, stop_weight=5.0)
        lengths = batch.text_lengths, batch.mel_lengths
        aligned = attention_loss(prediction.attention, batch.ends, *lengths, 2, 2.0, times_weight=1.0, diagonal_weight=1.0)
        (losses.total + aligned).backward()
        models.append((model, (*losses, aligned)))
    (first, plain), (second, longer) = models
    torch.testing.assert_close(plain, longer, atol=1e-5, rtol=0)
    for (name, buffer), other in zip(first.named_buffers(), second.buffers(), strict=True):
        torch.testing.assert_close(buffer, other, msg=name)
    for (name, weight), other in zip(first.named_parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, other.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_masked_batch_norm_is_batch_norm_where_nothing_is_padded():
    ours, theirs = BatchNorm(6), nn.BatchNorm1d(6)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(4, 6, 9) * 3 + 1
    torch.testing.assert_close(ours(x, torch.ones(4, 1, 9)), theirs(x))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


# ---- recurrences


@torch.no_grad()
def test_lstm_steps_equal_the_whole_sequence():
    lstm, x = ResidualLSTM(12, 0.1).eval(), torch.randn(2, 6, 12)
    state, steps = (torch.zeros(2, 12), torch.zeros(2, 12)), []
    for frame in x.unbind(1):
        y, state = lstm.step(frame, state)
        steps.append(y)
    torch.testing.assert_close(torch.stack(steps, dim=1), lstm(x))


def test_zoneout_keeps_a_share_of_the_hidden_state():
    size, zoneout = 200, 0.3
    lstm, x = ResidualLSTM(size, zoneout).train(), torch.randn(4, 9, size)
    hidden = lstm(x) - x
    kept = (hidden[:, 1:] - hidden[:, :-1]).abs() < 1e-6
    assert kept.float().mean().item() == pytest.approx(zoneout, abs=0.03)
    lstm.zoneout = 1e-9  # takes the same way, with nothing kept
    torch.testing.assert_close(lstm(x), lstm.eval()(x))


def test_gru_cell_is_torchs():
    cell, x, hidden = nn.GRUCell(5, 7), torch.randn(3, 5), torch.randn(3, 7)
    gates = nn.functional.linear(x, cell.weight_ih, cell.bias_ih), nn.functional.linear(hidden, cell.weight_hh, cell.bias_hh)
    torch.testing.assert_close(gru_cell(*gates, hidden), cell(x, hidden))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_product_in_a_loop_has_the_gradients_of_a_linear_layer(frozen):
    added, weight, first = (torch.randn(size, dtype=torch.float64) for size in ((2, 5, 4), (4, 4), (2, 4)))
    found = []
    for in_loop in (True, False):
        given = [each.clone().requires_grad_(not frozen or each is not weight) for each in (added, weight, first)]
        product = LoopProduct(given[1], given[0]) if in_loop else None
        x = given[2]
        for step in range(5):
            x = (product(x) if product else given[0][:, step] + x @ given[1].t()).tanh()
        found.append([x, *torch.autograd.grad(x.square().sum(), [each for each in given if each.requires_grad])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


class Products(TorchDispatchMode):
    """How many products of matrices have a result of each size."""

    def __init__(self):
        super().__init__()
        self.sizes = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.mm.default:
            self.sizes[tuple(made.shape)] += 1
        return made


def test_gradients_of_recurrent_weights_are_one_product_for_all_steps():
    decoder, counts = tiny_model(zoneout=0.1).train().decoder, []
    memory = decoder.attention.prepare(torch.randn(3, 20, decoder.query_context.in_features), torch.ones(3, 20, dtype=bool))
    recurrent = [decoder.lstm1.lstm.weight_hh_l0, decoder.query_context.weight, decoder.query_hidden.weight]
    for n_steps in (5, 15):
        outputs = decoder(torch.randn(3, n_steps, 80), memory, 2)
        with Products() as made:
            sum(each.sum() for each in outputs).backward(retain_graph=True)
        counts.append([made.sizes[tuple(weight.shape)] for weight in recurrent])
    assert counts[0] == counts[1] and min(counts[0]) >= 1


class Conversions(TorchDispatchMode):
    """The sizes of all tensors that are converted to another precision."""

    def __init__(self):
        super().__init__()
        self.sizes = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._to_copy.default:
            self.sizes[tuple(args[0].shape)] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("kind", ATTENTIONS)
def test_a_decoder_step_converts_small_tensors_alone(kind, frozen):
    """Not the text's encoding nor the LSTMs' weights: those once for all steps."""
    decoder = tiny_model(attention=kind, zoneout=0.1).train().decoder
    decoder.lstm1.requires_grad_(not frozen)
    values, large = torch.randn(3, 50, decoder.query_context.in_features), {(3, 50, 22), (96, 24)}
    counts = []
    for n_steps in (5, 15):
        with torch.autocast("cpu", torch.bfloat16), Conversions() as made:
            decoder(torch.randn(3, n_steps, 80), decoder.attention.prepare(values, torch.ones(3, 50, dtype=bool)), 2)
        counts.append(made.sizes)
    assert all(counts[0][size] == counts[1][size] > 0 for size in large)
    assert (counts[1].total() - counts[0].total()) / 10 == {"dynamic": 12}.get(kind, 11)


@pytest.mark.parametrize("autocast", [False, True])
def test_bidirectional_gru_is_torchs_on_each_length(autocast):
    ours, theirs = BidirectionalGRU(10, 6), nn.GRU(10, 6, batch_first=True, bidirectional=True)
    for name, weight in ours.forward_gru.named_parameters():
        getattr(theirs, name).data.copy_(weight)
        getattr(theirs, f"{name}_reverse").data.copy_(ours.backward_gru.get_parameter(name))
    lengths, x = [12, 5, 1, 9], torch.randn(4, 12, 10)
    mask = sequence_mask(torch.tensor(lengths), 12)[:, :, None].float()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        outputs = ours(x.bfloat16() if autocast else x, mask)
    assert not outputs[mask.expand_as(outputs) == 0].any()
    for row, length in enumerate(lengths):
        expected = theirs(x[row, None, :length])[0][0]
        torch.testing.assert_close(outputs[row, :length].float(), expected, atol=0.02 if autocast else 1e-6, rtol=0)


# ---- learning, measures


@pytest.mark.parametrize("autocast", [False, True])
def test_overfits_one_batch(autocast):
    model = tiny_model(zoneout=0.1, prenet_dropout=0.5).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    batch = collate(items([9, 12, 7], [24, 20, 31]))
    bands = torch.linspace(0, 6, 80) + torch.linspace(0, 3, 31)[:, None]
    batch = batch._replace(mels=(3 * torch.sin(bands)).expand_as(batch.mels))
    losses = []
    for _ in range(25):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            prediction = model(*batch.inputs, 2)
        loss = tacotron_losses(prediction, batch.mels, batch.mel_lengths, 2)
        assert loss.total.dtype == torch.float32
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(loss.total.item())
    assert losses[-1] < 0.5 * losses[0]
    torch.testing.assert_close(prediction.attention.sum(2), torch.ones(3, 16), atol=1e-4, rtol=0)


def test_measures_tell_a_diagonal_from_a_smear():
    diagonal, smear = np.eye(20).repeat(2, axis=0), np.full((40, 20), 1 / 20)
    assert attention_peak(diagonal) == monotonicity(diagonal) == coverage(diagonal) == 1
    assert attention_peak(smear) == pytest.approx(1 / 20) and coverage(smear) < 0.2
    assert monotonicity(diagonal[::-1]) < 0.6


# ---- the interface that others call


@pytest.fixture(scope="module")
def synthesizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "synthesizer.pt"
    model = tiny_model(prenet_dropout=0.5)
    model.decoder.stop.bias.data.fill_(-50.0)
    checkpoint.save(path, content(model))
    return Synthesizer(path, device="cpu", precision="fp32")


def content(model):
    return {
        "format": "sv2tts-synthesizer-1",
        "step": 7,
        "model": vars(model.config),
        "mel": vars(MelFormat()),
        "symbols": "_~abcdefghijklmnopqrstuvwxyz .," + "?" * 35,
        "training": {"cleaner": "english"},
        "model_state": model.state_dict(),
    }


def test_synthesizer_speaks_lists_and_arrays_and_repeats_with_a_seed(synthesizer, capsys):
    texts = ["a b c.", "something longer, said once", "ab"]
    voices = np.random.default_rng(0).normal(size=(3, 8))
    mels, alignments = synthesizer.synthesize_spectrograms(texts, voices, return_alignments=True, seed=4)
    assert "cut at" in capsys.readouterr().out
    for text, mel, alignment in zip(texts, mels, alignments, strict=True):
        assert mel.dtype == np.float32 and mel.shape[0] == 80 and mel.shape[1] > 0
        assert alignment.shape == (-(-mel.shape[1] // 2), len(text) + 1)
        np.testing.assert_allclose(alignment.sum(1), 1, atol=1e-5)
    again = synthesizer.synthesize_spectrograms(texts, list(voices), seed=4)
    for mel, other in zip(mels, again, strict=True):
        np.testing.assert_array_equal(mel, other)
    assert len(synthesizer.synthesize_spectrograms(["a", "b"], voices[0])) == 2
    with pytest.raises(ValueError, match="embeddings of shape"):
        synthesizer.synthesize_spectrograms(texts, voices[:2])
    with pytest.raises(UserError, match="nothing to read"):
        synthesizer.synthesize_spectrograms(["..."], voices[:1])


def test_bf16_speaks_nearly_the_same_and_texts_cut_at_the_cap_are_listed(synthesizer, tmp_path):
    path = tmp_path / "synthesizer.pt"
    checkpoint.save(path, content(synthesizer.model))
    rounding = Synthesizer(path, device="cpu", precision="bf16", cap_frames=(30, 2))
    texts, voice = ["a b c.", "ab"], np.ones(8)
    mels, alignments = rounding.synthesize_spectrograms(texts, voice, return_alignments=True, seed=4)
    assert rounding.unfinished == [0, 1] and [mel.shape[1] for mel in mels] == [44, 36]  # 30 + 2 for each symbol
    for mel, alignment, exact in zip(mels, alignments, synthesizer.synthesize_spectrograms(texts, voice, seed=4), strict=True):
        assert mel.dtype == alignment.dtype == np.float32
        np.testing.assert_allclose(mel[:, :20], exact[:, :20], atol=0.1)
    (aligned,) = rounding.gta_mels(texts[:1], voice, [mels[0].T], seed=1)
    np.testing.assert_allclose(aligned, synthesizer.gta_mels(texts[:1], voice, [mels[0].T], seed=1)[0], atol=0.1)


def test_trailing_silence_is_cut_but_never_everything(synthesizer):
    spoken = synthesizer._generate([np.array([4, 5, 1])], np.zeros((1, 8), np.float32))
    quiet = spoken._replace(mels=np.full_like(spoken.mels, -3.9))
    n_frames = int(spoken.lengths[0])
    assert synthesizer._cut(quiet, 0, 3)[0].shape == (80, n_frames)
    quiet.mels[0, 20, 3] = -1.0
    assert synthesizer._cut(quiet, 0, 3)[0].shape == (80, 21)


def test_gta_mels_have_the_frames_of_the_true_ones_in_any_company(synthesizer, monkeypatch):
    mels = [np.random.default_rng(n).uniform(-4, 4, (n, 80)).astype(np.float16) for n in (33, 1, 50)]
    texts, voices = ["a b", "c", "abc abc"], np.zeros((3, 8), np.float32)
    aligned = synthesizer.gta_mels(texts, voices, mels, seed=1)
    assert [mel.shape for mel in aligned] == [mel.shape for mel in mels]
    assert all(mel.dtype == np.float32 and np.isfinite(mel).all() for mel in aligned)
    np.testing.assert_array_equal(aligned[2], synthesizer.gta_mels(texts, voices, mels, seed=1)[2])
    for prenet in (synthesizer.model.encoder.prenet, synthesizer.model.decoder.prenet):
        monkeypatch.setattr(prenet, "dropout", 0.0)
    for text, voice, mel, among in zip(texts, voices, mels, synthesizer.gta_mels(texts, voices, mels), strict=True):
        np.testing.assert_allclose(synthesizer.gta_mels([text], voice, [mel])[0], among, atol=1e-5)


def test_spectrogram_and_griffin_lim_go_together(synthesizer, expected):
    mel = synthesizer.make_spectrogram(expected["wav"])
    np.testing.assert_array_equal(mel, Synthesizer.make_spectrogram(expected["wav"]))
    wav = Synthesizer.griffin_lim(mel[:, :60])
    assert wav.shape == (59 * 200,) and np.abs(wav).max() > 0.01


def test_two_synthesizers_have_a_mel_format_each(synthesizer, expected, tmp_path):
    path = tmp_path / "synthesizer.pt"
    checkpoint.save(path, content(synthesizer.model) | {"mel": vars(MelFormat(hop_length=400))})
    coarse = Synthesizer(path, device="cpu")
    n_frames = [each.make_spectrogram(expected["wav"]).shape[1] for each in (synthesizer, coarse, Synthesizer)]
    assert n_frames[0] == n_frames[2] and abs(n_frames[0] - 2 * n_frames[1]) < 2
    mel = synthesizer.make_spectrogram(expected["wav"])[:, :11]
    assert [len(each.griffin_lim(mel, n_iter=2)) for each in (synthesizer, coarse, Synthesizer)] == [2000, 4000, 2000]


def test_what_ends_a_text_without_being_spoken():
    assert [spoken_length(text_to_ids(text)) for text in ("Well, then.", 'He said: "no!"', "a")] == [10, 12, 1]


def test_published_file_loads(tmp_path):
    torch.save({"model_state": published_state("synthesizer")}, tmp_path / "published.pt")
    synthesizer = Synthesizer(tmp_path / "published.pt", device="cpu")
    assert int(synthesizer.model.r) == 2 and synthesizer.sample_rate == 16_000
    assert synthesizer.model.config.silence_level == pytest.approx(-3.4)


def test_names_of_earlier_versions_load(synthesizer, tmp_path):
    now = content(synthesizer.model)
    earlier = now | {"model_state": earlier_names(now["model_state"]), "frozen": ["encoder.cbhg.gru.back", "output"]}
    assert any(".gru.ahead." in name for name in earlier["model_state"])
    assert own_content(earlier)["model_state"].keys() == now["model_state"].keys()
    assert own_content(earlier)["frozen"] == ["encoder.cbhg.gru.backward_gru", "output"]
    checkpoint.save(tmp_path / "earlier.pt", earlier)
    loaded = Synthesizer(tmp_path / "earlier.pt", device="cpu").model.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in now["model_state"].items())


def earlier_names(state):
    return {name.replace("forward_gru", "ahead").replace("backward_gru", "back"): value for name, value in state.items()}


def test_files_that_are_no_synthesizer(tmp_path, synthesizer):
    path = tmp_path / "x.pt"
    checkpoint.save(path, content(synthesizer.model))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"x\.pt"):
        Synthesizer(path)
    checkpoint.save(path, {"format": "sv2tts-vocoder-1"})
    with pytest.raises(UserError, match="vocoder"):
        Synthesizer(path)
    torch.save({"model_state": published_state("encoder")}, path)
    with pytest.raises(UserError, match=r"x\.pt.*a fitting synthesizer"):
        Synthesizer(path)
