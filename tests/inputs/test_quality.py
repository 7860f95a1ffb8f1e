"""Each thing that costs likeness is told, and a clean recording gets no warning."""

import numpy as np
import pytest

from utils.data import audio, quality


@pytest.fixture(scope="module")
def clean(samples) -> np.ndarray:
    paths = sorted((samples / "LibriSpeech" / "test-clean").rglob("*.flac"))
    return np.concatenate([audio.load(path) for path in paths[:2]])


def test_clean_recordings_get_no_warning(samples):
    for path in sorted((samples / "LibriSpeech").rglob("*-0000.flac"))[::4]:
        found = quality.assess(audio.load(path))
        assert not found.warnings() and found.seconds > 1.6 and found.snr > 30 and found.bandwidth == 8000, path


NOISE = np.random.default_rng(0).normal(size=2**20).astype(np.float32)
FAULTS = {
    "little speech": lambda wav: wav[:16000],
    "quiet": lambda wav: wav * 1e-3,
    "noise": lambda wav: wav + 0.2 * wav.std() * NOISE[: len(wav)],
    "cut off": lambda wav: np.clip(wav, -wav.std(), wav.std()),
    "telephone": lambda wav: audio.resample(audio.resample(wav, 16000, 8000), 8000, 16000),
}


@pytest.mark.parametrize("told", FAULTS)
def test_a_fault_is_told_alone(clean, told):
    (line,) = quality.assess(FAULTS[told](clean)).warnings()
    assert told in line


def test_speech_that_was_cut_out_without_a_pause_is_not_called_noisy(clean):
    def told(wav: np.ndarray) -> list[bool]:
        pieces = [wav[start : start + 24000] for start in range(0, len(wav) - 24000, 8000)]
        return [any("noise" in line for line in quality.assess(piece).warnings()) for piece in pieces]

    assert not any(told(clean)) and any(told(FAULTS["noise"](clean)))


def test_two_voices_are_told_by_the_partials():
    voices = np.random.default_rng(0).normal(size=(2, 256))
    one, two = (voices[index] + 0.3 * np.random.default_rng(1).normal(size=(8, 256)) for index in ([0] * 8, [0, 1] * 4))
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (one, two)]
    wav = NOISE[:16000]
    assert [quality.assess(wav, partials, 5.0).several_speakers for partials in (*unit, unit[1][:2], None)] == [
        False,
        True,
        None,
        None,
    ]
