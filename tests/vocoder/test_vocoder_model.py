"""WaveRNN and its distributions: published numbers, checkpoints, and invariants that need no listening."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.published_state import published_state
from tests.vocoder_data import FORMAT, pad_mels, tiny_vocoder, write_vocoder
from utils.errors import UserError
from utils.models import checkpoint
from vocoder import inference
from vocoder.config import WaveRNNConfig
from vocoder.distribution import LogisticMixture, MuLaw
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


@pytest.mark.parametrize(
    ("n_outputs", "sizes"), [(30, {"mode": "MOL", "n_mixtures": 10}), (512, {"bits": 9}), (1024, {"bits": 10})]
)
def test_the_number_of_outputs_tells_what_published_weights_predict(n_outputs, sizes):
    state = published_state("vocoder")
    for name in ("fc3.weight", "fc3.bias"):
        state[name] = torch.cat([state[name], state[name]])[:n_outputs]
    model, _ = from_published(state)
    assert model.config == WaveRNNConfig(**sizes) and model.distribution.n_outputs == n_outputs


def test_a_file_that_is_no_vocoder_is_an_error_of_one_line(tmp_path):
    whole = write_vocoder(tmp_path / "vocoder.pt", tiny_vocoder())
    (tmp_path / "cut.pt").write_bytes(whole.read_bytes()[:3000])
    checkpoint.save(tmp_path / "encoder.pt", {"format": checkpoint.stage_format("encoder")})
    torch.save({"model_state": published_state("encoder")}, tmp_path / "published_encoder.pt")
    other_hop = dataclasses.replace(FORMAT, hop_length=256)
    write_vocoder(tmp_path / "hop.pt", tiny_vocoder(), other_hop)
    problems = {
        "missing.pt": "no such vocoder checkpoint",
        "cut.pt": "cut short",
        "encoder.pt": "checkpoint of the encoder",
        "published_encoder.pt": "a fitting vocoder",
        "hop.pt": "hop_length of 256",
    }
    for name, problem in problems.items():
        with pytest.raises(UserError, match=problem) as error:
            inference.load_model(tmp_path / name)
        assert "\n" not in str(error.value)


def test_another_mel_format_is_refused_with_both_shown(tmp_path):
    vocoder = inference.Vocoder(write_vocoder(tmp_path / "vocoder.pt", tiny_vocoder()), "cpu")
    vocoder.check_mel_format(FORMAT)
    with pytest.raises(UserError, match=r"fmax 7600.*fmax 8000"):
        vocoder.check_mel_format(dataclasses.replace(FORMAT, fmax=8000.0))


def test_a_checkpoint_with_averaged_weights_speaks_with_those(tmp_path):
    model, average = tiny_vocoder(), tiny_vocoder()
    path = write_vocoder(tmp_path / "vocoder.pt", model)
    checkpoint.save(path, torch.load(path) | {"average_state": average.state_dict()})
    loaded = inference.Vocoder(path, "cpu").model.state_dict()
    assert all(torch.equal(value, average.state_dict()[name]) for name, value in loaded.items())
    assert not torch.equal(loaded["input.weight"], model.input.weight)


# ---- model


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
    edges = torch.tensor([[2**-24, 1.0]] * 2)  # the ends of 1 - torch.rand
    torch.testing.assert_close(MuLaw(4).sample(logits, edges), torch.full((2,), 8 / 7.5 - 1))


def test_the_loss_of_guessing_is_the_entropy_of_the_samples():
    wave = np.random.default_rng(0).normal(0, 0.05, 200_000)
    bits = MuLaw(9).encode(wave)[1]
    constant = torch.tensor(np.log(np.bincount(bits, minlength=512) + 1e-9), dtype=torch.float32)  # the best constant guess
    expected = float(torch.nn.functional.cross_entropy(constant.expand(200_000, -1), torch.from_numpy(bits)))
    assert abs(MuLaw(9).guess(bits) - expected) < 1e-3
    gaussian = 0.5 * np.log(2 * np.pi * np.e * 0.05**2) + np.log(2**15)  # in steps of 2 / 2^16
    assert abs(LogisticMixture(10).guess(LogisticMixture(10).encode(wave)[1]) - gaussian) < 0.01


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
