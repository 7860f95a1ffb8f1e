"""`python -m encoder.evaluate`: compare encoders on speakers or trials that they were not trained on.

N embeddings of S speakers, P pairs, F files. The equal error rate (EER) is the usual measure (Wan et al. 2018, section 3).
Heavy modules are imported inside the functions, so that `-h` answers at once.
"""

import argparse
import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from encoder.config import PARTIAL_FRAMES, EncoderTraining
from utils import cli
from utils.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from encoder.dataset import SpeakerIndex
    from encoder.inference import SpeakerEmbedder
    from encoder.model import SpeakerEncoder

N_BOOTSTRAP = 100
MIN_BOOTSTRAPPED = 5  # speakers; with fewer, the interval would mean nothing
EVALUATION_SEED = 0  # of the choice of utterances and of the bootstrap: the same in every evaluation
MAX_EMBEDDINGS = 5000  # 12.5 million pairs: 0.5 GB and half a minute
FILES_AT_A_TIME = 64  # of a trial list, held in memory as waves


# ---- error rates


class Verification(NamedTuple):
    """Equal error rate over all pairs (0: perfect, 0.5: chance), and how reliable it is."""

    eer: float
    eer_low: float  # 95 % interval, by bootstrap
    eer_high: float
    same_cosine: float  # mean over pairs of one speaker
    different_cosine: float

    def figures(self) -> dict[str, float]:
        """Those that are defined, by name."""
        return {name: value for name, value in self._asdict().items() if value == value}


def _equal_error_rate(scores: "np.ndarray", is_same: "np.ndarray", weights: "np.ndarray") -> float:
    """The error rate at the threshold where false rejections and false acceptances are equally frequent.

    scores ascend, and each pair counts as often as its weight says. Exact: every score is tried as a threshold, and between
    two of them both rates are interpolated. nan if there are no pairs of one kind.
    """
    import numpy as np

    last_of_each = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # of the pairs with one score

    def rejected(weights: "np.ndarray") -> "np.ndarray":
        """Share of the weight below each threshold: the first is below all scores, the others just above each score."""
        sums = np.concatenate(([0.0], np.cumsum(weights)[last_of_each]))
        with np.errstate(invalid="ignore"):
            return sums / sums[-1]

    false_rejections = rejected(weights * is_same)
    difference = false_rejections - (1 - rejected(weights * ~is_same))  # to false acceptances: rises from -1 to 1
    if not np.isfinite(difference).all():
        return float("nan")
    after = max(int(np.argmax(difference >= 0)), 1)
    step = difference[after] - difference[after - 1]
    part = -difference[after - 1] / step if step else 0.0
    return float(false_rejections[after - 1] + part * (false_rejections[after] - false_rejections[after - 1]))


def verify_pairs(scores: "np.ndarray", is_same: "np.ndarray", first: "np.ndarray", second: "np.ndarray") -> Verification:
    """Scores (P,) of pairs, whether a pair is of one speaker, and the numbers of its speakers, which the bootstrap draws."""
    import numpy as np

    from utils.training.batching import rng

    means = [float(scores[kind].mean(dtype=float)) if kind.any() else np.nan for kind in (is_same, ~is_same)]
    order = np.argsort(scores, kind="stable")
    scores, is_same = scores[order], is_same[order]
    names, numbers = np.unique(np.stack([first[order], second[order]]), return_inverse=True)
    first, second = numbers.reshape(2, -1)
    low = high = np.nan
    if len(names) >= MIN_BOOTSTRAPPED:
        generator, is_one, rates = rng(EVALUATION_SEED, len(names)), first == second, []
        for _ in range(N_BOOTSTRAP):  # speakers are drawn with replacement; a pair counts as often as both its speakers
            times = np.bincount(generator.integers(len(names), size=len(names)), minlength=len(names)).astype(float)
            rates.append(_equal_error_rate(scores, is_same, times[first] * np.where(is_one, 1, times[second])))
        low, high = np.nanpercentile(rates, [2.5, 97.5])
    return Verification(_equal_error_rate(scores, is_same, np.ones(len(order))), float(low), float(high), *means)


