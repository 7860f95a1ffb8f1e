"""The vocoder's fast paths on a CPU: they compute what plain torch does, and give way where it was changed."""

import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.vocoder.test_generate import forced, free_running, speech, trained  # noqa: F401  # two of them are fixtures
from tests.vocoder_data import tiny_vocoder
from utils.models.device import say_slower
from vocoder.accelerate import accelerate
from vocoder.distribution import LogisticMixture, MuLaw, inverse_cdf
from vocoder.model import WaveRNN
from vocoder.sampling import PlainSampler

numba = pytest.importorskip("numba")
vectors = pytest.importorskip("utils.cpu.vectors")
compiled = pytest.importorskip("vocoder.cpu.sampler")
CompiledSampler, HAS_BF16 = compiled.CompiledSampler, compiled.HAS_BF16
PRECISIONS = [False, True] if HAS_BF16 else [False]

# ---- sampling


@pytest.mark.parametrize(
    "sizes",
    [{"mode": "RAW"}, {"mode": "MOL"}, {"bits": 10, "rnn_dims": 7, "fc_dims": 33}, {"pad": 1, "upsample_factors": (200,)}],
    ids=lambda sizes: "-".join(map(str, sizes.values())),
)
def test_the_compiled_sampler_predicts_and_draws_what_the_model_does(sizes):
    model = tiny_vocoder(**sizes)
    mel, levels = torch.rand(7, 1 + 2 * model.config.pad, 80) * 2 - 1, torch.rand(7, 200) * 2 - 1
    with torch.inference_mode():
        expected = model(levels, mel)
    sampler = CompiledSampler(model, False)
    torch.testing.assert_close(forced(sampler, model, mel, levels), expected, atol=1e-5, rtol=0)
    mel = torch.rand(12, 80) * 2 - 1
    plain = free_running(PlainSampler(model), model, mel, [0, 3, 5], 3)
    close = np.isclose(free_running(sampler, model, mel, [0, 3, 5], 3), plain, atol=1e-4)
    assert close.mean() > 0.99  # rounding may move a number from one class to the next


@pytest.mark.skipif(not HAS_BF16, reason="a CPU without bfloat16 products")
def test_bfloat16_is_the_same_distribution(speech, trained):  # noqa: F811
    """In frames of real speech: differences of the logits and of the distributions (Kullback-Leibler divergence, nats)."""
    wav, mel = speech
    n_frames = 20
    start = int(np.argmax(np.convolve(wav**2, np.ones(n_frames * 200), "valid")[::200]))  # where it is loudest
    before = torch.from_numpy(trained.distribution.encode(wav[start * 200 - 1 :][: n_frames * 200])[0]).view(n_frames, 200)
    mel = mel[start - 2 : start + n_frames + 2].unfold(0, 5, 1).transpose(1, 2)  # a row for each frame, and two around it
    with torch.inference_mode():
        exact = trained(before, mel)
    fast = forced(CompiledSampler(trained, True), trained, mel, before)
    difference = (fast - exact).abs()
    assert difference.square().mean(-1).sqrt().max() < 0.02  # of every step
    assert difference.quantile(0.999) < 0.03 and difference.mean() < 0.01
    divergence = F.kl_div(fast.log_softmax(-1), exact.log_softmax(-1), log_target=True, reduction="none").sum(-1)
    assert divergence.mean() < 1e-4 and divergence.max() < 1e-3


@pytest.mark.parametrize("in_bf16", PRECISIONS)
def test_a_fold_is_the_same_alone_and_among_others_and_on_any_number_of_threads(in_bf16):
    model, mel, rows = tiny_vocoder(), torch.rand(12, 80) * 2 - 1, [8, 0, 3, 5, 2, 9, 1, 4]
    together = free_running(CompiledSampler(model, in_bf16), model, mel, rows, 2)
    for row, start in enumerate(rows):
        np.testing.assert_array_equal(free_running(CompiledSampler(model, in_bf16), model, mel, [start], 2)[0], together[row])
    torch.set_num_threads(3)
    np.testing.assert_array_equal(free_running(CompiledSampler(model, in_bf16), model, mel, rows, 2), together)


