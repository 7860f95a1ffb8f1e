"""Is the encoder trained? How well embeddings of speakers that it never met tell them apart."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from encoder.dataset import SpeakerIndex
from encoder.model import SpeakerEncoder
from encoder.partials import embed_partials, mean_embedding, partials_of_mel
from utils.batching import rng

N_BOOTSTRAP = 100
MIN_BOOTSTRAPPED = 5  # speakers; of fewer the interval would say nothing
EVALUATION_SEED = 0  # of which utterances are taken and of the bootstrap: the same at every evaluation of every run


class Verification(NamedTuple):
    """Equal error rate over all pairs of utterances (0: perfect, 0.5: chance), and what it rests on."""

    eer: float
    eer_low: float  # 95 % interval over the choice of speakers
    eer_high: float
    same_cosine: float  # mean over pairs of one speaker
    different_cosine: float

    def figures(self) -> dict[str, float]:
        """Those that are defined, by name."""
        return {name: value for name, value in self._asdict().items() if np.isfinite(value)}


class Embedded(NamedTuple):
    embeddings: np.ndarray  # (N, E)
    speakers: np.ndarray  # (N,), positions in the index


def embed_speakers(
    model: SpeakerEncoder, index: SpeakerIndex, speakers: Sequence[int], n_utterances: int, partial_frames: int
) -> Embedded:
    """Whole utterances, n_utterances of each speaker (fewer if there are fewer), always the same ones."""
    chosen = [(speaker, number) for speaker in speakers for number in _choose(index, speaker, n_utterances)]
    partials = (partials_of_mel(index.utterance(*pair), partial_frames) for pair in chosen)
    embeddings = [mean_embedding(each) for each in embed_partials(model, partials)]
    return Embedded(np.stack(embeddings), np.array([speaker for speaker, _ in chosen]))


def _choose(index: SpeakerIndex, speaker: int, n_utterances: int) -> Iterator[int]:
    n_available = index.n_utterances(speaker)
    order = rng(EVALUATION_SEED, n_available).permutation(n_available)
    return map(int, np.sort(order[:n_utterances]))


def verify(embedded: Embedded, n_bootstrap: int = N_BOOTSTRAP) -> Verification:
    """Every pair of utterances, same speaker against different; nan where there are no pairs of one kind."""
    names, speaker_of = np.unique(embedded.speakers, return_inverse=True)
    first, second = np.triu_indices(len(embedded.embeddings), k=1)
    scores = (embedded.embeddings @ embedded.embeddings.T)[first, second]
    is_same = speaker_of[first] == speaker_of[second]
    pairs = ScoredPairs(scores, is_same)
    low = high = np.nan
    if len(names) >= MIN_BOOTSTRAPPED:
        spread = _bootstrap(pairs, speaker_of[first], speaker_of[second], len(names), n_bootstrap)
        low, high = np.nanpercentile(spread, [2.5, 97.5])
    means = [float(scores[kind].mean()) if kind.any() else np.nan for kind in (is_same, ~is_same)]
    return Verification(pairs.equal_error_rate(), float(low), float(high), *means)


def equal_error_rate(scores: np.ndarray, is_same: np.ndarray) -> float:
    """Where as many different pairs score over the threshold as same pairs under it, of each kind's number.

    Exact: every score is tried as threshold, and between two of them both rates change linearly.
    """
    return ScoredPairs(scores, is_same).equal_error_rate()


class ScoredPairs:
    """Pairs sorted by score once, so that the error rate is found again quickly when pairs are weighted."""

    def __init__(self, scores: np.ndarray, is_same: np.ndarray) -> None:
        self.order = np.argsort(scores, kind="stable")
        self.is_same = np.asarray(is_same)[self.order]
        ordered = np.asarray(scores)[self.order]
        self.ends = np.append(np.flatnonzero(np.diff(ordered)) + 1, len(ordered))  # past each run of equal scores

    def equal_error_rate(self, weights: np.ndarray | None = None) -> float:
        """weights (pairs,), in the order in which the pairs were given; nan without pairs of one kind."""
        sorted_weights = np.ones(len(self.order)) if weights is None else weights[self.order]
        under_same = self._share_under(sorted_weights * self.is_same)
        under_different = self._share_under(sorted_weights * ~self.is_same)
        difference = under_same - (1 - under_different)  # false rejections - false acceptances: rises from -1 to 1
        if not np.isfinite(difference).all():
            return float("nan")
        after = max(int(np.argmax(difference >= 0)), 1)
        step = difference[after] - difference[after - 1]
        part = -difference[after - 1] / step if step else 0.0
        return float(under_same[after - 1] + part * (under_same[after] - under_same[after - 1]))

    def _share_under(self, weights: np.ndarray) -> np.ndarray:
        """Share of the weight in the pairs that a threshold excludes: below each distinct score, and above the last."""
        sums = np.concatenate(([0.0], np.cumsum(weights)[self.ends - 1]))
        with np.errstate(invalid="ignore"):
            return sums / sums[-1]


def _bootstrap(pairs: ScoredPairs, first: np.ndarray, second: np.ndarray, n_speakers: int, n_draws: int) -> np.ndarray:
    """Error rates (n_draws,) with speakers drawn with replacement; a pair weighs as often as its speakers were drawn."""
    generator = rng(EVALUATION_SEED, n_speakers)
    rates = []
    for _ in range(n_draws):
        times = np.bincount(generator.integers(n_speakers, size=n_speakers), minlength=n_speakers).astype(float)
        weights = np.where(first == second, times[first], times[first] * times[second])
        rates.append(pairs.equal_error_rate(weights))
    return np.array(rates)