def verify(embeddings: "np.ndarray", speakers: "np.ndarray") -> Verification:
    """Every pair of embeddings (N, E), by the numbers of their speakers (N,); the interval is over the choice of speakers."""
    import numpy as np

    n, speakers = len(embeddings), speakers.astype(np.int32)
    above = np.triu(np.ones((n, n), dtype=bool), k=1)
    scores = (embeddings @ embeddings.T)[above]
    first, second = (np.broadcast_to(each, (n, n))[above] for each in (speakers[:, None], speakers))
    return verify_pairs(scores, first == second, first, second)


# ---- preprocessed speakers


def choose_speakers(speakers: Sequence[int], n_most: int) -> list[int]:
    """At most n_most, evenly spaced, as the speakers of one corpus follow each other."""
    n = min(n_most, len(speakers))
    return [int(speakers[round(i * (len(speakers) - 1) / max(n - 1, 1))]) for i in range(n)]


def choose_utterances(index: "SpeakerIndex", speakers: Sequence[int], n_most: int) -> list[tuple[int, int]]:
    """(speaker, number) of at most n_most utterances of each speaker, always the same ones.

    UserError over MAX_EMBEDDINGS, as the number of pairs grows with the square.
    """
    from utils.training.batching import rng

    chosen = []
    for speaker in speakers:
        n = index.n_utterances(speaker)
        numbers = rng(EVALUATION_SEED, n).permutation(n)[:n_most]
        chosen += [(int(speaker), number) for number in sorted(numbers.tolist())]
    if len(chosen) > MAX_EMBEDDINGS:
        problem = f"{len(chosen)} utterances make too many pairs, {MAX_EMBEDDINGS} are the most"
        raise UserError(f"{problem}; evaluate fewer speakers or fewer utterances of each", exit_code=2)
    return chosen


def embed_utterances(
    model: "SpeakerEncoder", index: "SpeakerIndex", chosen: Iterable[tuple[int, int]], partial_frames: int
) -> "np.ndarray":
    """Utterances (speaker, number) -> (N, E): each is the mean over its partials."""
    import numpy as np

    from encoder.partials import embed_partials, mean_embedding, partials_of_mel

    partials = (partials_of_mel(index.utterance(*pair), partial_frames) for pair in chosen)
    return np.stack([mean_embedding(each) for each in embed_partials(model, partials)])


# ---- trial lists


class Trials(NamedTuple):
    """Pairs of recordings, with `first` and `second` as positions in `files`."""

    files: list[str]  # F, as the list writes them
    first: "np.ndarray"  # (P,)
    second: "np.ndarray"  # (P,)
    is_same: "np.ndarray"  # bool (P,)

    def check_both_kinds(self, place: object) -> None:
        """UserError unless there are trials of one speaker and of two."""
        n_same = int(self.is_same.sum())
        if n_same in (0, len(self.is_same)):
            raise UserError(f"{place}: {n_same} trials of one speaker and {len(self.is_same) - n_same} of two; both are needed")

    def speakers(self) -> "np.ndarray | None":
        """(F,) numbers of the files' speakers: the first folder of each path, if that agrees with every label."""
        import numpy as np

        folders = [file.replace("\\", "/").lstrip("/").partition("/")[0] for file in self.files]
        _, speakers = np.unique(folders, return_inverse=True)
        agrees = (speakers[self.first] == speakers[self.second]) == self.is_same
        return speakers if agrees.all() else None


def read_trials(path: Path) -> Trials:
    """A list of `label path path`, as VoxCeleb1-O. UserError for a line of another form, and if one label never occurs."""
    import numpy as np

    from utils.data.paths import read_text

    positions: dict[str, int] = {}
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or fields[0] not in ("0", "1"):
            raise UserError(f"{path}, line {number}: {line[:80]!r} is not `label path path` with label 1 (same speaker) or 0")
        rows.append((*(positions.setdefault(name, len(positions)) for name in fields[1:]), fields[0] == "1"))
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)  # (P, 3)
    trials = Trials(list(positions), table[:, 0], table[:, 1], table[:, 2].astype(bool))
    trials.check_both_kinds(path)
    return trials