def test_compiled_draws_are_those_of_the_distribution():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (4000, 512)).astype(np.float32)
    uniform = 1 - rng.random((4000, 2), dtype=np.float32)
    masses = np.zeros(512 + compiled.BLOCK, np.float32)
    drawn = np.array([compiled.draw(row, u, masses) for row, u in zip(logits, uniform[:, 0], strict=True)])
    expected = inverse_cdf(torch.from_numpy(logits), torch.from_numpy(uniform[:, 0])).numpy()
    assert (drawn == expected).mean() > 0.999 and np.abs(drawn - expected).max() <= 1  # sums are rounded differently
    mixtures = logits[:, :30].copy()
    drawn = [compiled.draw_logistic(row, u, masses, 10) for row, u in zip(mixtures, uniform, strict=True)]
    expected = LogisticMixture(10).sample(torch.from_numpy(mixtures), torch.from_numpy(uniform.T))
    np.testing.assert_allclose(drawn, expected, atol=1e-5)
    certain = np.full(512, -1e4, np.float32)
    certain[500] = 0
    assert [compiled.draw(certain, np.float32(u), masses) for u in (2**-24, 0.5, 1.0)] == [500] * 3


def test_numbers_are_rounded_to_bfloat16_as_torch_does():
    @numba.njit
    def write(numbers, halves):
        for i in range(len(numbers)):
            vectors.put(halves, 0, i, numbers[i])

    ties = (np.arange(0x3F808000, 0x3F868000, 0x10000, np.uint32)).view(np.float32)
    normal = np.random.default_rng(0).normal(0, 9, 1000)
    numbers = np.concatenate([normal, ties, -ties, [0, np.inf, -np.inf]]).astype(np.float32)
    expected = torch.from_numpy(numbers).to(torch.bfloat16).view(torch.uint16).numpy()
    halves = np.zeros((1, len(numbers)), np.uint16)
    write(numbers, halves)
    np.testing.assert_array_equal(halves[0], expected)


# ---- the choice


def test_the_compiled_sampler_is_chosen_where_it_computes_the_same(capsys, monkeypatch):
    for mode in ("RAW", "MOL"):
        assert type(accelerate(tiny_vocoder(mode=mode), torch.float32)) is CompiledSampler
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(compiled, "HAS_BF16", False)
    with pytest.raises(ValueError, match="bf16 needs"):
        accelerate(tiny_vocoder(), torch.bfloat16)


def test_a_changed_model_is_honoured(monkeypatch, capsys):
    """A subclass, and edits in place of the recurrence and of the distribution: each speaks as it was changed."""
    say_slower.cache_clear()

    class Subclass(WaveRNN): ...

    subclassed = tiny_vocoder()
    subclassed.__class__ = Subclass
    assert type(accelerate(subclassed)) is PlainSampler
    predict, sample = WaveRNN.predict, MuLaw.sample

    def louder(self, *args):
        outputs, state = predict(self, *args)
        return 1.5 * outputs, state

    for changed, name, edit in (
        (WaveRNN, "predict", louder),
        (MuLaw, "sample", lambda self, outputs, uniform: sample(self, 4 * outputs, uniform)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(changed, name, edit)
            assert type(accelerate(tiny_vocoder())) is PlainSampler
    assert capsys.readouterr().out.count("was changed") == 1


def test_without_numba_plain_torch_generates(monkeypatch, capsys):
    for name in ("vocoder.cpu.sampler", "utils.cpu.vectors"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)
    say_slower.cache_clear()
    for _ in range(2):
        assert type(accelerate(tiny_vocoder())) is PlainSampler
    (line,) = capsys.readouterr().out.splitlines()
    assert "slower" in line and "numba" in line


def test_an_error_in_the_fast_path_is_not_hidden(monkeypatch):
    def broken(*_):
        raise TypeError("a bug")

    monkeypatch.setattr(compiled, "_pack", broken)
    with pytest.raises(TypeError, match="a bug"):
        accelerate(tiny_vocoder())
