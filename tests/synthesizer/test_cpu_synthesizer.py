"""The compiled loop that speaks against the one in plain torch, and which of them is chosen."""

import pytest
import torch

from synthesizer.accelerate import accelerate
from synthesizer.attention import LocationSensitiveAttention
from synthesizer.generation import SPAN, TorchLoop
from synthesizer.layers import PreNet
from tests.synthesizer.test_synthesizer_generation import R, memory_of, run_loop
from tests.synthesizer.test_synthesizer_model import tiny_model
from utils.models.device import computes_bf16, say_slower

pytest.importorskip("numba")
cuda = pytest.importorskip("synthesizer.cuda")
CompiledLoop = pytest.importorskip("synthesizer.cpu.loop").CompiledLoop

in_bf16 = pytest.mark.skipif(not computes_bf16(torch.device("cpu")), reason="needs a CPU with bfloat16 products")


@pytest.mark.parametrize("attention", ["location", "location_both"])
@pytest.mark.parametrize("n_texts", [1, 7])
def test_the_compiled_loop_is_the_plain_one_dropout_included(attention, n_texts):
    sizes = {"decoder_size": 50, "attention_size": 18}  # neither fills up its last panel
    model = tiny_model(attention=attention, prenet_dropout=0.4, **sizes).eval()
    memory = memory_of(model, n_texts)
    compiled, plain = (
        run_loop(loop, memory) for loop in (CompiledLoop(model.decoder, R, torch.float32), TorchLoop(model.decoder, R))
    )
    assert plain[0].std() > 0.05 and plain[2].std() > 0.01
    for one, other in zip(compiled, plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=in_bf16)])
def test_threads_and_other_rows_change_no_bit(dtype):
    model, seen = tiny_model(decoder_size=70).eval(), []
    memory = memory_of(model)
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        seen.append(run_loop(CompiledLoop(model.decoder, R, dtype), memory))
    torch.set_num_threads(1)
    second = memory._replace(values=memory.values[1:2], keys=memory.keys[1:2], padding=memory.padding[1:2])
    alone = run_loop(CompiledLoop(model.decoder, R, dtype), second)
    for one, two, three, of_second in zip(*seen, alone, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)
        torch.testing.assert_close(of_second, one[:, 1:2], atol=0, rtol=0)


@in_bf16
def test_bfloat16_rounds_a_little():
    model = tiny_model(decoder_size=64).eval()
    memory = memory_of(model)
    exact, rounded = (run_loop(CompiledLoop(model.decoder, R, dtype), memory)[0] for dtype in (torch.float32, torch.bfloat16))
    assert 0 < (exact - rounded).abs().max() < 0.05 * exact.std()


def test_a_broken_weight_is_heard():
    model = tiny_model().eval()
    model.decoder.lstm2.lstm.weight_hh_l0.data[3, 4] = torch.nan
    mel, stop, _ = run_loop(CompiledLoop(model.decoder, R, torch.float32), memory_of(model))
    assert mel[1:].isnan().any() and stop[1:].isnan().any()
    assert isinstance(accelerate(model), CompiledLoop)


def test_what_is_not_exactly_known_speaks_in_plain_torch(capsys, monkeypatch):
    class Subclass(LocationSensitiveAttention):
        pass

    model, subclassed = tiny_model(prenet_dropout=0.5), tiny_model()
    subclassed.decoder.attention.__class__ = Subclass
    say_slower.cache_clear()
    assert type(accelerate(model)) is CompiledLoop
    assert not capsys.readouterr().out
    assert type(accelerate(subclassed)) is type(accelerate(tiny_model(attention="dynamic"))) is TorchLoop
    with torch.autocast("cpu", torch.float16):
        assert type(accelerate(model)) is TorchLoop
    monkeypatch.setattr(PreNet, "forward", lambda self, x: self.second(self.first(x).relu()).relu())  # without dropout
    assert type(accelerate(model)) is TorchLoop
    assert capsys.readouterr().out.count("\n") == 1  # for all of them


def test_an_error_in_the_fast_path_is_not_hidden(monkeypatch):
    def broken(*_):
        raise TypeError("a bug")

    monkeypatch.setattr("synthesizer.cpu.loop._packed", broken)
    with pytest.raises(TypeError, match="a bug"):
        accelerate(tiny_model())


def test_choosing_a_loop_draws_no_random_numbers():
    model, state = tiny_model(), torch.get_rng_state()
    accelerate(model)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("attention", ["location_both", "dynamic"])
def test_recorded_steps_can_be_replayed(attention, monkeypatch):
    """A CUDA graph runs the same work on the same memory again; here the work itself is repeated."""

    def record(work, device):
        work()  # recording runs it once
        return work

    monkeypatch.setattr(cuda, "record", record)
    model = tiny_model(attention=attention).eval()
    loop = cuda.GraphLoop(model.decoder, R)
    for n_texts in (3, 2, 3):
        memory = memory_of(model, n_texts)
        for one, other in zip(run_loop(loop, memory), run_loop(TorchLoop(model.decoder, R), memory), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert len(one) == 2 * SPAN and len(loop._graphs) == 2


def test_nan_passes_through_the_kernels():
    import numpy as np

    from utils.cpu import vectors

    x = np.array([np.nan, -np.inf, -3, 0, 1e-3, 50], np.float32)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose([vectors.tanh(value) for value in x], np.tanh(x), atol=1e-6)
        np.testing.assert_allclose([vectors.sigmoid(value) for value in x], 1 / (1 + np.exp(-x)), atol=1e-6)