def embed_files(embedders: "list[SpeakerEmbedder]", root: Path, files: list[str]) -> tuple[list["np.ndarray"], list[str]]:
    """Embed audio files, each read once -> (F, E) for each model, nan where a file is unusable; a line for each such file."""
    import numpy as np
    from tqdm import tqdm

    from encoder.inference import preprocess_wav

    def prepare(name: str) -> "np.ndarray | str":
        try:
            return preprocess_wav(root / name)
        except UserError as error:
            return str(error)

    vectors = [np.full((len(files), embedder.embedding_size), np.nan, dtype=np.float32) for embedder in embedders]
    problems = []
    bar = tqdm(total=len(files), desc="Embedding", unit="file", dynamic_ncols=True)
    with bar, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(files), FILES_AT_A_TIME):
            prepared = list(pool.map(prepare, files[start : start + FILES_AT_A_TIME]))
            problems += [each for each in prepared if isinstance(each, str)]
            usable = [i for i, each in enumerate(prepared) if not isinstance(each, str)]
            for own, embedder in zip(vectors, embedders, strict=True):
                own[[start + i for i in usable]] = embedder.embed_batch([prepared[i] for i in usable])
            bar.update(len(prepared))
    return vectors, problems


# ---- the command

Counts = tuple[int | None, int, int, int]  # speakers (None if unknown), utterances, pairs of one speaker, pairs of two


def evaluate_folder(embedders: list["SpeakerEmbedder"], args: argparse.Namespace) -> tuple[list[Verification], Counts, str]:
    """All pairs of some utterances of some speakers -> a result for each model, their counts, and what the interval is over."""
    import numpy as np
    from tqdm import tqdm

    from encoder.dataset import read_index, split_speakers

    index = read_index(args.data, args.partial_frames)
    speakers = range(len(index.names)) if args.held_out is None else split_speakers(index, args.held_out)[1]
    if len(speakers) < 2:
        raise UserError(f"{args.data}: holds {len(speakers)} speakers to evaluate; at least two are needed")
    speakers = choose_speakers(speakers, args.max_speakers)
    chosen = choose_utterances(index, speakers, args.max_utterances)
    speaker_of, rows = np.array([speaker for speaker, _ in chosen]), []
    for embedder in embedders:
        shown = tqdm(chosen, desc="Embedding", unit="utterance", dynamic_ncols=True)
        rows.append(verify(embed_utterances(embedder.model, index, shown, args.partial_frames), speaker_of))
    n_pairs, n_same = math.comb(len(chosen), 2), sum(math.comb(n, 2) for n in np.bincount(speaker_of).tolist())
    counts = (len(speakers), len(chosen), n_same, n_pairs - n_same)
    return rows, counts, f"{len(speakers)} {'speakers' if args.held_out is None else 'held-out speakers'}"


def evaluate_trials(embedders: list["SpeakerEmbedder"], args: argparse.Namespace) -> tuple[list[Verification], Counts, str]:
    """The trials of a list whose files are there and hold speech; the interval is over speakers if the paths name them."""
    import numpy as np

    from utils.report_lines import indented

    trials = read_trials(args.data)
    root = args.audio_root or args.data.parent
    missing = [name for name in trials.files if not (root / name).is_file()]
    if len(missing) == len(trials.files):
        hint = "name the folder that its paths start from with --audio_root"
        raise UserError(f"{root}: holds none of the {len(missing)} files of {args.data}, such as {missing[0]}; {hint}")
    vectors, problems = embed_files(embedders, root, trials.files)
    is_usable = np.isfinite(vectors[0][:, 0])
    wanted = is_usable[trials.first] & is_usable[trials.second]
    used = Trials(trials.files, trials.first[wanted], trials.second[wanted], trials.is_same[wanted])
    used.check_both_kinds("what is left")
    if problems:
        left_out = f"{np.count_nonzero(~wanted)} of {len(wanted)} trials are left out"
        unusable = f"{len(problems) - len(missing)} cannot be used"
        print(f"{len(missing)} of {len(trials.files)} files are missing and {unusable}, so {left_out}:")
        print(*indented(problems, 5), sep="\n")

    speakers, n_same = used.speakers(), int(used.is_same.sum())
    numbers = np.arange(len(used.is_same))  # each trial is drawn by itself where speakers are not known
    first, second = (numbers, numbers) if speakers is None else (speakers[used.first], speakers[used.second])
    scores = [np.einsum("pe,pe->p", embeddings[used.first], embeddings[used.second]) for embeddings in vectors]
    rows = [verify_pairs(each, used.is_same, first, second) for each in scores]
    n_speakers = None if speakers is None else len(np.union1d(first, second))
    counts = (n_speakers, len(np.union1d(used.first, used.second)), n_same, len(used.is_same) - n_same)
    drawn = f"{n_speakers} speakers" if n_speakers else f"{len(numbers)} trials, as the paths do not name the speakers"
    return rows, counts, drawn


