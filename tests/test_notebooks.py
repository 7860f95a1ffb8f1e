"""What notebooks and scripts written for Real-Time-Voice-Cloning call (docs/notebooks.md), in the way that they call it."""

import argparse
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from encoder import audio as encoder_audio
from encoder import inference as encoder
from encoder.params_model import model_embedding_size as speaker_embedding_size
from synthesizer.hparams import hparams
from synthesizer.inference import Synthesizer
from tests import ROOT
from tests.published_state import published_state
from utils.argutils import print_args
from utils.config import DEFAULT_MODELS
from utils.data import audio
from utils.default_models import ensure_default_models
from utils.errors import UserError
from utils.modelutils import check_model_paths
from vocoder import inference as vocoder

DEFAULT = ROOT / DEFAULT_MODELS
SYNTHESIZER, VOCODER = DEFAULT / "synthesizer.pt", DEFAULT / "vocoder.pt"


@pytest.fixture(scope="module")
def synthesizer(tmp_path_factory) -> Synthesizer:
    """Loads all three models as notebooks do. The encoder has random weights: the default one may not have been fetched."""
    path = tmp_path_factory.mktemp("models") / "encoder.pt"
    torch.save({"model_state": published_state("encoder", seed=1), "step": 1}, path)
    encoder.load_model(path)
    vocoder.load_model(VOCODER)
    return Synthesizer(SYNTHESIZER)


@pytest.fixture(scope="module")
def speech(samples) -> Path:
    return next((samples / "LibriSpeech" / "test-clean").rglob("*.flac"))


def test_the_colab_notebook(synthesizer, speech):
    librosa = pytest.importorskip("librosa")
    preprocessed = encoder.preprocess_wav(speech)
    np.testing.assert_array_equal(encoder.preprocess_wav(str(speech)), preprocessed)
    original, sampling_rate = librosa.load(speech)
    assert sampling_rate == 22050
    assert len(encoder.preprocess_wav(original, sampling_rate)) == pytest.approx(len(preprocessed), rel=0.1)
    embed = encoder.embed_utterance(preprocessed)
    spec = synthesizer.synthesize_spectrograms(["Yes."], [embed])[0][:, :30]  # short: a slow machine must do it in plain torch
    wav = vocoder.infer_waveform(spec)
    assert wav.dtype == np.float32 and len(wav) == spec.shape[1] * 200 and np.abs(wav).max() <= 1
    padded = np.pad(wav, (0, synthesizer.sample_rate), mode="constant")
    assert len(padded) == len(wav) + 16000


def test_silence_after_speech_is_trimmed_again(synthesizer, speech):
    wav = audio.load(speech)
    padded = np.pad(wav, (0, synthesizer.sample_rate), mode="constant").astype(np.float64)
    assert 0 < len(encoder.preprocess_wav(padded, synthesizer.sample_rate)) <= len(wav)
    assert len(encoder.preprocess_wav(wav, 16000, normalize=False, trim_silence=False)) == len(wav)
    with pytest.raises(UserError, match="no speech"):  # Real-Time-Voice-Cloning returns an empty wave
        encoder.preprocess_wav(np.zeros(16000))


def test_the_self_test_of_demo_cli(synthesizer):
    embedding = encoder.embed_utterance(np.zeros(encoder.sampling_rate))
    assert embedding.shape == (speaker_embedding_size,)
    embed = np.random.default_rng(0).random(speaker_embedding_size)  # float64
    embed /= np.linalg.norm(embed)
    mels = synthesizer.synthesize_spectrograms(["test 1", "test 2"], [embed, np.zeros(speaker_embedding_size)])
    mel = np.concatenate(mels, axis=1)[:, :12]  # short, as folds of 200 samples are slow
    calls = []
    wav = vocoder.infer_waveform(mel, target=200, overlap=50, progress_callback=lambda *args: calls.append(args))
    assert len(wav) == 12 * 200
    assert calls[-1][:2] == (12 * 200, 12 * 200) and len(calls[-1]) == 4


@pytest.mark.parametrize("options", [{"batched": False}, {"target": 8000, "overlap": 800}, {"normalize": False}])
def test_options_of_the_vocoder(synthesizer, options):
    mel = np.zeros((80, 20), dtype=np.float64)
    assert len(vocoder.infer_waveform(mel, **options)) == 4000


