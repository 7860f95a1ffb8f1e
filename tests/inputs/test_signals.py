"""Any array gives the voice that the float wave gives, or is refused in one line; levels and channels are put right."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from benchmarks.recordings import CHANGES
from encoder import inference as encoder
from synthesizer.inference import Synthesizer
from utils.data import audio, decoding, levels, signals, vad
from utils.errors import UserError
from utils.models.checkpoint import save
from vocoder.inference import Vocoder

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def speech(samples) -> np.ndarray:
    return audio.load(min((samples / "LibriSpeech" / "test-clean").rglob("*.flac")))[:48000]


def read_only(wav: np.ndarray) -> np.ndarray:
    wav = wav.copy()
    wav.flags.writeable = False
    return wav


SAME = {
    "int16": lambda wav: np.rint(wav * 32768).astype(np.int16),
    "int32": lambda wav: np.rint(wav.astype(np.float64) * 2**31).astype(np.int32),
    "uint8": lambda wav: np.rint(wav * 128 + 128).astype(np.uint8),
    "uint16": lambda wav: np.rint(wav * 32768 + 32768).astype(np.uint16),
    "float64": lambda wav: wav.astype(np.float64),
    "float16": lambda wav: wav.astype(np.float16),
    "big endian": lambda wav: wav.astype(">f4"),
    "list": lambda wav: wav.tolist(),
    "tensor": torch.from_numpy,
    "tensor of int16": lambda wav: torch.from_numpy(SAME["int16"](wav)),
    "tensor with a gradient": lambda wav: torch.from_numpy(wav).double().requires_grad_(),
    "(n, 1)": lambda wav: wav[:, None],
    "(1, n)": lambda wav: wav[None],
    "(1, 1, n)": lambda wav: wav[None, None],
    "(n, 2)": lambda wav: np.stack([wav, wav], 1),
    "(2, n)": lambda wav: np.stack([wav, wav]),
    "(n, 2) of opposite phase": lambda wav: np.stack([wav, -wav], 1),
    "(n, 2), one silent": lambda wav: np.stack([0 * wav, wav], 1),
    "(6, n) of int16": lambda wav: np.stack([SAME["int16"](wav)] * 6),
    "read-only": read_only,
    "non-contiguous": lambda wav: np.repeat(wav, 3)[::3],
    "reversed view": lambda wav: wav[::-1].copy()[::-1],
}
REFUSED = {
    "(rate, array)": (lambda wav: (16000, wav), "pair"),
    "(array, rate)": (lambda wav: (wav, 16000), "pair"),
    "int64": (lambda wav: np.rint(wav * 32768).astype(np.int64), "int64"),
    "complex": (lambda wav: wav.astype(np.complex64), "complex64"),
    "bool": (lambda wav: wav > 0, "bool"),
    "objects": (lambda wav: [None, "a"], "a wave is expected"),
    "None": (lambda wav: None, "a wave is expected"),
    "ragged": (lambda wav: [[0.1], [0.1, 0.2], [0.3]], "a wave is expected"),
    "empty": (lambda wav: wav[:0], "empty"),
    "empty (0, 2)": (lambda wav: np.zeros((0, 2), np.float32), "empty"),
    "NaN": (lambda wav: np.append(wav, np.nan), "not finite"),
    "infinity": (lambda wav: np.append(wav, np.inf), "not finite"),
    "3e38": (lambda wav: np.append(wav, np.float32(3e38)), "too large"),
    "a picture": (lambda wav: np.zeros((64, 64)), "shape"),
    "three dimensions": (lambda wav: np.zeros((2, 2, 100)), "shape"),
}


@pytest.mark.parametrize("kind", SAME)
def test_every_array_of_a_wave_is_the_same_wave(kind, speech):
    array = SAME[kind](speech)
    for is_raw in (True, False):
        wav = signals.wave(array, is_raw)
        assert wav.dtype == np.float32 and wav.flags.c_contiguous and wav.shape == speech.shape
        np.testing.assert_allclose(wav, speech, atol={"uint8": 1 / 250, "float16": 1e-3}.get(kind, 1 / 30000))


def entries(folder: Path) -> dict:
    """Every public function that takes a wave."""
    from tests.test_mistakes import encoder_content

    save(folder / "encoder.pt", encoder_content())
    encoder.load_model(folder / "encoder.pt", "cpu")
    return {
        "preprocess_wav": encoder.preprocess_wav,
        "embed_utterance": encoder.embed_utterance,
        "embed_whole": lambda wav: encoder.embed_utterance(wav, using_partials=False),
        "embed_speaker": lambda wav: encoder.embed_speaker([wav]),
        "embed_batch": lambda wav: encoder.embed_batch([wav])[0],
        "make_spectrogram": Synthesizer.make_spectrogram,
    }


def test_public_functions_take_the_same_arrays(speech, tmp_path):
    for name, function in entries(tmp_path).items():
        before, expected = speech.copy(), function(speech)
        for kind in ("int16", "tensor", "(1, n)", "(n, 2)", "float64", "read-only", "non-contiguous"):
            np.testing.assert_allclose(function(SAME[kind](speech)), expected, atol=0.05, err_msg=f"{name}, {kind}")
        for kind, (make, told) in REFUSED.items():
            with pytest.raises(UserError, match=told) as caught:
                function(make(speech))
            assert "\n" not in str(caught.value), (name, kind)
        np.testing.assert_array_equal(speech, before)
    with pytest.raises(UserError, match=r"pass \[wav\]"):
        encoder.embed_speaker(speech)
    with pytest.raises(UserError, match="preprocess_wav scales them"):
        encoder.embed_utterance(speech * 32768)
    usual = encoder.preprocess_wav(speech)
    for peak in (2, 8, 99):
        loud = usual * (peak / np.abs(usual).max())
        for embedding in (encoder.embed_utterance(loud), encoder.embed_speaker([loud])):
            assert embedding @ encoder.embed_utterance(usual) > 0.95, peak  # 0.86 to 0.57 at the level as it comes
    for rate in (0, -16000, 1):
        with pytest.raises(UserError, match="source_sr"):
            encoder.preprocess_wav(speech, rate)


def test_mels_of_another_layout_are_told():
    mel = RNG.normal(size=(80, 7))
    for same in (mel, torch.from_numpy(mel), mel[None], np.asfortranarray(mel), mel.astype(np.float32)):
        np.testing.assert_array_equal(signals.mel(same, 80), mel.astype(np.float32))
    for wrong, told in ((mel.T, r"pass mel.T"), (mel[:40], r"not \(40, 7\)"), (mel[:, :0], "T > 0"), (mel * np.nan, "finite")):
        with pytest.raises(ValueError, match=told):
            signals.mel(wrong, 80)
        with pytest.raises(UserError, match=told):
            Synthesizer.griffin_lim(wrong)
        with pytest.raises(UserError, match=told):
            Vocoder.infer_waveform(_FakeVocoder(), wrong)


class _FakeVocoder:
    mel_format = audio.MelFormat()
    _frames = Vocoder._frames


# ---- levels and channels


@pytest.mark.parametrize("kind", CHANGES)
def test_levels_are_put_right_and_told(kind, speech, tmp_path):
    change, told = CHANGES[kind]
    soundfile.write(tmp_path / "a.wav", change(speech.astype(np.float64)), 16000, "FLOAT")
    wav, notes = decoding.read(tmp_path / "a.wav")
    assert told in notes[0]
    keeps = vad.voiced_windows(speech[: len(speech) // 480 * 480])
    kept = vad.voiced_windows(wav[: len(wav) // 480 * 480])
    assert (keeps == kept).mean() > 0.9
    mels = [
        np.log(audio.encoder_mel(audio.normalize_volume(each, increase_only=False)) + 1e-5)[10:, 2:] for each in (speech, wav)
    ]
    assert np.corrcoef(mels[0].ravel(), mels[1].ravel())[0, 1] > 0.97


def test_clean_recordings_are_left_exactly_as_they_are(samples):
    for path in sorted((samples / "LibriSpeech").rglob("*-0000.flac")):
        wav, notes = decoding.read(path)
        np.testing.assert_array_equal(wav, soundfile.read(path, dtype="float32")[0])
        assert not notes and levels.settle(wav)[0] is wav


def test_noise_in_two_channels_is_no_cancelling():
    frames = RNG.normal(size=(2**15, 2)).astype(np.float32)
    np.testing.assert_array_equal(levels.mix(frames), frames.mean(axis=1))