def table(models: list[Path], results: list[Verification], counts: Counts) -> str:
    """Markdown, a row for each model."""
    header = ["model", "EER", "95 % interval", "same cosine", "different cosine"]
    header += ["speakers", "utterances", "same pairs", "different pairs"]
    shown = ["-" if count is None else f"{count:,}" for count in counts]
    rows = []
    for path, found in zip(models, results, strict=True):
        interval = f"{found.eer_low:.4f} to {found.eer_high:.4f}" if "eer_low" in found.figures() else "-"
        cosines = (f"{found.same_cosine:.3f}", f"{found.different_cosine:.3f}")
        rows.append([str(path), f"{found.eer:.4f}", interval, *cosines, *shown])
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(
        "Measure how well encoders tell speakers apart: a table with the equal error rate (EER; 0: perfect, 0.5: chance), its "
        "95 % interval by bootstrap, and the mean cosine of pairs from one speaker and from two. All pairs of the chosen "
        "utterances of a preprocessed folder are scored, with an interval over speakers; for a trial list, it is over "
        "speakers if the first folder of every path is the speaker, as in VoxCeleb, else over trials.",
        "python -m encoder.evaluate",
    )
    add, count, fraction = parser.add_argument, cli.whole_number(at_least=2), EncoderTraining.held_out_fraction
    add("models", nargs="+", type=Path, metavar="MODEL", help="encoder checkpoint, of this project or published before it")
    text = "output of encoder_preprocess.py (<datasets_root>/SV2TTS/encoder), or a trial list: a text file with one "
    add("data", type=Path, metavar="DATA", help=text + "`label path path` a line, label 1 for one speaker, 0 for two")
    text = "folder: take only the speakers that encoder_train.py holds out with this held_out_fraction "
    text += f"({fraction:g} unless its --hparams changed it); without it, all speakers"
    add("--held_out", type=_fraction, metavar="FRACTION", help=text)
    text = "folder: most speakers, evenly spaced; time and memory grow with the square of the number of utterances"
    add("--max_speakers", type=count, default=100, metavar="N", help=text)
    add("--max_utterances", type=count, default=10, metavar="N", help="folder: most utterances per speaker, always the same")
    text = "folder: length of the partials in frames of 10 ms; shorter utterances are left out"
    add("--partial_frames", type=count, default=PARTIAL_FRAMES, metavar="N", help=text)
    text = "trial list: folder that its paths start from (default: the folder of the list)"
    add("--audio_root", type=Path, metavar="FOLDER", help=text)
    add("--cpu", action="store_true", help="use the CPU even if there is a GPU")
    args = parser.parse_args()
    if args.data.is_dir() and args.audio_root:
        parser.error("--audio_root is for a trial list, and DATA is a folder")
    if args.data.is_file() and args.held_out is not None:
        parser.error("--held_out is for a preprocessed folder, and DATA is a file")
    return args


def _fraction(text: str) -> float:
    try:
        if 0 <= float(text) < 1:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to under 1")


def main() -> None:
    args = parse_arguments()
    if not args.data.exists():
        raise UserError(f"{args.data}: no such folder or trial list")
    from encoder.inference import SpeakerEmbedder

    embedders = [SpeakerEmbedder(path, "cpu" if args.cpu else None) for path in args.models]
    results, counts, drawn = (evaluate_folder if args.data.is_dir() else evaluate_trials)(embedders, args)
    print(table(args.models, results, counts))
    print(f"The interval is by bootstrap over {drawn}.")


if __name__ == "__main__":
    cli.run(main)
