"""WaveRNN, its distributions, folding and generation: published numbers, and invariants that need no listening."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.published_state import published_state
from tests.vocoder_data import FORMAT, tiny_vocoder, write_vocoder
from utils import audio, checkpoint
from utils.cli import UserError
from vocoder import inference
from vocoder.distribution import LogisticMixture, MuLaw
from vocoder.fold import crossfade, fold, published_crossfade, unfold
from vocoder.generate import Loop, generate_wave
from vocoder.model import State, WaveRNNConfig, pad_mels
from vocoder.published import from_published

# ---- numbers of the published models


@pytest.fixture(scope="module")
def published():
    model, _ = from_published(published_state("vocoder"))
    return model.eval()


def test_published_weights_give_the_published_numbers(published, expected):
    assert published.config == WaveRNNConfig()
    mel = torch.from_numpy(expected["vocoder_mel"]).transpose(1, 2)
    with torch.inference_mode():
        fine, aux = published.upsample(mel)
        logits = published(torch.from_numpy(expected["vocoder_x"]), mel)
    np.testing.assert_allclose(fine, expected["upsampled_mel"], atol=1e-4)
    np.testing.assert_allclose(np.repeat(aux, 200, axis=1), expected["upsampled_aux"], atol=1e-4)
    np.testing.assert_allclose(logits, expected["vocoder_logits"], atol=1e-4)


def test_folding_gives_the_published_numbers(expected):
    np.testing.assert_array_equal(fold(torch.from_numpy(expected["fold_in"]), 800, 100), expected["fold_800_100"])
    np.testing.assert_allclose(unfold(expected["unfold_in"], *published_crossfade(100)), expected["unfold_800_100"], atol=1e-9)


def test_mu_law_gives_the_published_numbers(expected):
    mu_law = MuLaw(9)
    levels, labels = mu_law.encode(expected["mulaw_in"])
    np.testing.assert_array_equal(labels, expected["mulaw_labels"])
    np.testing.assert_allclose(mu_law.decode(levels), expected["mulaw_decoded"], atol=1e-4)


# ---- checkpoints


def test_every_kind_of_checkpoint_loads_and_means_the_same(published, tmp_path):
    state = published_state("vocoder")
    torch.save({"model_state": state, "optimizer_state": {"state": {}, "param_groups": []}}, tmp_path / "whole.pt")
    torch.save({"model_state": state}, tmp_path / "weights.pt")
    torch.save(state, tmp_path / "bare.pt")
    write_vocoder(tmp_path / "own.pt", published)
    for name in ("whole", "weights", "bare", "own"):
        loaded = inference.Vocoder(tmp_path / f"{name}.pt", "cpu")
        assert loaded.mel_format == FORMAT
        assert all(torch.equal(value, published.state_dict()[key]) for key, value in loaded.model.state_dict().items())


def test_a_published_mixture_of_logistics_is_recognised():
    state = published_state("vocoder")
    state["fc3.weight"], state["fc3.bias"] = state["fc3.weight"][:30], state["fc3.bias"][:30]
    model, _ = from_published(state)
    assert isinstance(model.distribution, LogisticMixture) and model.config.n_mixtures == 10


def test_what_is_no_vocoder_costs_one_line(tmp_path):
    whole = write_vocoder(tmp_path / "vocoder.pt", tiny_vocoder())
    (tmp_path / "cut.pt").write_bytes(whole.read_bytes()[:3000])
    checkpoint.save(tmp_path / "encoder.pt", {"format": checkpoint.stage_format("encoder")})
    torch.save({"model_state": published_state("encoder")}, tmp_path / "published_encoder.pt")
    other_hop = dataclasses.replace(FORMAT, hop_length=256)
    write_vocoder(tmp_path / "hop.pt", tiny_vocoder(), other_hop)
    problems = {
        "missing.pt": "no such vocoder checkpoint", "cut.pt": "cut short", "encoder.pt": "checkpoint of the encoder",
        "published_encoder.pt": "a fitting vocoder", "hop.pt": "hop_length of 256",
    }  # fmt: skip
    for name, problem in problems.items():
        with pytest.raises(UserError, match=problem) as error:
            inference.load_model(tmp_path / name)
        assert "\n" not in str(error.value)


def test_another_mel_format_is_refused_with_both_shown(tmp_path):
    vocoder = inference.Vocoder(write_vocoder(tmp_path / "vocoder.pt", tiny_vocoder()), "cpu")
    vocoder.check_mel_format(FORMAT)
    with pytest.raises(UserError, match=r"fmax 7600.*fmax 8000"):
        vocoder.check_mel_format(dataclasses.replace(FORMAT, fmax=8000.0))


# ---- model


@pytest.mark.parametrize("mode", ["RAW", "MOL"])
def test_one_sample_at_a_time_gives_what_training_sees(mode):
    model = tiny_vocoder(mode=mode)
    mel, levels = torch.rand(3, 3 + 4, 80) * 2 - 1, torch.rand(3, 600) * 2 - 1
    loop, state, fast_state = Loop(model), model.initial_state(3), model.initial_state(3)
    with torch.inference_mode():
        outputs = model(levels, mel)
        fine, aux = model.upsample(mel)
        for i in range(600):
            t, offset = divmod(i, 200)
            if offset == 0:
                frame = loop.prepare(mel[:, t : t + 5])
            one, state = model.step(levels[:, i], fine[:, i], aux[:, t], state)
            fast, fast_state = loop.step(levels[:, i], frame.x[offset], frame.gates1[offset], frame, fast_state)
            torch.testing.assert_close(one, outputs[:, i], atol=1e-5, rtol=0)
            torch.testing.assert_close(fast, outputs[:, i], atol=1e-5, rtol=0)


def test_longer_neighbours_in_a_batch_change_nothing():
    model = tiny_vocoder()
    mels = [torch.rand(n, 80) * 2 - 1 for n in (1, 6, 3)]
    levels = torch.rand(3, 6 * 200) * 2 - 1
    with torch.inference_mode():
        together = model(levels, pad_mels(mels, model.config.pad))
        for i, mel in enumerate(mels):
            n = len(mel) * 200
            alone = model(levels[i : i + 1, :n], pad_mels([mel], model.config.pad))[0]
            torch.testing.assert_close(together[i, :n], alone, atol=1e-5, rtol=0)


def test_the_future_is_not_seen():
    model = tiny_vocoder()
    mel, levels = torch.rand(1, 2 + 4, 80), torch.rand(1, 400)
    changed = levels.clone()
    changed[0, 250] += 0.5
    with torch.inference_mode():
        differs = (model(levels, mel) != model(changed, mel)).any(-1)[0]
    assert not differs[:250].any() and differs[250:260].all()


# ---- distributions


def test_mu_law_samples_as_often_as_softmax_says():
    logits = torch.randn(16) * 2
    n = 100_000
    uniform = 1 - torch.rand(2, n)
    levels = MuLaw(4).sample(logits.expand(n, -1), uniform)
    labels = torch.round((levels + 1) * 7.5).long()
    frequencies = torch.bincount(labels, minlength=16) / n
    torch.testing.assert_close(frequencies, logits.softmax(-1), atol=0.006, rtol=0)


def test_sampling_never_leaves_the_classes():
    logits = torch.tensor([[-1e4] * 8 + [0.0] + [-1e4] * 7]).expand(2, -1)
    edges = torch.tensor([[2**-24, 1.0]] * 2)  # the ends of what torch.rand gives, turned around
    torch.testing.assert_close(MuLaw(4).sample(logits, edges), torch.full((2,), 8 / 7.5 - 1))


def test_mixture_of_logistics_adds_up_to_one_and_samples_from_it():
    mixture = LogisticMixture(3)
    outputs = torch.tensor([0.3, -1.0, 0.5, -0.4, 0.1, 0.98, -3.0, -6.0, -2.0])
    steps = torch.linspace(-1, 1, 2**16, dtype=torch.float32)
    weights = torch.softmax(outputs[:3], 0)
    grid = steps.double()
    density = sum(
        weights[k] * torch.sigmoid((grid + 1 / 65535 - outputs[3 + k]) / outputs[6 + k].exp()) for k in range(3)
    )  # the cumulative distribution at the upper border of each step
    masses = torch.exp(-torch.stack([mixture.loss(outputs.expand(1, 1, -1), s.view(1, 1)) for s in steps[::997]]))
    borders = torch.cat([torch.zeros(1, dtype=torch.float64), density])
    borders[-1] = 1
    torch.testing.assert_close(masses.double(), torch.diff(borders)[::997], atol=2e-5, rtol=0.02)
    drawn = mixture.sample(outputs.expand(50_000, -1), 1 - torch.rand(2, 50_000))
    for quantile in (0.1, 0.3, 0.5, 0.7):
        at = drawn.quantile(quantile)
        assert abs(float(density[torch.searchsorted(grid, at.double())]) - quantile) < 0.01


# ---- folding and generation


@pytest.mark.parametrize(("n", "target", "overlap"), [(3000, 800, 100), (2700, 800, 100), (37, 10, 3), (5, 10, 3), (64, 7, 0)])
def test_unfolding_a_fold_is_the_identity_but_for_the_fades(n, target, overlap):
    x = torch.rand(1, n, 1)
    fade_in, fade_out = crossfade(overlap)
    wave = unfold(fold(x, target, overlap)[..., 0].numpy().astype(np.float64), fade_in, fade_out)
    step, n_folds = target + overlap, (len(wave) - overlap) // (target + overlap)
    gains = np.ones(len(wave))
    gains[:overlap], gains[len(wave) - overlap :] = fade_in, fade_out
    for seam in range(1, n_folds):
        gains[seam * step : seam * step + overlap] = fade_in + fade_out
    np.testing.assert_allclose(wave[:n], x[0, :, 0].numpy() * gains[:n], atol=1e-6)
    assert not wave[n:].any()


def test_the_crossfade_keeps_the_power_and_starts_after_the_warm_up():
    fade_in, fade_out = crossfade(800)
    np.testing.assert_allclose(fade_in**2 + fade_out**2, 1)
    assert not fade_in[:400].any() and fade_in[401] > 0
    rng = np.random.default_rng(0)
    seams = unfold(rng.standard_normal((200, 80)), *crossfade(30))[50 : -50 - 30].reshape(-1, 50)[:, :30]
    assert abs(20 * np.log10(seams.std())) < 0.5  # dB, of noise with power 1


def without_memory():
    """A vocoder whose samples depend on the mel alone, and surely: folding must not change anything but the seams."""
    model = tiny_vocoder()
    n = model.config.rnn_dims
    with torch.no_grad():
        model.input.weight[:, 0] = 0
        for gru in (model.gru1, model.gru2):
            gru.weight_hh_l0.zero_()
            gru.bias_ih_l0[n : 2 * n] = -1e4  # the update gate is shut: nothing of the former state is kept
        model.output.weight *= 1e5
    return model


@pytest.mark.parametrize("n_frames", [41, 43, 60, 119])
def test_folding_changes_the_seams_only(n_frames):
    model = without_memory()
    mel = torch.rand(n_frames, 80) * 2 - 1
    overlap, target = 2 * 200, 20 * 200
    whole = generate_wave(model, mel, 0.0, None, 0, seed=0)
    counts = []
    folded = generate_wave(model, mel, 0.0, target, overlap, seed=0, progress=lambda *told: counts.append(told[2]))
    n_folds = counts[0]
    assert n_folds > 1 and whole.std() > 0.01
    assert len(folded) == len(whole) == n_frames * 200
    same = np.isclose(folded, whole, atol=1e-6)
    in_seams = (n_folds - 1) * overlap // 2  # only the crossfading half of an overlap may differ,
    assert (~same).sum() <= in_seams + 0.001 * len(whole)  # and a sample whose two likeliest classes are as good as equal
    assert same[:overlap].mean() > 0.99 and same[-overlap:].mean() > 0.99


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("mode", ["RAW", "MOL"])
def test_any_length_gives_finite_repeatable_audio(mode, batched, tmp_path):
    inference.load_model(write_vocoder(tmp_path / "vocoder.pt", tiny_vocoder(mode=mode)), verbose=False, device="cpu")
    assert inference.is_loaded()
    for n_frames in (1, 2, 11):
        mel = np.random.default_rng(0).random((80, n_frames)) * 8 - 4
        waves = [inference.infer_waveform(mel, True, batched, 600, 400, seed=seed) for seed in (1, 1, 2)]
        assert waves[0].shape == (n_frames * 200,) and waves[0].dtype == np.float32
        assert np.isfinite(waves[0]).all() and np.abs(waves[0][:20]).max() > 1e-3  # not silenced at its start
        assert np.array_equal(waves[0], waves[1]) and not np.array_equal(waves[0], waves[2])
        np.testing.assert_array_equal(inference.infer_waveform(mel / 4, False, batched, 600, 400, seed=1), waves[0])


def test_progress_ends_at_the_whole_and_hostile_mels_are_refused(tmp_path):
    vocoder = inference.Vocoder(write_vocoder(tmp_path / "vocoder.pt", tiny_vocoder()), "cpu")
    told = []
    vocoder.infer_waveform(np.zeros((80, 9)), target=400, overlap=200, progress_callback=lambda *args: told.append(args))
    done, total, n_folds, khz = told[-1]
    assert done == total and n_folds == 4 and khz > 0
    for mel in (np.zeros((9, 80)), np.zeros((80, 0)), np.zeros(80), np.full((80, 3), np.nan)):
        with pytest.raises(ValueError, match="mel"):
            vocoder.infer_waveform(mel)


def test_generation_feeds_back_what_it_drew():
    """Teacher forcing a model with the samples that it generated finds each of them where its noise says."""
    model = tiny_vocoder()
    mel = torch.rand(3, 80) * 2 - 1
    wave = generate_wave(model, mel, 0.0, None, 0, seed=5)
    labels = torch.from_numpy(audio.mulaw_encode(wave, 9))
    levels = labels * (2 / 511) - 1
    before = torch.cat([torch.zeros(1), levels[:-1]])
    with torch.inference_mode():
        cumulative = model(before[None], pad_mels([mel], 2))[0].softmax(-1).cumsum(-1)
    noise = torch.Generator().manual_seed(5)
    uniform = 1 - torch.cat([torch.rand(200, 2, 1, generator=noise)[:, 0, 0] for _ in range(3)])
    upper = cumulative.gather(1, labels[:, None])[:, 0]
    lower = cumulative.gather(1, (labels[:, None] - 1).clamp(min=0))[:, 0] * (labels > 0)
    assert ((uniform <= upper + 1e-5) & (uniform >= lower - 1e-5)).all()


def test_states_are_values():
    model = tiny_vocoder()
    state = State(torch.rand(1, 24), torch.rand(1, 24))
    kept = [tensor.clone() for tensor in state]
    with torch.inference_mode():
        model.step(torch.zeros(1), torch.zeros(1, 80), torch.zeros(1, 8), state)
        loop = Loop(model)
        frame = loop.prepare(torch.zeros(1, 5, 80))
        loop.step(torch.zeros(1), frame.x[0], frame.gates1[0], frame, state)
    assert all(torch.equal(a, b) for a, b in zip(state, kept, strict=True))
