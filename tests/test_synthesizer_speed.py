"""What a CPU computes in a manner of its own, against its definition: the same function, with the same gradients."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from synthesizer import training_products
from synthesizer.attention_sequence import AttentionSequence, Weights
from synthesizer.dataset import collate
from synthesizer.gru import BidirectionalGRU
from synthesizer.layers import sequence_mask
from synthesizer.norm import BankNorm
from synthesizer.recurrence import CompiledZoneoutRecurrence, ZoneoutRecurrence
from tests.test_synthesizer_model import items, tiny_model

pytest.importorskip("numba")

LENGTHS = torch.tensor([9, 4, 7])
B, S, T, A, E, K = 3, 6, 9, 8, 5, 5


def attention_steps(queries, keys, values, lengths, n_seen, w):
    """The GRU that queries (torch's), the energies of 1506.07503, equation 9, and what is read with their softmax."""
    hidden, context = queries.new_zeros(B, A), queries.new_zeros(B, E)
    last = total = queries.new_zeros(B, T)
    padding = torch.arange(T) >= lengths[:, None]
    filters = w.location.unflatten(1, (n_seen, K))
    steps = []
    for query in queries.unbind(1):
        of_input, of_hidden = query + context @ w.context.t(), hidden @ w.hidden.t() + w.hidden_bias
        r, z, n = of_input.chunk(3, 1)
        r, z = (r + of_hidden[:, :A]).sigmoid(), (z + of_hidden[:, A : 2 * A]).sigmoid()
        hidden = (1 - z) * torch.tanh(n + r * of_hidden[:, 2 * A :]) + z * hidden
        seen = torch.stack([last, total][-n_seen:], dim=1)  # (B, n_seen, T)
        location = F.conv1d(seen, filters, padding=K // 2).transpose(1, 2)
        energies = torch.tanh(keys + (hidden @ w.query.t() + w.query_bias)[:, None] + location)
        last = (energies @ w.score[0]).masked_fill(padding, -torch.inf).softmax(1)
        total = total + last
        context = torch.einsum("bt,bte->be", last, values)
        steps.append((hidden, context, last))
    return [torch.stack(of_steps) for of_steps in zip(*steps, strict=True)]


@pytest.mark.parametrize("n_seen", [1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_attention_over_all_steps_is_its_definition_in_double(n_seen, dtype, tolerance):
    torch.manual_seed(0)
    shapes = Weights((3 * A, E), (3 * A, A), (3 * A,), (A, A), (A,), (A, n_seen * K), (1, A))
    inputs = [torch.randn(B, S, 3 * A), torch.randn(B, T, A), torch.randn(B, T, E), *(torch.randn(s) * 0.5 for s in shapes)]
    above = [torch.randn(S, B, n) for n in (A, E, T)]
    ours = [x.clone().requires_grad_() for x in inputs]
    exact = [x.double().requires_grad_() for x in inputs]
    found = AttentionSequence.apply(*ours[:3], LENGTHS, n_seen, dtype, *ours[3:])
    expected = attention_steps(*exact[:3], LENGTHS, n_seen, Weights(*exact[3:]))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, atol=tolerance, rtol=0)
    gradients = torch.autograd.grad(found, ours, above)
    in_double = torch.autograd.grad(expected, exact, [a.double() for a in above])
    for name, one, other in zip(("queries", "keys", "values", *Weights._fields), gradients, in_double, strict=True):
        assert (one - other).norm() <= 3 * tolerance * other.norm(), name


def test_what_needs_no_gradient_keeps_one_step_and_says_the_same():
    torch.manual_seed(1)
    shapes = Weights((3 * A, E), (3 * A, A), (3 * A,), (A, A), (A,), (A, K), (1, A))
    inputs = [torch.randn(B, S, 3 * A), torch.randn(B, T, A), torch.randn(B, T, E)]
    weights = [torch.randn(shape).requires_grad_() for shape in shapes]
    trained = AttentionSequence.apply(*inputs, LENGTHS, 1, torch.float32, *weights)
    with torch.no_grad():
        read = AttentionSequence.apply(*inputs, LENGTHS, 1, torch.float32, *weights)
    for one, other in zip(trained, read, strict=True):
        assert torch.equal(one, other)


def test_gradients_can_be_had_once():
    weights = [
        torch.ones(shape, requires_grad=True) for shape in ((3 * A, E), (3 * A, A), (3 * A,), (A, A), (A,), (A, K), (1, A))
    ]
    inputs = torch.ones(B, S, 3 * A), torch.ones(B, T, A), torch.ones(B, T, E)
    found = AttentionSequence.apply(*inputs, LENGTHS, 1, torch.float32, *weights)[1].sum()
    found.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward was done already"):
        found.backward()


@pytest.mark.parametrize("attention", ["location", "location_both"])
def test_without_numba_a_training_step_is_the_same(attention, monkeypatch):
    batch, gradients, attentions = collate(items([9, 14], [21, 32])), [], []
    for kernels in (training_products.kernels, lambda: None):
        monkeypatch.setattr(training_products, "kernels", kernels)
        model = tiny_model(attention=attention).train()
        answer = model(*batch.inputs, 2)
        (answer.after.square().mean() + answer.attention.square().mean() + answer.stop_logits.mean()).backward()
        attentions.append(answer.attention)
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
    torch.testing.assert_close(*attentions, atol=1e-6, rtol=1e-5)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_bidirectional_gru_is_torchs_in_double(dtype, tolerance):
    torch.manual_seed(2)
    ours = BidirectionalGRU(6, 8)
    exact = copy.deepcopy(ours).double()
    x, above = torch.randn(B, T, 6), torch.randn(B, T, 16)
    mask = sequence_mask(LENGTHS, T)[:, :, None].float()
    inputs = x.clone().requires_grad_(), x.double().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = ours(inputs[0], mask)
    packed = nn.utils.rnn.pack_padded_sequence(inputs[1], LENGTHS, batch_first=True, enforce_sorted=False)
    turned = torch.where(torch.arange(T) < LENGTHS[:, None], LENGTHS[:, None] - 1 - torch.arange(T), torch.arange(T))
    turned = turned[:, :, None].expand(-1, -1, 8)
    ahead, _ = exact.ahead(packed)
    back, _ = exact.back(
        nn.utils.rnn.pack_padded_sequence(
            inputs[1].gather(1, turned[:, :, :6]), LENGTHS, batch_first=True, enforce_sorted=False
        )
    )
    ahead, back = (nn.utils.rnn.pad_packed_sequence(way, batch_first=True)[0] for way in (ahead, back))
    expected = torch.cat([ahead, back.gather(1, turned)], dim=2) * mask
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=0)
    gradients = torch.autograd.grad(found, (inputs[0], *ours.parameters()), above)
    in_double = torch.autograd.grad(expected, (inputs[1], *exact.parameters()), above.double())
    for one, other in zip(gradients, in_double, strict=True):
        assert (one - other).norm() <= 3 * tolerance * other.norm()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_compiled_lstm_with_zoneout_is_the_plain_one(dtype, tolerance):
    torch.manual_seed(3)
    inputs, weight, above = torch.randn(B, S, 4 * A), torch.randn(4 * A, A) * 0.5, torch.randn(B, S, A)
    kept = torch.rand(B, S, A) < 0.3
    plain, ours = ([x.clone().requires_grad_() for x in (inputs, weight)] for _ in range(2))
    expected = ZoneoutRecurrence.apply(*plain, kept)
    found = CompiledZoneoutRecurrence.apply(*(x.to(dtype) for x in ours), kept)
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=0)
    gradients = torch.autograd.grad(found, ours, above.to(dtype))
    for one, other in zip(gradients, torch.autograd.grad(expected, plain, above), strict=True):
        assert (one - other).norm() <= 3 * tolerance * other.norm()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_norm_of_a_bank_is_relu_batch_norm_and_pooling_in_double(dtype, tolerance):
    """Convolutions of an odd and an even kernel, a scale that is negative, and padding that holds what it should not."""
    torch.manual_seed(4)
    xs = [torch.randn(B, C, T + extra).to(dtype) for C, extra in ((4, 0), (6, 1))]
    norms = [torch.randn(len(x[0])) for x in xs * 2]
    mask, above = sequence_mask(LENGTHS, T)[:, None].double(), torch.randn(B, 10, T)
    ours, exact = ([part.clone().to(kind).requires_grad_() for part in norms] for kind in (torch.float32, torch.float64))
    inputs, in_double = [x.clone().requires_grad_() for x in xs], [x.double().requires_grad_() for x in xs]
    found, mean, variance = BankNorm.apply(LENGTHS, T, (True, True), torch.float32, 1e-5, *inputs, *ours)
    y = torch.cat([F.relu(x[:, :, :T]) for x in in_double], dim=1)
    means = (y * mask).sum((0, 2)) / LENGTHS.sum()
    variances = ((y - means[:, None]).square() * mask).sum((0, 2)) / LENGTHS.sum()
    weight, bias = (torch.cat(kind)[:, None] for kind in (exact[:2], exact[2:]))
    y = ((y - means[:, None]) / (variances[:, None] + 1e-5).sqrt() * weight + bias) * mask
    y = F.max_pool1d(y, 2, stride=1, padding=1)[:, :, :-1] * mask
    for one, other in ((found, y), (mean, means), (variance, variances)):
        torch.testing.assert_close(one.double(), other, atol=1e-5, rtol=1e-5)
    gradients = torch.autograd.grad(found, (*inputs, *ours), above)
    expected = torch.autograd.grad(y, (*in_double, *exact), above.double())
    for one, other in zip(gradients, expected, strict=True):
        assert (one - other).norm() <= tolerance * other.norm()


def test_nan_passes_through():
    """A bad batch has to show in the loss."""
    from utils.cpu import vectors as kernels

    x = np.array([np.nan, -np.inf, -3, 0, 1e-3, 50], np.float32)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose([kernels.tanh(value) for value in x], np.tanh(x), atol=1e-6)
        np.testing.assert_allclose([kernels.sigmoid(value) for value in x], 1 / (1 + np.exp(-x)), atol=1e-6)


def test_decoder_takes_the_fast_way_where_it_can():
    values = torch.zeros(1)
    assert training_products.product_dtype(values) == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert training_products.product_dtype(values) == torch.bfloat16
    assert (
        training_products.product_dtype(values.double()) is None and training_products.product_dtype(values.to("meta")) is None
    )
