"""Speaker verification: how well embeddings tell speakers apart, in numbers.

N embeddings of S speakers, P pairs of them. The equal error rate (EER) is the usual measure (Wan et al. 2018, section 3).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from encoder.dataset import SpeakerIndex
from encoder.model import SpeakerEncoder
from encoder.partials import embed_partials, mean_embedding, partials_of_mel
from utils.errors import UserError
from utils.training.batching import rng

N_BOOTSTRAP = 100
MIN_BOOTSTRAPPED = 5  # speakers; of fewer the interval would say nothing
EVALUATION_SEED = 0  # of which utterances are taken and of the bootstrap: the same at every evaluation of every run
MAX_EMBEDDINGS = 5000  # 12.5 million pairs: 0.5 GB and half a minute


class Verification(NamedTuple):
    """Equal error rate over all pairs (0: perfect, 0.5: chance), and what it rests on."""

    eer: float
    eer_low: float  # 95 % interval, by bootstrap
    eer_high: float
    same_cosine: float  # mean over pairs of one speaker
    different_cosine: float

    def figures(self) -> dict[str, float]:
        """Those that are defined, by name."""
        return {name: value for name, value in self._asdict().items() if np.isfinite(value)}


class Embedded(NamedTuple):
    embeddings: np.ndarray  # (N, E), of length 1
    speakers: np.ndarray  # (N,), positions in the index


def choose_speakers(speakers: Sequence[int], n_most: int) -> np.ndarray:
    """At most n_most, evenly spread over the order, in which the speakers of one corpus follow each other."""
    places = np.linspace(0, len(speakers) - 1, min(n_most, len(speakers))).round().astype(int)
    return np.asarray(speakers, dtype=int)[places]


def choose_utterances(index: SpeakerIndex, speakers: Sequence[int], n_most: int) -> list[tuple[int, int]]:
    """(speaker, number) of at most n_most utterances of each speaker, always the same ones."""
    return [(int(speaker), number) for speaker in speakers for number in _numbers(index.n_utterances(speaker), n_most)]


def _numbers(n_available: int, n_most: int) -> list[int]:
    order = rng(EVALUATION_SEED, n_available).permutation(n_available)
    return np.sort(order[:n_most]).tolist()


def embed_utterances(
    model: SpeakerEncoder,
    index: SpeakerIndex,
    chosen: Sequence[tuple[int, int]],
    partial_frames: int,
    progress: Callable[[], object] = lambda: None,
) -> Embedded:
    """Embeddings of whole utterances (speaker, number): means over partials of partial_frames; `progress` after each."""
    partials = (partials_of_mel(index.utterance(*pair), partial_frames) for pair in chosen)
    embeddings = []
    for each in embed_partials(model, partials):
        embeddings.append(mean_embedding(each))
        progress()
    return Embedded(np.stack(embeddings), np.array([speaker for speaker, _ in chosen]))


def verify(embedded: Embedded, n_bootstrap: int = N_BOOTSTRAP) -> Verification:
    """Every pair of utterances, same speaker against different; the interval is over the choice of speakers.

    nan where there are no pairs of one kind. UserError over MAX_EMBEDDINGS, as pairs grow with the square.
    """
    n = len(embedded.embeddings)
    if n > MAX_EMBEDDINGS:
        raise UserError(f"{n} utterances make {n * (n - 1) // 2} pairs; evaluate {MAX_EMBEDDINGS} utterances at most")
    speaker_of = embedded.speakers.astype(np.int32)
    above = np.triu(np.ones((n, n), dtype=bool), k=1)
    scores = (embedded.embeddings @ embedded.embeddings.T)[above]
    first, second = (np.broadcast_to(each, (n, n))[above] for each in (speaker_of[:, None], speaker_of))
    return verify_pairs(scores, first == second, first, second, n_bootstrap)


def verify_pairs(
    scores: np.ndarray,
    is_same: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    n_bootstrap: int = N_BOOTSTRAP,
) -> Verification:
    """Scores (P,) of pairs, which of them are of one speaker, and the numbers of both speakers, over which the interval is."""
    pairs = ScoredPairs(scores, is_same)
    names, numbers = np.unique(np.stack([first, second]), return_inverse=True)
    low = high = np.nan
    if len(names) >= MIN_BOOTSTRAPPED:
        spread = _bootstrap(pairs, *numbers.reshape(2, -1), len(names), n_bootstrap)
        low, high = np.nanpercentile(spread, [2.5, 97.5])
    means = [float(scores[kind].mean(dtype=float)) if kind.any() else np.nan for kind in (is_same, ~is_same)]
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
        """weights (P,), in the order of the scores (self.order); nan without pairs of one kind."""
        weights = np.ones(len(self.order)) if weights is None else weights
        under_same = self._share_under(weights * self.is_same)
        under_different = self._share_under(weights * ~self.is_same)
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


def _bootstrap(pairs: ScoredPairs, first: np.ndarray, second: np.ndarray, n_speakers: int, n_bootstrap: int) -> np.ndarray:
    """Error rates (n_bootstrap,) with speakers drawn with replacement; a pair weighs as often as its speakers were drawn."""
    generator = rng(EVALUATION_SEED, n_speakers)
    first, second = first[pairs.order], second[pairs.order]
    is_one = first == second
    rates = []
    for _ in range(n_bootstrap):
        times = np.bincount(generator.integers(n_speakers, size=n_speakers), minlength=n_speakers).astype(float)
        rates.append(pairs.equal_error_rate(times[first] * np.where(is_one, 1, times[second])))
    return np.array(rates)
