"""Error rates by hand and by theory, their intervals, and who is evaluated."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from encoder.dataset import SpeakerIndex, split_speakers
from encoder.verification import (
    MAX_EMBEDDINGS,
    Embedded,
    ScoredPairs,
    choose_speakers,
    choose_utterances,
    equal_error_rate,
    verify,
    verify_pairs,
)
from utils.errors import UserError

# ---- error rates


@pytest.mark.parametrize(
    ("same", "different", "eer"),
    [
        ([0.9, 0.8], [0.1, 0.2], 0.0),
        ([0.1, 0.2], [0.9, 0.8], 1.0),
        ([0.5, 0.5], [0.5, 0.5], 0.5),
        ([0.9, 0.3], [0.4, 0.1], 0.5),  # between 0.3 and 0.4 one of two is wrong on both sides
        ([0.9, 0.8, 0.7, 0.2], [0.6, 0.3, 0.1, 0.0], 0.25),  # at 0.5: 0.2 is rejected, 0.6 accepted
        ([0.9, 0.6], [0.7, 0.1, 0.1, 0.1], 0.25),  # false acceptances stay 1/4 while 0.6 is passed
    ],
)
def test_equal_error_rate_by_hand(same, different, eer):
    scores = np.array(same + different)
    assert equal_error_rate(scores, np.arange(len(scores)) < len(same)) == pytest.approx(eer)


def test_equal_error_rate_of_the_published_embeddings(expected):
    embeddings = torch.from_numpy(expected["ge2e_embeds"])
    from tests.plain_ge2e import similarities

    own = np.repeat(np.eye(4, dtype=bool), 5, axis=0)
    assert equal_error_rate(similarities(embeddings).numpy().ravel(), own.ravel()) == pytest.approx(0.6)


def test_equal_error_rate_of_two_bell_curves():
    """Scores N(d, 1) against N(0, 1): both errors are Phi(-d / 2) at the threshold d / 2."""
    draw = np.random.default_rng(0)
    is_same = np.arange(400_000) < 200_000
    for distance in (0.0, 1.0, 3.0):
        scores = draw.standard_normal(len(is_same)) + distance * is_same
        assert equal_error_rate(scores, is_same) == pytest.approx(math.erfc(distance / 2**1.5) / 2, abs=0.003)


def test_a_pair_of_weight_three_counts_as_three_pairs():
    draw = np.random.default_rng(0)
    scores, is_same, weights = draw.random(200).round(2), draw.random(200) < 0.3, draw.integers(0, 4, 200)
    pairs = ScoredPairs(scores, is_same)
    repeated = equal_error_rate(np.repeat(scores, weights), np.repeat(is_same, weights))
    assert pairs.equal_error_rate(weights[pairs.order]) == pytest.approx(repeated)


def test_verification_of_separate_and_of_random_speakers():
    draw = np.random.default_rng(0)
    speakers = np.repeat(np.arange(12), 8)
    apart = np.eye(12)[speakers]
    result = verify(Embedded(apart, speakers))
    assert (result.eer, result.same_cosine, result.different_cosine) == (0, 1, 0)
    noise = draw.standard_normal((96, 64))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    result = verify(Embedded(noise, speakers))
    assert 0.4 < result.eer < 0.6 and result.eer_low < result.eer < result.eer_high
    assert "eer_low" not in verify(Embedded(apart[:16], speakers[:16])).figures()  # two speakers: no interval


def test_the_interval_is_as_wide_as_the_error_rate_scatters():
    """Of 2,000 independent trials with an error rate near 0.16 the bootstrap tells the scatter of new draws."""
    draw = np.random.default_rng(0)
    numbers, is_same = np.arange(2000), np.arange(2000) < 1000
    found = [verify_pairs(draw.standard_normal(2000) + 2 * is_same, is_same, numbers, numbers) for _ in range(60)]
    rates = np.array([each.eer for each in found])
    widths = np.array([each.eer_high - each.eer_low for each in found])
    assert widths.mean() == pytest.approx(2 * 1.96 * rates.std(), rel=0.35)
    assert np.mean([each.eer_low <= math.erfc(2**-0.5) / 2 <= each.eer_high for each in found]) > 0.85


def test_pairs_do_not_outgrow_the_memory():
    with pytest.raises(UserError, match="pairs"):
        verify(Embedded(np.zeros((MAX_EMBEDDINGS + 1, 2)), np.zeros(MAX_EMBEDDINGS + 1)))


# ---- who is evaluated


def make_index(n_speakers, n_utterances):
    names = [f"speaker{i}" for i in range(n_speakers)]
    lengths = np.full(n_speakers * n_utterances, 160, dtype=np.int32)
    return SpeakerIndex(Path("unused"), names, np.arange(n_speakers + 1) * n_utterances, np.cumsum(lengths), lengths)


@pytest.mark.parametrize(("n_speakers", "at_least"), [(4, 2), (10, 2), (40, 2), (41, 3), (1000, 50), (1211, 61)])
def test_at_least_two_speakers_and_the_fraction_are_held_out(n_speakers, at_least):
    trained, held_out = split_speakers(make_index(n_speakers, 1), 0.05)
    assert at_least <= len(held_out) <= max(at_least, 0.07 * n_speakers) and len(trained) + len(held_out) == n_speakers
    assert not set(trained) & set(held_out)


def test_evaluated_speakers_are_spread_over_the_corpora_and_their_utterances_always_the_same():
    assert choose_speakers(range(7, 407), 5).tolist() == [7, 107, 207, 306, 406]
    assert choose_speakers([3, 5], 100).tolist() == [3, 5]
    index = make_index(30, 20)
    chosen = choose_utterances(index, [4, 9], 10)
    assert [speaker for speaker, _ in chosen] == [4] * 10 + [9] * 10 and len(set(chosen)) == 20
    assert chosen == choose_utterances(index, [4, 9], 10) and len(choose_utterances(index, [4], 100)) == 20
