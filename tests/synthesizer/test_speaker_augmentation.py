"""Copies of utterances at other speeds, as other speakers."""

import numpy as np
import pytest
from scipy.signal import find_peaks

from synthesizer.corpus import augment
from synthesizer.preprocess import preprocess_audio
from tests import ROOT
from utils.data.audio import SAMPLE_RATE
from utils.data.paths import SynthesizerData
from utils.data.rows import read_rows
from utils.data.tables import read_marked

SAMPLES = ROOT / "samples"


@pytest.mark.parametrize("n", [1, 2, 5, 50])
def test_the_factors_of_an_utterance_are_spread_and_always_the_same(n):
    drawn = np.array([augment.factors(f"utterance {i}", n) for i in range(400)])
    assert (drawn >= augment.LOWEST).all() and (drawn <= augment.HIGHEST).all()
    assert (np.diff(drawn) > 0).all() and augment.factors("utterance 0", n) == drawn[0].tolist()
    borders = np.geomspace(augment.LOWEST, augment.HIGHEST, n + 1)
    assert ((drawn >= borders[:-1] - 1e-3) & (drawn <= borders[1:] + 1e-3)).all()
    assert abs(np.log(drawn).mean() - np.log(augment.LOWEST * augment.HIGHEST) / 2) < 0.02


@pytest.mark.parametrize("factor", [0.88, 1.14])
def test_a_faster_wave_is_shorter_and_higher(factor):
    wav = np.sin(2 * np.pi * 200 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    fast = augment.faster(wav, factor)
    assert abs(len(fast) - len(wav) / factor) <= 1 and fast.dtype == np.float32
    n_periods = len(find_peaks(fast)[0])
    assert n_periods / (len(fast) / SAMPLE_RATE) == pytest.approx(200 * factor, rel=0.01)


def test_preprocessing_writes_copies_with_their_word_times(tmp_path):
    preprocess_audio(SAMPLES, tmp_path, ["LibriSpeech/train-clean-100"], n_processes=1, hparams="speaker_augmentation=2")
    data = SynthesizerData(tmp_path)
    rows = {row.name: row for row in read_rows(data.manifest)}
    times = {line.split("|")[0]: line.split("|") for _, line in read_marked(data.alignments, "preprocess again")}
    copies = [row for row in rows.values() if row.name != row.original]
    n_originals = len(rows) - len(copies)
    assert 1.8 * n_originals < len(copies) <= 2 * n_originals  # those that would be too long are left out
    for row in copies:
        original = rows[row.original]
        factor = float(row.name.rpartition("@")[2])
        assert row.text == original.text and abs(row.n_frames - original.n_frames / factor) <= 1
        if original.mel in times:
            (_, words, ends), (_, copied_words, copied_ends) = times[original.mel][:3], times[row.mel][:3]
            expected = np.array(ends.split(","), float) / factor
            assert copied_words == words and np.abs(np.array(copied_ends.split(","), float) - expected).max() < 0.002
