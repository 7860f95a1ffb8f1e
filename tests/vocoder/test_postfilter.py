"""The post-filter: noise goes, the voice stays, and a stream is filtered like the whole."""

import numpy as np
import pytest
import scipy.signal
import torch

from tests.vocoder_data import FORMAT, tiny_vocoder, write_vocoder
from utils.data import audio
from utils.models import checkpoint
from vocoder import inference, postfilter
from vocoder.postfilter import PostFilter, average_periods, with_contrast


def test_contrast_enlarges_formants_and_harmonics_and_leaves_level_tilt_and_mean_power():
    band, frames = np.arange(80) + 0.5, np.linspace(-1, 1, 50)[:, None]
    level, tilt, formant, harmonic = (0.05 * frames * np.cos(np.pi * k * band / 80) for k in (0, 2, 8, 24))
    mean = np.random.default_rng(0).uniform(-0.5, 0.5, 80)
    mel = (mean + level + tilt + formant + harmonic).astype(np.float32)
    clear = with_contrast(mel, 1.5, 2, unit_db=50)
    expected = mean + level + tilt + 1.5 * formant + 2 * harmonic
    np.testing.assert_allclose(clear - clear.mean(axis=0), expected - expected.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose((10 ** (clear * 5)).mean(axis=0), (10 ** (mel * 5)).mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(with_contrast(mel, 1, 1, unit_db=50), mel, atol=1e-6)


def test_averaged_periods_keep_the_voice_and_lose_noise():
    random, time = np.random.default_rng(0), np.arange(32_000) / 16_000
    phase = 2 * np.pi * np.cumsum(120 + 20 * time) / 16_000  # the pitch rises from 120 to 160 Hz
    voice = sum(np.cos(k * phase) for k in range(1, 10)).astype(np.float32)
    white = random.standard_normal(32_000).astype(np.float32)
    noise = scipy.signal.sosfilt(scipy.signal.butter(8, 1500, fs=16_000, output="sos"), white).astype(np.float32)
    noisy = average_periods(voice + noise, 16_000, 200)
    assert db(noisy - voice) < db(noise) - 3
    assert db(average_periods(voice, 16_000, 200) - voice) < db(voice) - 20
    assert abs(db(average_periods(white, 16_000, 200)) - db(white)) < 2  # what has no period is hardly touched
    assert not average_periods(np.zeros(800, np.float32), 16_000, 200).any()


def db(wave):
    return 10 * np.log10(np.mean(np.square(wave, dtype=np.float64)))


def test_post_filter_brings_noisy_speech_nearer_to_its_mel_in_pieces_as_whole(samples):
    path = min((samples / "LibriSpeech" / "train-clean-100").rglob("*.flac"))
    wav = audio.load(path)[:48_000]
    mel = audio.mel_spectrogram(wav, FORMAT)[:240] / FORMAT.max_abs
    noisy = wav + 0.02 * np.random.default_rng(0).standard_normal(len(wav)).astype(np.float32)
    whole = np.concatenate(list(PostFilter(mel, FORMAT, 1).stream([noisy])))
    pieces = list(PostFilter(mel, FORMAT, 1).stream(np.split(noisy, [200, 1000, 20_000, 47_800])))
    assert whole.shape == wav.shape and len(pieces) > 2
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-5)
    distances = [np.abs(audio.mel_spectrogram(wave, FORMAT)[:240] / FORMAT.max_abs - mel).mean() for wave in (noisy, whole)]
    assert distances[1] < 0.8 * distances[0]


@pytest.mark.parametrize("n_frames", [1, 9, 70])
def test_a_checkpoint_that_asks_for_it_speaks_through_the_post_filter(n_frames, tmp_path, monkeypatch):
    monkeypatch.setattr(postfilter, "BLOCK", 32)
    path = write_vocoder(tmp_path / "vocoder.pt", tiny_vocoder())
    plain = inference.Vocoder(path, "cpu")
    checkpoint.save(path, torch.load(path) | {"training": {"postfilter": 0.5}})
    clear = inference.Vocoder(path, "cpu")
    assert (plain.postfilter, clear.postfilter) == (0, 0.5)
    mel = np.random.default_rng(0).uniform(-1, 1, (80, n_frames)).astype(np.float32)
    waves = [vocoder.infer_waveform(mel, normalize=False, seed=0) for vocoder in (plain, clear)]
    expected = np.concatenate(list(PostFilter(mel.T, FORMAT, 0.5).stream(waves[:1])))
    assert waves[1].shape == (200 * n_frames,) and waves[1].dtype == np.float32
    np.testing.assert_allclose(waves[1], expected, atol=1e-5)
    assert np.isfinite(waves[1]).all() and not np.array_equal(*waves)
