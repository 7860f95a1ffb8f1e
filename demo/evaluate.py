"""Is a cloned voice any good? `python -m demo.evaluate` makes models speak and measures the speech."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from demo.config import CloningSettings
from synthesizer.config import ReadingSettings
from utils import cli
from utils.config import default_model
from utils.errors import UserError

if TYPE_CHECKING:
    from demo.judging.judges import Judge
    from demo.judging.results import Utterance
    from demo.judging.studio import Models

JUDGES = ("whisper", "sim", "sim2", "dnsmos", "distillmos")


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(
        "Measure cloned speech: speaks every text in every voice and has it judged by word and character error rate, "
        "similarity to the voice by two encoders, DNSMOS, Distill-MOS, faults and seconds taken, beside copies of the "
        "recordings (through mel and vocoder) and the recordings themselves. Prints a table with 95 % confidence intervals and "
        "writes results.csv and index.html, a page to listen to. Speech that is there already is kept unless the models or the "
        "settings have changed. docs/evaluate.md explains the figures.",
        "python -m demo.evaluate",
    )
    add = parser.add_argument
    add("--models", type=Path, metavar="DIR", help="folder with encoder, synthesizer and vocoder, as .safetensors or .pt")
    references_help = "folder of recordings: a folder for each voice, or files <voice>_<number>.wav. The first one is cloned"
    add("--references", type=Path, metavar="DIR", help=references_help)
    add("--texts", type=Path, metavar="FILE", help="UTF-8 file with a text in each line, or a name, a tab and a text")
    add("--output", type=Path, default=Path("evaluation"), metavar="DIR", help="folder for speech, results.csv and index.html")
    judge_help = f"judges to use, of {','.join(JUDGES)} (default: those that are installed; requirements-evaluate.txt has all)"
    add("--judge", type=cli.names, metavar="A,B", help=judge_help)
    whisper_help = "Whisper model that listens: a name whose files are on this machine, or a folder of faster-whisper's files"
    add("--whisper", default="base", metavar="NAME", help=whisper_help)
    sim_help = "encoder that measures sim (default: saved_models/default/encoder.pt if it is there, else that of --models)"
    add("--sim_encoder", type=Path, metavar="FILE", help=sim_help)
    add("--language", default="en", metavar="CODE", help="language of the texts, by Whisper's code")
    compare_help = "output folder of another run to compare with; without --models, two finished runs are compared"
    add("--compare", type=Path, metavar="DIR", help=compare_help)
    count = cli.whole_number(at_least=1)
    add("--recordings", type=count, default=5, metavar="N", help="use at most so many recordings of each voice")
    add_speaking(parser)
    args = parser.parse_args()
    needed = {f"--{name}": getattr(args, name) for name in ("models", "references", "texts")}
    missing = [option for option, path in needed.items() if not path]
    if missing and not (args.compare and len(missing) == len(needed)):
        parser.error(f"{', '.join(missing)}: needed, unless two finished runs are compared (--output DIR --compare DIR)")
    if unknown := [name for name in args.judge or () if name not in JUDGES]:
        parser.error(f"--judge: there is no {unknown[0]!r}; choose from {', '.join(JUDGES)}")
    return args


def add_speaking(parser: argparse.ArgumentParser) -> None:
    """Options that say how the models speak."""
    add = parser.add_argument
    add("--griffin_lim", action="store_true", help="use no vocoder: judges the synthesizer alone, and is faster")
    add("--seed", type=cli.SEED, default=0, metavar="N", help="seed of the speech")
    add("--cpu", action="store_true", help="use the CPU even if there is a GPU")
    cli.add_hparams(parser, CloningSettings, ReadingSettings)


def measure(
    models: "Models",
    judges: Sequence["Judge"],
    voices: dict[str, list[Path]],
    texts: dict[str, str],
    out: Path,
    language: str = "en",
) -> list["Utterance"]:
    """Speak, judge, and write results.csv and index.html."""
    from demo.judging.page import write_page
    from demo.judging.results import table, write_csv
    from demo.judging.studio import Studio, judge

    takes = Studio(out, models).make(voices, texts)
    utterances = judge(takes, voices, judges, language)
    write_csv(out, utterances)
    write_page(out, utterances, table(utterances, with_bounds=True), language)
    return utterances


def _models(args: argparse.Namespace) -> "Models":
    from demo.judging.studio import Models
    from utils.models.checkpoint import STAGES, model_file

    encoder, synthesizer, vocoder = (model_file(args.models, stage) for stage in STAGES)
    if not args.griffin_lim and not vocoder.is_file():
        raise UserError(f"{vocoder}: no such model; put one there, or use --griffin_lim")
    if not encoder.is_file() and default_model("encoder").is_file():
        encoder = default_model("encoder")
        print(f"{args.models} has no encoder; the voices are embedded by {encoder}")
    files = encoder, synthesizer, None if args.griffin_lim else vocoder
    return Models(*files, args.hparams, args.seed, args.cpu)


def main() -> None:
    args = parse_arguments()
    from demo.judging import results

    other = results.read_csv(args.compare) if args.compare else None  # fails now rather than at the end
    if not args.models:
        print(results.markdown(results.compare(results.read_csv(args.output), other)))
        return
    from demo.judging import judges, studio

    models = _models(args)
    texts = studio.read_texts(args.texts)
    voices = studio.find_voices(args.references, args.recordings)
    default = default_model("encoder")
    sim_encoder = args.sim_encoder or (default if default.is_file() else models.encoder)
    chosen = judges.load(args.judge, judges.Options(args.whisper, sim_encoder, args.language, args.cpu))
    utterances = measure(models, chosen, voices, texts, args.output, args.language)
    print(results.markdown(results.table(utterances)))
    if other is not None:
        print(f"Compared with {args.compare}:\n")
        print(results.markdown(results.compare(utterances, other)))
    print(f"Written: {args.output / results.RESULTS}, {args.output / 'index.html'}")


if __name__ == "__main__":
    cli.run(main)
