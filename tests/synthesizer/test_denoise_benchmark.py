"""Noise is as loud as it is said to be, ways to remove it are compared without their delay, and the comparison runs."""

import csv

import numpy as np
import pytest

from benchmarks import denoise
from utils.data.audio import load

RATE = denoise.RATE


@pytest.fixture(scope="module")
def voices(samples):
    paths = sorted(samples.glob("LibriSpeech/train-clean-100/*/*/*.flac"))
    return [load(path) for path in paths[:: len(paths) // 8]]


@pytest.mark.parametrize("kind", ["white", "pink", "babble", "hum"])
def test_noise_has_power_one_and_its_colour(kind, voices):
    wave = denoise.noise(kind, 4 * RATE, voices, np.random.default_rng(0))
    power = np.square(np.abs(np.fft.rfft(wave)))
    below_1_khz, above_4_khz = power[: 4 * 1000].sum(), power[4 * 4000 :].sum()
    assert len(wave) == 4 * RATE and np.mean(np.square(wave)) == pytest.approx(1, rel=1e-6)
    assert below_1_khz / above_4_khz == pytest.approx(1 / 4, rel=0.05) if kind == "white" else below_1_khz > 3 * above_4_khz


def test_speech_lies_so_far_over_the_noise(voices):
    speech = [denoise.Speech(f"{i}-0", wav, []) for i, wav in enumerate(voices)]
    seen = {}
    for noise, one, noisy in denoise.noisy_versions(speech, 1):
        seen[noise] = noisy - one.wav, one.wav.std()
    assert len(seen) == 13 and not seen["none"][0].any()
    for noise, (added, level) in seen.items():
        if noise != "none":
            assert 20 * np.log10(level / added.std()) == pytest.approx(int(noise.split()[1]), abs=0.05)


def test_the_ratio_heeds_distortion_alone(voices):
    clean = voices[0]
    rest = np.random.default_rng(0).normal(size=len(clean))
    rest -= clean * (rest @ clean) / (clean @ clean)
    distorted = clean + rest * np.sqrt(np.sum(np.square(clean)) / np.sum(np.square(rest)) / 100)
    assert denoise.si_sdr(distorted, clean) == pytest.approx(20, abs=0.1)
    assert denoise.si_sdr(-3 * distorted, clean) == pytest.approx(denoise.si_sdr(distorted, clean), abs=1e-6)
    late = np.concatenate([np.zeros(160), distorted])
    assert denoise.si_sdr(denoise.aligned(late, clean), clean) == pytest.approx(20, abs=0.1)


def test_the_comparison_runs_with_what_is_installed(samples, tmp_path, capsys):
    denoise.make(samples, tmp_path, n_utterances=12, per_condition=1)
    rows = list(csv.DictReader((tmp_path / denoise.FIGURES).open(), delimiter="\t"))
    gains = {(row["noise"], row["way"]): float(row["gain"]) for row in rows}
    assert all(abs(gain) < 1e-3 for (_, way), gain in gains.items() if way == "nothing")
    assert all(gains[f"{kind} 5 dB", "ours"] > 3 for kind in ("white", "pink", "hum"))
    assert all(float(row["si_sdr"]) > 25 for row in rows if row["noise"] == "none" and row["way"] == "ours")
    denoise.judge(tmp_path)
    table = capsys.readouterr().out
    assert (
        "noisereduce: left out, because noisereduce is missing (pip install noisereduce)" in table or "noisereduce: 3" in table
    )
    assert any(line.startswith("| all noises | ours |") for line in table.splitlines())
