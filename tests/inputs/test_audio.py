"""Signal processing agrees with the published code, inverts itself, and names bad files."""

import dataclasses
import inspect
import tracemalloc

import librosa
import numpy as np
import pytest
import scipy.signal

from utils.data import audio, vad


def test_mels_agree_with_the_published_ones(expected):
    np.testing.assert_allclose(audio.encoder_mel(expected["wav"]), expected["encoder_mel"], rtol=1e-4, atol=1e-4)
    mel = audio.mel_spectrogram(expected["wav"], audio.MelFormat())
    np.testing.assert_allclose(mel.T, expected["synthesizer_mel"], atol=1e-4)


def test_a_long_wave_in_blocks_has_the_mel_of_the_whole(monkeypatch, expected):
    whole = audio.encoder_mel(expected["wav"]), audio.mel_spectrogram(expected["wav"], audio.MelFormat())
    speech = vad.voiced_windows(expected["wav"])
    monkeypatch.setattr(audio, "BLOCK_FRAMES", 7)
    monkeypatch.setattr(vad, "BLOCK", 5)
    np.testing.assert_array_equal(vad.voiced_windows(expected["wav"]), speech)
    blocks = audio.encoder_mel(expected["wav"]), audio.mel_spectrogram(expected["wav"], audio.MelFormat())
    for one, other in zip(whole, blocks, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_long_audio_takes_little_more_memory_than_itself():
    wav = np.random.default_rng(0).normal(0, 0.1, 10 * 60 * 16000).astype(np.float32)
    tracemalloc.start()
    for work in (audio.normalize_volume, vad.trim_silences, audio.encoder_mel):
        tracemalloc.reset_peak()
        work(wav)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * wav.nbytes, work
    tracemalloc.stop()


def test_voice_activity_is_smoothed_over_windows(monkeypatch):
    """Compared with counting window by window."""
    flags = np.repeat(np.random.default_rng(0).random(120) < 0.5, 3)
    monkeypatch.setattr(vad, "_speech_flags", lambda wav: flags)
    n = len(flags)
    voiced = [sum(flags[max(0, i - 3) : i + 5]) > 4 for i in range(n)]
    kept = [any(voiced[max(0, i - 3) : i + 4]) for i in range(n)]
    assert 0 < sum(kept) < n
    np.testing.assert_array_equal(vad.voiced_windows(np.zeros(n * vad.WINDOW, np.float32)), kept)


def test_what_a_vocoder_gives_becomes_speech_without_a_rumble(expected):
    """Like de-emphasis alone from 80 Hz on, and 25 dB less below the lowest mel band."""
    f = audio.MelFormat()
    speech = scipy.signal.sosfilt(audio.output_filter(f), audio.preemphasize(expected["wav"], f.preemphasis))
    assert abs(10 * np.log10(np.mean(speech**2) / np.mean(expected["wav"] ** 2))) < 0.3
    noise = np.random.default_rng(0).normal(size=320_000)
    spectra = [
        np.abs(np.fft.rfft(scipy.signal.sosfilt(audio.output_filter(each), noise)))
        for each in (f, dataclasses.replace(f, fmin=0.0))
    ]
    hz, change = np.fft.rfftfreq(len(noise), 1 / f.sample_rate), 20 * np.log10(spectra[0] / spectra[1])
    assert np.median(change[(hz > 5) & (hz < 25)]) < -25
    assert np.abs(np.median(change[(hz > 80) & (hz < 120)])) < 0.5 and np.abs(np.median(change[hz > 200])) < 0.01


def test_preemphasis_agrees_and_inverts(expected):
    wav = expected["wav"]
    np.testing.assert_allclose(audio.preemphasize(wav, 0.97), expected["preemphasis"], atol=1e-6)
    np.testing.assert_allclose(audio.deemphasize(audio.preemphasize(wav, 0.97), 0.97), wav, atol=1e-4)


def test_griffin_lim_gives_back_a_wave_of_the_same_mel(samples):
    wav = audio.load(min((samples / "LibriSpeech").rglob("*.flac")))[:32000]
    mel = audio.mel_spectrogram(audio.rescale(wav, 0.9), audio.MelFormat())
    again = audio.mel_spectrogram(audio.griffin_lim(mel, audio.MelFormat()), audio.MelFormat())
    assert again.shape == mel.shape
    assert np.abs(again - mel).mean() < np.abs(mel - mel.mean(axis=0)).mean() / 2


@pytest.mark.parametrize("name", ["random_state", "rng"])
def test_the_seed_of_griffin_lim_has_the_name_that_this_librosa_gives_it(monkeypatch, name):
    given = {}

    def griffinlim(magnitudes, *, n_iter, hop_length, **options):
        given.update(options)
        return np.zeros(200 * magnitudes.shape[1])

    parameters = [inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY) for each in ("n_iter", "hop_length", name)]
    griffinlim.__signature__ = inspect.Signature(parameters)
    monkeypatch.setattr(librosa, "griffinlim", griffinlim)
    audio._seed_argument.cache_clear()
    audio.griffin_lim(np.zeros((20, 80), np.float32), audio.MelFormat(), seed=7)
    audio._seed_argument.cache_clear()
    assert given[name] == 7 and len({"random_state", "rng"} & set(given)) == 1


def test_volume_is_raised_and_never_lowered():
    tone = np.sin(np.arange(16000) / 10).astype(np.float32)
    level = 20 * np.log10(np.sqrt(np.mean(audio.normalize_volume(tone * 1e-4) ** 2)))
    assert level == pytest.approx(-30, abs=0.01)
    np.testing.assert_array_equal(audio.normalize_volume(tone), tone)
    assert not audio.normalize_volume(np.zeros(100, np.float32)).any()
    long = np.resize(np.random.default_rng(0).normal(0, 1e-3, 1000), 600 * 16000).astype(np.float32)
    level = 20 * np.log10(np.sqrt(np.mean(audio.normalize_volume(long)[:1000].astype(np.float64) ** 2)))
    assert level == pytest.approx(-30, abs=1e-3)


@pytest.mark.parametrize(
    "suffix,rate,channels", [(".wav", 44100, 2), (".flac", 8000, 1), (".ogg", 22050, 2), (".mp3", 48000, 1)]
)
def test_any_rate_and_channel_count_is_read_as_16_khz_mono(tmp_path, suffix, rate, channels):
    import soundfile

    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)
    path = tmp_path / f"tone{suffix}"
    soundfile.write(path, np.stack([tone] * channels, axis=1), rate)
    wav = audio.load(path)
    assert wav.dtype == np.float32 and wav.ndim == 1
    assert len(wav) == pytest.approx(32000, abs=2400)  # lossy formats pad
    assert np.abs(np.fft.rfft(wav[4000:20000])).argmax() == pytest.approx(440, abs=1)


@pytest.mark.parametrize("content", [b"", b"this is not audio at all" * 50, None])
def test_a_bad_file_is_named_in_one_line(tmp_path, samples, content):
    path = tmp_path / "bad.flac"
    path.write_bytes(min((samples / "LibriSpeech").rglob("*.flac")).read_bytes()[:20000] if content is None else content)
    with pytest.raises(audio.AudioError, match="bad.flac") as caught:
        audio.load(path)
    assert "\n" not in str(caught.value)


def test_written_audio_reads_back(tmp_path):
    wav = np.linspace(-2, 2, 1000).astype(np.float32)
    audio.write_wav(tmp_path / "a.wav", wav)
    np.testing.assert_allclose(audio.load(tmp_path / "a.wav"), wav * 0.99 / 2, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
