"""Generation: the samples are those of the model that was trained, folds cannot be heard, and a stream is the whole."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from encoder.inference import SpeakerEmbedder
from synthesizer.inference import Synthesizer
from tests.vocoder_data import FORMAT, pad_mels, tiny_vocoder, write_vocoder
from utils.data import audio
from vocoder import fold, inference
from vocoder.accelerate import accelerate
from vocoder.config import SILENCE, margin
from vocoder.fold import Generator
from vocoder.model import WaveRNN, WaveRNNConfig
from vocoder.sampling import PlainSampler

UNFILTERED = dataclasses.replace(FORMAT, preemphasis=0.0, fmin=0.0)  # for waves that are the samples themselves


@pytest.fixture(scope="module")
def speech(samples):
    """10 seconds: pre-emphasised wave (n,), and its mel (T, n_mels) in [-1, 1], n = T hop."""
    paths = sorted((samples / "LibriSpeech" / "train-clean-100").rglob("*.flac"))[:3]
    wav = audio.rescale(np.concatenate([audio.load(path) for path in paths]), FORMAT.rescale_peak)[: 10 * 16000 - 1]
    mel = audio.mel_spectrogram(wav, FORMAT) / FORMAT.max_abs
    return np.pad(audio.preemphasize(wav, FORMAT.preemphasis), (0, 1)), torch.from_numpy(mel)


@pytest.fixture(scope="module")
def trained(speech):
    """A small vocoder after a few steps on real speech: it follows the mel's loudness, and its own past."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    wav, mel = speech
    model = WaveRNN(WaveRNNConfig(rnn_dims=48, fc_dims=48, context_dims=16, n_context_blocks=2, aux_dims=16))
    optimizer = torch.optim.Adam(model.parameters(), lr=8e-3)
    levels, labels = (torch.from_numpy(part) for part in model.distribution.encode(wav))
    for _ in range(25):
        starts = torch.randint(2, len(mel) - 3, (8,)).tolist()
        crops = [slice(start * 200, start * 200 + 200) for start in starts]
        mels = torch.stack([mel[start - 2 : start + 3] for start in starts])
        before = torch.stack([levels[crop.start - 1 : crop.stop - 1] for crop in crops])
        loss = model.distribution.loss(model(before, mels), torch.stack([labels[crop] for crop in crops]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 4.0)
        optimizer.step()
        optimizer.zero_grad()
    assert loss < 5.3  # of log 512 = 6.2 nats
    return model.eval()


def generate(model, mel, mel_format, target, overlap, seed):
    """mel (T, n_mels), normalised -> wave (T hop,)"""
    generator = Generator(model, accelerate(model, torch.float32))
    return np.concatenate(list(generator.stream(mel, mel_format, target, overlap, seed)))


# ---- the samples


def windows_of(mels, model, n_frames):
    """Mels (R, pad + T + pad, n_mels) with zeros beyond, as a sampler loads them for n_frames from the first one on."""
    outside = margin(model.config) - model.config.pad
    return F.pad(mels, (0, 0, outside, outside))[:, : n_frames + 2 * margin(model.config)]


@torch.inference_mode()
def forced(sampler, model, mels, levels):
    """What a sampler predicts for mels (R, 1 + 2 pad, n_mels) when it is given the samples before (R, hop) -> (R, hop, C)"""
    sampler.start(len(levels))
    sampler.load(windows_of(mels, model, mels.size(1)))
    outputs, _ = sampler.teacher_forced(levels.numpy(), np.full((*levels.shape, 2), 0.5, np.float32))
    return torch.from_numpy(outputs)


@torch.inference_mode()
def free_running(sampler, model, mel, starts, n_frames):
    """Rows that begin at some frames of a mel (T, n_mels), in two calls -> levels (R, n_frames hop)"""
    mels = pad_mels([mel], model.config.pad)[0]
    length = n_frames + 2 * model.config.pad
    sampler.load(windows_of(torch.stack([mels[start : start + length] for start in starts]), model, n_frames))
    sampler.start(len(starts))
    noise, hop = [np.random.default_rng(start) for start in starts], model.config.hop_length
    uniform = np.stack([1 - rng.random((n_frames * hop, 2), dtype=np.float32) for rng in noise])
    return np.concatenate([sampler.frames(0, uniform[:, :hop]), sampler.frames(1, uniform[:, hop:])], axis=1)


@pytest.mark.parametrize("sizes", [{"mode": "RAW"}, {"mode": "MOL"}, {"pad": 1, "upsample_factors": (200,)}], ids=str)
def test_a_sampler_predicts_what_training_does(sizes):
    model = tiny_vocoder(**sizes)
    mel, levels = torch.rand(3, 1 + 2 * model.config.pad, 80) * 2 - 1, torch.rand(3, 200) * 2 - 1
    with torch.inference_mode():
        expected = model(levels, mel)
    torch.testing.assert_close(forced(PlainSampler(model), model, mel, levels), expected, atol=1e-5, rtol=0)


def test_generation_feeds_back_what_it_drew():
    """Teacher forcing a model with the samples that it generated finds each of them where its noise says."""
    model = tiny_vocoder()
    mel = torch.rand(3, 80) * 2 - 1
    levels, labels = map(torch.from_numpy, model.distribution.encode(generate(model, mel, UNFILTERED, None, 0, seed=5)))
    before = torch.cat([torch.zeros(1), levels[:-1]])
    with torch.inference_mode():
        cumulative = model(before[None], pad_mels([mel], 2))[0].softmax(-1).cumsum(-1)
    noise = np.random.default_rng(np.random.SeedSequence(5).spawn(1)[0])
    uniform = torch.from_numpy(1 - noise.random((600, 2), dtype=np.float32)[:, 0])
    upper = cumulative.gather(1, labels[:, None])[:, 0]
    lower = cumulative.gather(1, (labels[:, None] - 1).clamp(min=0))[:, 0] * (labels > 0)
    assert ((uniform <= upper + 1e-5) & (uniform >= lower - 1e-5)).all()


# ---- folds and seams


@pytest.mark.parametrize(("target", "overlap", "width"), [(40, 4, 12), (5, 9, 3), (1, 1, 2), (7, 0, 12), (3000, 4, 96)])
def test_folds_cover_any_mel(target, overlap, width):
    rng = np.random.default_rng(0)
    for n_frames in (*range(1, 30), 799, 5000):
        groups = fold.plan(rng.random(n_frames), target, overlap, width)
        folds = list(itertools.chain(*groups))
        assert max(map(len, groups)) <= width
        assert folds[0].start == 0 and folds[0].overlap == 0 and folds[-1].stop == n_frames
        for before, after in itertools.pairwise(folds):
            assert before.start < after.start and before.stop == after.start + after.overlap
            assert after.overlap <= overlap and after.overlap <= after.stop - after.start
            assert before.start + before.overlap <= after.start  # no frame is made three times
        assert max(part.stop - part.start for part in folds) <= 2 * target + overlap + 1


def test_a_stream_begins_with_short_folds_and_plays_on():
    """A group is made while the one before is heard, if a step takes no longer than three samples."""
    groups = fold.plan(np.zeros(8000), target=40, overlap=4, width=12)
    steps = [max(part.stop - part.start for part in group) for group in groups]
    played = [group[-1].stop - group[-1].overlap - group[0].start for group in groups]
    assert len(groups[0]) == 6 and steps[0] <= 9
    assert all(played[k] >= 3 * steps[k + 1] for k in range(len(groups) - 1))


def test_folds_meet_where_it_is_quiet():
    loudness = np.ones(6000)
    loudness[::5] = 0  # pauses of a frame
    parts = itertools.chain(*fold.plan(loudness, target=40, overlap=3, width=12)[4:])
    met = [loudness[part.start + 2 : part.start + 3].mean() for part in parts]
    assert np.mean(met) < 0.3  # 0.8 if they met anywhere


def test_a_join_is_a_whole_and_keeps_the_power():
    rng = np.random.default_rng(0)
    wave = rng.standard_normal(800).astype(np.float32)
    np.testing.assert_allclose(fold.join(wave, wave), wave, atol=1e-6)
    quiet = rng.standard_normal((2, 800)).astype(np.float32)
    quiet[:, 600:700] *= 0.01
    joined = fold.join(*quiet)
    changes = np.flatnonzero((joined != quiet[0]) & (joined != quiet[1]))
    assert changes.min() > 595 and changes.max() < 705
    assert (joined[:595] == quiet[0, :595]).all() and (joined[705:] == quiet[1, 705:]).all()
    pairs = rng.standard_normal((500, 2, 240)).astype(np.float32)  # the fade takes all of the last third
    power = np.mean([np.square(fold.join(*pair)[160:]) for pair in pairs])
    assert abs(10 * np.log10(power)) < 0.2


def without_memory():
    """A vocoder whose samples depend on the mel alone, and surely: folding must not change anything."""
    model = tiny_vocoder()
    n = model.config.rnn_dims
    with torch.no_grad():
        model.input.weight[:, 0] = 0
        for gru in (model.gru1, model.gru2):
            gru.weight_hh_l0.zero_()
            gru.bias_ih_l0[n : 2 * n] = -1e4  # the update gate is shut: nothing of the former state is kept
        model.output.weight *= 1e5
    return model


@pytest.mark.parametrize("n_frames", [43, 70])
def test_folding_changes_nothing_where_the_past_does_not_matter(n_frames):
    model = without_memory()
    mel = torch.rand(n_frames, 80) * 2 - 1
    whole = generate(model, mel, UNFILTERED, None, 0, seed=0)
    folded = generate(model, mel, UNFILTERED, 4000, 400, seed=0)
    assert len(folded) == len(whole) == n_frames * 200
    assert np.isclose(folded, whole, atol=1e-5).mean() > 0.998  # but where the two likeliest classes are as good as equal


def test_blocks_of_conditioning_do_not_show(monkeypatch):
    model, mel = tiny_vocoder(), torch.rand(30, 80) * 2 - 1
    whole = generate(model, mel, FORMAT, 2000, 400, seed=0)
    monkeypatch.setattr(fold, "BLOCK", 5)
    monkeypatch.setattr(fold, "SPAN", 3)
    np.testing.assert_allclose(generate(model, mel, FORMAT, 2000, 400, seed=0), whole, atol=1e-5)


def test_seams_cannot_be_told_from_elsewhere(speech, trained, monkeypatch):
    """Where folds of real speech are joined: jumps |x[n + 1] - x[n]| and loudness, against those of either fold there."""
    joins = []
    join = fold.join
    monkeypatch.setattr(fold, "join", lambda old, new: joins.append((old, new, join(old, new))) or joins[-1][2])
    wave = np.concatenate([generate(trained, speech[1], FORMAT, 1000, 600, seed) for seed in range(2)])
    jumps, powers = [], []
    for old, new, joined in (each for each in joins if len(each[0])):
        faded = np.flatnonzero((joined != old) & (joined != new))
        span = slice(max(0, faded.min() - 2), faded.max() + 3)
        assert span.stop - span.start < 90 and faded.min() >= len(old) * 2 // 3
        jumps.append([np.abs(np.diff(version[span])) for version in (joined, old, new)])
        powers.append([np.square(version[span]).mean() for version in (joined, old, new)])
    assert len(jumps) > 100
    at_seams, of_old, of_new = (np.concatenate(part) for part in zip(*jumps, strict=True))
    without_seam = np.concatenate([of_old, of_new])
    for quantile in (0.9, 0.99):
        assert abs(np.quantile(at_seams, quantile) / np.quantile(without_seam, quantile) - 1) < 0.1
    assert at_seams.max() < 1.1 * np.abs(np.diff(audio.preemphasize(wave, 0.97))).max()
    total, level = np.sum(powers, axis=0), np.log10(powers).mean(axis=0)  # of the joined, the old, the new
    assert abs(10 * np.log10(2 * total[0] / (total[1] + total[2]))) < 0.5
    assert abs(10 * (level[0] - (level[1] + level[2]) / 2)) < 0.5


# ---- as the user calls it


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("sizes", [{"bits": 10}, {"mode": "MOL"}], ids=lambda sizes: str(*sizes.values()))
def test_any_length_gives_finite_repeatable_audio(sizes, batched, tmp_path):
    inference.load_model(write_vocoder(tmp_path / "vocoder.pt", tiny_vocoder(**sizes)), verbose=False, device="cpu")
    assert inference.is_loaded()
    for n_frames in (1, 2, 7):
        mel = np.random.default_rng(0).random((80, n_frames)) * 8 - 4
        waves = [inference.infer_waveform(mel, True, batched, 600, 400, seed=seed) for seed in (1, 1, 2)]
        assert waves[0].shape == (n_frames * 200,) and waves[0].dtype == np.float32
        assert np.isfinite(waves[0]).all() and np.abs(waves[0][:20]).max() > 1e-3  # not silenced at its start
        assert np.array_equal(waves[0], waves[1]) and not np.array_equal(waves[0], waves[2])
        np.testing.assert_array_equal(inference.infer_waveform(mel / 4, False, batched, 600, 400, seed=1), waves[0])


def test_what_is_loud_is_not_clipped():
    model = tiny_vocoder()
    with torch.no_grad():
        model.output.bias[511] = 1e4  # the highest class, always
    wave = generate(model, torch.full((2, 80), SILENCE), FORMAT, None, 0, seed=0)
    assert wave.max() > 5 and np.isfinite(wave).all()  # what the pre-emphasis has taken of a constant


def test_a_stream_is_the_whole_in_pieces_and_begins_before_the_rest_is_made(tmp_path):
    vocoder = inference.Vocoder(write_vocoder(tmp_path / "vocoder.pt", tiny_vocoder()), "cpu")
    mel, told = np.random.default_rng(0).random((80, 160)) * 8 - 4, []
    stream = vocoder.stream_waveform(mel, 700, seed=3, progress_callback=lambda *args: told.append(args))
    first = next(stream)
    pieces = [first, *stream]
    assert all(0 < len(piece) <= 700 and piece.dtype == np.float32 for piece in pieces)
    np.testing.assert_array_equal(np.concatenate(pieces), vocoder.infer_waveform(mel, seed=3))
    assert [args[0] for args in told] == sorted(args[0] for args in told)
    done, total, n_folds, khz = told[-1]
    assert done == total == 32_000 and n_folds == 12 and khz > 0
    groups = vocoder._generator.stream(torch.from_numpy(mel.T).float(), FORMAT, 8000, 600, 0, lambda *args: told.append(args))
    told.clear()
    next(groups)
    assert told[-1][0] < 0.3 * told[-1][1]
    with pytest.raises(ValueError, match="chunk"):
        vocoder.stream_waveform(mel, 0)


def test_hostile_mels_are_refused(tmp_path):
    vocoder = inference.Vocoder(write_vocoder(tmp_path / "vocoder.pt", tiny_vocoder()), "cpu")
    for mel in (np.zeros((9, 80)), np.zeros((80, 0)), np.zeros(80), np.full((80, 3), np.nan)):
        for call in (vocoder.infer_waveform, vocoder.stream_waveform):
            with pytest.raises(ValueError, match="mel"):
                call(mel)
    for folds in ({"target": 0}, {"target": -400}, {"overlap": -1}):
        with pytest.raises(ValueError, match="target is at least"):
            vocoder.infer_waveform(np.zeros((80, 9), np.float32), **folds)


@pytest.mark.parametrize("make", [inference.Vocoder, Synthesizer, SpeakerEmbedder])
def test_a_precision_that_there_is_not_is_refused(make):
    with pytest.raises(ValueError, match="precision is one of"):
        make(None, "cpu", precision="bf61")


def test_a_model_changed_after_it_has_spoken_speaks_as_it_is_now(tmp_path, monkeypatch):
    vocoder = inference.Vocoder(write_vocoder(tmp_path / "vocoder.pt", tiny_vocoder()), "cpu", "fp32")
    mel = np.random.default_rng(0).uniform(-4, 4, (80, 12)).astype(np.float32)
    first = vocoder.infer_waveform(mel, seed=0)
    assert np.array_equal(vocoder.infer_waveform(mel, seed=0), first)
    torch.nn.init.normal_(vocoder.model.output.weight)
    assert not np.array_equal(second := vocoder.infer_waveform(mel, seed=0), first)
    sample = type(vocoder.model.distribution).sample
    monkeypatch.setattr(type(vocoder.model.distribution), "sample", lambda self, outputs, u: sample(self, 0 * outputs, u))
    assert not np.array_equal(vocoder.infer_waveform(mel, seed=0), second)
