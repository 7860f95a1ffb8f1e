"""`python -m encoder.evaluate`: encoders side by side on speakers or trials that they were not trained on."""

import argparse
import collections
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from utils import cli
from utils.errors import UserError

if TYPE_CHECKING:
    from encoder.inference import SpeakerEmbedder
    from encoder.verification import Verification

N_NAMED = 5  # files that cannot be used


class Counts(NamedTuple):
    """What a row of the table rests on."""

    speakers: int | None  # None where they are not known
    utterances: int
    same: int  # pairs
    different: int


class Result(NamedTuple):
    rows: list["Verification"]  # one for each model
    counts: Counts
    drawn: str  # what the interval is over


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(
        "How well encoders tell speakers apart: a table of the equal error rate (EER; 0: perfect, 0.5: chance) with its 95 % "
        "interval by bootstrap, and the mean cosine of pairs of utterances of one speaker and of two. Of a preprocessed folder "
        "all pairs of the chosen utterances are scored, and the interval is over its speakers. Of a trial list its trials are; "
        "the interval is over speakers where the first folder of every path is the speaker, as in VoxCeleb, else over trials."
    )
    parser.prog = "python -m encoder.evaluate"
    add, count = parser.add_argument, cli.whole_number(at_least=2)
    add("models", nargs="+", type=Path, metavar="MODEL", help="encoder checkpoint; this project's or one published before it")
    add("data", type=Path, metavar="DATA", help="what encoder_preprocess.py wrote (<datasets_root>/SV2TTS/encoder), or a "
        "trial list: a text file with a line `label path path` for each trial, label 1 for one speaker, 0 for two")  # fmt: skip
    add("--held_out", type=_fraction, metavar="FRACTION", help="folder: only the speakers that encoder_train.py sets aside "
        "with held_out_fraction of this (0.05 unless its --hparams said otherwise), for the figures that it reports; without "
        "it, all speakers")  # fmt: skip
    add("--max_speakers", type=count, default=100, metavar="N", help="folder: at most so many speakers, evenly taken; time and "
        "memory grow with the square of the utterances")  # fmt: skip
    add("--max_utterances", type=count, default=10, metavar="N", help="folder: at most so many utterances of each speaker, "
        "always the same ones")  # fmt: skip
    add("--partial_frames", type=count, default=160, metavar="N", help="folder: length in mel frames of 10 ms of the partials "
        "whose mean an utterance's embedding is; shorter utterances are left out")  # fmt: skip
    add("--audio_root", type=Path, metavar="FOLDER", help="trial list: what its paths begin in (default: the list's folder)")
    add("--cpu", action="store_true", help="work on the CPU even if there is a GPU")
    args = parser.parse_args()
    if args.data.is_dir() and args.audio_root:
        parser.error("--audio_root belongs to a trial list, and DATA is a folder")
    if args.data.is_file() and args.held_out is not None:
        parser.error("--held_out belongs to a preprocessed folder, and DATA is a file")
    return args


def _fraction(text: str) -> float:
    try:
        if 0 <= float(text) < 1:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to under 1")