def test_a_seed_set_in_torch_repeats_everything(synthesizer):
    embed, said = np.zeros(speaker_embedding_size), []
    for _ in range(2):
        torch.manual_seed(7)
        spec = Synthesizer(SYNTHESIZER).synthesize_spectrograms(["No."], [embed])[0]
        torch.manual_seed(7)
        vocoder.load_model(VOCODER)
        said.append(vocoder.infer_waveform(spec[:, :10]))
    np.testing.assert_array_equal(said[0], said[1])


def test_the_toolbox_joins_lines_with_pauses(synthesizer, speech):
    pytest.importorskip("librosa")
    wav = Synthesizer.load_preprocess_wav(speech)
    assert wav.dtype == np.float32 and np.abs(wav).max() == pytest.approx(0.9)
    np.testing.assert_array_equal(synthesizer.load_preprocess_wav(str(speech)), wav)
    spec = Synthesizer.make_spectrogram(wav)
    assert spec.shape == (Synthesizer.hparams.num_mels, 1 + len(wav) // 200)
    np.testing.assert_allclose(Synthesizer.make_spectrogram(speech), spec, atol=1e-4)

    embed, partials, slices = encoder.embed_utterance(encoder.preprocess_wav(wav), return_partials=True)
    assert len(partials) == len(slices)
    texts = "One.\nTwo.".split("\n")
    specs = synthesizer.synthesize_spectrograms(texts, np.stack([embed] * len(texts)))
    breaks = [spec.shape[1] for spec in specs]
    wav = Synthesizer.griffin_lim(np.concatenate(specs, axis=1))
    ends = np.cumsum(np.array(breaks) * Synthesizer.hparams.hop_size)
    starts = np.concatenate(([0], ends[:-1]))
    assert ends[-1] == pytest.approx(len(wav), abs=200)
    pause = np.zeros(int(0.15 * Synthesizer.sample_rate))
    joined = np.concatenate([part for start, end in zip(starts, ends, strict=True) for part in (wav[start:end], pause)])
    assert len(joined) == len(wav[: ends[-1]]) + 4800


def test_alignments_are_one_array_for_each_text(synthesizer):
    embeds = np.zeros((2, speaker_embedding_size))
    specs, alignments = synthesizer.synthesize_spectrograms(["Yes.", "No."], embeds, return_alignments=True)
    assert [alignment.ndim for alignment in alignments] == [2, 2] and len(specs) == 2


def test_whether_a_model_is_loaded(synthesizer):
    assert encoder.is_loaded() and vocoder.is_loaded() and synthesizer.is_loaded()
    synthesizer.load()
    other = Synthesizer(SYNTHESIZER, verbose=False, low_mem=False)
    assert other.is_loaded()
    with pytest.raises(UserError, match="no such synthesizer checkpoint"):
        Synthesizer(Path("synthesizer/saved_models/logs-pretrained/taco_pretrained"))


def test_an_embedding_by_hand_from_partials(synthesizer, speech):
    wav = encoder.audio.preprocess_wav(speech)
    wav_slices, mel_slices = encoder.compute_partial_slices(len(wav), min_pad_coverage=0.75, overlap=0.5)
    assert [part.start for part in wav_slices] == [160 * part.start for part in mel_slices]
    wav = np.pad(wav, (0, max(0, wav_slices[-1].stop - len(wav))), "constant")
    frames = encoder.audio.wav_to_mel_spectrogram(wav)
    partials = encoder.embed_frames_batch(np.array([frames[part] for part in mel_slices]))
    raw = np.mean(partials, axis=0)
    np.testing.assert_allclose(raw / np.linalg.norm(raw, 2), encoder.embed_utterance(wav), atol=1e-5)

    whole = encoder.embed_frames_batch(frames[None].astype(np.float64))[0]
    np.testing.assert_allclose(whole, encoder.embed_utterance(wav, using_partials=False), atol=1e-5)
    assert encoder.embed_utterance(wav, using_partials=False, return_partials=True)[1:] == (None, None)


def test_the_heat_map_of_an_embedding():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    embed = np.linspace(0, 0.3, speaker_embedding_size)
    _, axis = pyplot.subplots()
    encoder.plot_embedding_as_heatmap(embed, ax=axis, title="a voice")
    assert axis.get_title() == "a voice"
    assert axis.images[0].get_array().shape == (16, 16) and axis.images[0].get_clim() == (0, 0.3)
    axis.images[0].colorbar.remove()  # as the toolbox does before it draws the next one
    axis.clear()
    pyplot.figure()
    encoder.plot_embedding_as_heatmap(embed, shape=(8, 32))
    assert pyplot.gcf().axes[0].images[0].get_array().shape == (8, 32)
    pyplot.close("all")


def test_the_names_of_settings(synthesizer):
    assert synthesizer.hparams._fields == Synthesizer.hparams._fields and Synthesizer.hparams is hparams
    assert synthesizer.hparams.tts_lstm_dims == synthesizer.config.decoder_size != hparams.tts_lstm_dims == 1024
    assert (hparams.hop_length, hparams.win_length, hparams.fft_bins, hparams.bits, hparams.mu_law) == (200, 800, 401, 9, True)
    assert (hparams.griffin_lim_iters, hparams.power, hparams.tts_cleaner_names) == (60, 1.5, ["english_cleaners"])
    assert (hparams.tts_encoder_dims, hparams.tts_decoder_dims, hparams.tts_postnet_dims) == (256, 128, 512)
    assert (hparams.tts_embed_dims, hparams.tts_encoder_K, hparams.tts_postnet_K, hparams.tts_num_highways) == (512, 5, 5, 4)
    assert (hparams.tts_dropout, hparams.tts_stop_threshold) == (0.5, -3.4)
    assert (hparams.sample_rate, hparams.hop_size, hparams.win_size, hparams.n_fft) == (16000, 200, 800, 800)
    assert (hparams.num_mels, hparams.fmin, hparams.max_mel_frames, hparams.rescaling_max) == (80, 55, 900, 0.9)
    assert (hparams.ref_level_db, hparams.min_level_db, hparams.max_abs_value) == (20, -100, 4)
    assert hparams.speaker_embedding_size == speaker_embedding_size == 256
    assert encoder_audio.sampling_rate == encoder.sampling_rate == 16000
    with pytest.raises(AttributeError):
        hparams.hop_size = 256


def test_an_empty_text_is_named_and_a_string_is_one_text(synthesizer, monkeypatch):
    monkeypatch.setattr(synthesizer, "_generate", lambda *args: pytest.fail("spoken before the texts were checked"))
    embed = np.zeros(256, np.float32)
    for empty in ("", " \n", "* * *"):
        with pytest.raises(UserError, match="text 2 of 2: nothing to read"):
            synthesizer.synthesize_spectrograms(["good", empty], [embed, embed])
        with pytest.raises(UserError, match="^nothing to read"):
            synthesizer.synthesize_spectrograms([empty], embed)
    monkeypatch.undo()
    (mel,), (alignment,) = synthesizer.synthesize_spectrograms("Yes.", embed, return_alignments=True, seed=1)
    (same,) = synthesizer.synthesize_spectrograms(["Yes."], [embed], seed=1)
    np.testing.assert_array_equal(mel, same)
    assert alignment.shape[1] == len("yes.") + 1


def test_the_default_models_are_there_or_are_fetched(tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(subprocess, "run", lambda command, **options: fetched.append(command[1:]))
    folder = tmp_path / "default"
    folder.mkdir()
    for stage in ("synthesizer", "vocoder"):
        (folder / f"{stage}.pt").touch()
    with pytest.raises(UserError, match="encoder.pt: no such file"):
        ensure_default_models(tmp_path)
    assert fetched == [["-m", "encoder.download", str(folder / "encoder.pt")]]
    (folder / "encoder.pt").touch()
    ensure_default_models(tmp_path)
    assert len(fetched) == 1
    (folder / "vocoder.pt").unlink()
    with pytest.raises(UserError, match="vocoder.pt: no such file"):
        ensure_default_models(tmp_path)
    check_model_paths(encoder_path=SYNTHESIZER, synthesizer_path=SYNTHESIZER, vocoder_path=VOCODER)


def test_arguments_are_printed(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--enc_model_fpath", default="a.pt")
    print_args(parser.parse_args([]), parser)
    assert capsys.readouterr().out.split() == ["Arguments:", "seed:", "3", "enc_model_fpath:", "a.pt"]