def evaluate_folder(embedders: list["SpeakerEmbedder"], args: argparse.Namespace) -> Result:
    """All pairs of some utterances of some speakers, held-out ones or all."""
    from tqdm import tqdm

    from encoder.dataset import read_index, split_speakers
    from encoder.verification import MAX_EMBEDDINGS, choose_speakers, choose_utterances, embed_utterances, verify

    index = read_index(args.data, args.partial_frames)
    speakers = range(len(index.names)) if args.held_out is None else split_speakers(index, args.held_out)[1]
    if len(speakers) < 2:
        raise UserError(f"{args.data}: holds {len(speakers)} speakers to evaluate; telling them apart takes two at least")
    speakers = choose_speakers(speakers, args.max_speakers)
    chosen = choose_utterances(index, speakers, args.max_utterances)
    if len(chosen) > MAX_EMBEDDINGS:
        raise UserError(f"{len(chosen)} utterances make too many pairs; {MAX_EMBEDDINGS} are the most: lower "
                            "--max_speakers or --max_utterances", exit_code=2)  # fmt: skip
    rows = []
    for embedder in embedders:
        with tqdm(total=len(chosen), desc="Embedding", unit="utterance", dynamic_ncols=True) as bar:
            rows.append(verify(embed_utterances(embedder.model, index, chosen, args.partial_frames, bar.update)))
    n_each = collections.Counter(speaker for speaker, _ in chosen).values()
    n_same = sum(n * (n - 1) // 2 for n in n_each)
    counts = Counts(len(speakers), len(chosen), n_same, len(chosen) * (len(chosen) - 1) // 2 - n_same)
    return Result(rows, counts, f"{len(speakers)} {'speakers' if args.held_out is None else 'held-out speakers'}")


def evaluate_trials(embedders: list["SpeakerEmbedder"], args: argparse.Namespace) -> Result:
    """The trials of a list, as far as their files are there and hold speech."""
    import numpy as np

    from encoder.trials import embed_files, read_trials, verify_trials

    trials = read_trials(args.data)
    root = args.audio_root or args.data.parent
    missing = [name for name in trials.files if not (root / name).is_file()]
    if len(missing) == len(trials.files):
        raise UserError(f"{root}: holds none of the {len(missing)} files of {args.data}, such as {missing[0]}; "
                            "name the folder that their paths begin in with --audio_root")  # fmt: skip
    embedded = embed_files(embedders, root, trials.files)
    used = trials.of_files(np.isfinite(embedded.embeddings[0][:, 0]))
    if embedded.problems:
        n_other, n_left_out = len(embedded.problems) - len(missing), len(trials.is_same) - len(used.is_same)
        print(f"{len(missing)} of {len(trials.files)} files are missing and {n_other} cannot be used, so {n_left_out} of "
              f"{len(trials.is_same)} trials are left out:")  # fmt: skip
        more = [f"... and {len(embedded.problems) - N_NAMED} more"] if len(embedded.problems) > N_NAMED else []
        print(*(f"    {line}" for line in [*embedded.problems[:N_NAMED], *more]), sep="\n")
    rows = [verify_trials(used, embeddings) for embeddings in embedded.embeddings]
    files, n_same, speakers = np.union1d(used.first, used.second), int(used.is_same.sum()), used.speakers()
    n_speakers = None if speakers is None else len(np.unique(speakers[files]))
    drawn = f"{n_speakers} speakers" if n_speakers else f"{len(used.is_same)} trials, as the paths do not tell the speakers"
    return Result(rows, Counts(n_speakers, len(files), n_same, len(used.is_same) - n_same), drawn)


def table(models: list[Path], result: Result) -> str:
    """Markdown, a row for each model."""
    header = ("model", "EER", "95 % interval", "same cosine", "different cosine", "speakers", "utterances", "same pairs",
              "different pairs")  # fmt: skip
    counts = ["-" if count is None else f"{count:,}" for count in result.counts]
    rows = [list(header), ["---"] * len(header)]
    for path, found in zip(models, result.rows, strict=True):
        interval = "-" if found.eer_low != found.eer_low else f"{found.eer_low:.4f} to {found.eer_high:.4f}"
        cosines = (f"{found.same_cosine:.3f}", f"{found.different_cosine:.3f}")
        rows.append([str(path), f"{found.eer:.4f}", interval, *cosines, *counts])
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    rows[1] = ["-" * width for width in widths]
    return "\n".join("| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows)


def main() -> None:
    args = parse_arguments()
    if not args.data.exists():
        raise UserError(f"{args.data}: no such folder or trial list")
    from encoder.inference import SpeakerEmbedder

    embedders = [SpeakerEmbedder(path, "cpu" if args.cpu else None) for path in args.models]
    result = (evaluate_folder if args.data.is_dir() else evaluate_trials)(embedders, args)
    print(table(args.models, result))
    print(f"The interval is by bootstrap over {result.drawn}.")


if __name__ == "__main__":
    cli.run(main)
