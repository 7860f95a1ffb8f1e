"""How good are the default voices? `python -m benchmarks.judged JUDGE OUT` is demo.evaluate with a fixed judge and targets.

JUDGE is a folder with references/ (<voice>_<n>.flac), sentences.tsv (name, tab, text) and the judges' packages (venv/).
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from demo.evaluate import add_speaking, measure
from utils import cli
from utils.config import default_model
from utils.errors import UserError
from utils.export.card import MARKS as FILES
from utils.export.card import filled as between

MARKS = ("<!-- judged: begin -->", "<!-- judged: end -->")  # around the tables in a model card
REAL = ["allison"]  # people, unless --real names others
WHISPER = "models/whisper-base-ct2"  # in the judge's folder


class Target(NamedTuple):
    """A figure of some of the files, the least it must reach, and the aim."""

    name: str
    figure: str
    at_least: float
    aim: float
    of: Callable  # (utterance, whether it is a person's voice) -> whether it counts


def _speech(*lengths: str, real: bool | None = None) -> Callable:
    return lambda u, is_real: u.kind == "speech" and (not lengths or u.length in lengths) and real in (None, is_real)


TARGETS = (
    Target("word error rate, medium and long", "wer", 0.05, 0.03, _speech("medium", "long")),
    Target("word error rate, short", "wer", 0.08, 0.05, _speech("short")),
    Target("word error rate, very long and a page", "wer", 0.08, 0.05, _speech("very long")),
    Target("sim2, synthetic voices", "sim2", 0.78, 0.85, _speech(real=False)),
    Target("sim2, real voices", "sim2", 0.68, 0.72, _speech(real=True)),
    Target("Distill-MOS, whole system", "distill_mos", 3.9, 4.2, _speech()),
    Target("Distill-MOS, copy-synthesis", "distill_mos", 3.6, 4.3, lambda u, is_real: u.kind == "copy"),
    Target("with a stop miss, a repeat or a gap over 1.2 s", "faults", 0.05, 0.0, _speech()),
    Target("real-time factor, long sentences", "real_time_factor", 1.0, 0.4, _speech("long")),
)


def targets(utterances: Sequence, real: Iterable[str]) -> list[list[str]]:
    """A table of what was aimed at and what was measured."""
    from demo.judging.results import FIGURES, value

    rows = [["measure", "at least", "aim", "measured", ""]]
    for name, figure, *numbers, counts in TARGETS:
        found = value(figure, [u for u in utterances if counts(u, u.voice.startswith(tuple(real)))])
        shown = [FIGURES[figure].shown(number) for number in numbers]
        rows.append([name, *shown, *_verdict(FIGURES[figure], found, *numbers)])
    return rows


def _verdict(figure: Any, found: float | None, at_least: float, aim: float) -> tuple[str, str]:
    if found is None:
        return "–", "not measured"
    sign = 1 if figure.more_is_better else -1
    if sign * found >= sign * aim:
        return figure.shown(found), "aim reached"
    short = sign * (at_least - found)
    if short < 1e-9:
        return figure.shown(found), "reached"
    more = next(n for n in range(9) if figure.shown(found, more=n) != figure.shown(at_least, more=n))
    return figure.shown(found, more=more), f"short by {figure.shown(short, more=more)}"


def models_table(paths: dict[str, Path]) -> list[list[str]]:
    """The models' sizes, steps and checksums, from {stage: file}."""
    import torch

    from utils.data.paths import sha256
    from utils.models import checkpoint

    rows = [["model", "weights", "steps", "file"]]
    for stage, path in paths.items():
        content = checkpoint.load(path, stage, published=True)
        tensors = [value for value in content.get("model_state", content).values() if isinstance(value, torch.Tensor)]
        n_weights = sum(value.numel() for value in tensors if value.is_floating_point())
        steps = f"{content['step']:,}" if "step" in content else "–"
        file = f"{path.stat().st_size / 1e6:.1f} MB, SHA-256 {sha256(path)[:16]}…"
        rows.append([stage, f"{n_weights / 1e6:.2f} M", steps, file])
    return rows


def filled(card: Path, text: str) -> str:
    """The card's content with the text between its two marks. UserError if it has no marks."""
    found = between(card.read_text(encoding="utf-8"), MARKS, text)
    if not found:
        raise UserError(f"{card}: has no place for the results; write {MARKS[0]} and {MARKS[1]}, each on a line of its own")
    return found


def chosen(named: dict, prefixes: Sequence[str] | None, kind: str) -> dict:
    """Those whose names begin with one of the prefixes; None: all."""
    for prefix in prefixes or ():
        if not any(name.startswith(prefix) for name in named):
            raise UserError(f"{prefix}: the judge has no such {kind}; it has {', '.join(named)}", exit_code=2)
    return {name: value for name, value in named.items() if not prefixes or name.startswith(tuple(prefixes))}


def prepare(judge: Path) -> Path:
    """Make the judge's packages importable, after our own -> the folder of its Whisper."""
    sys.path += map(str, sorted(judge.absolute().glob("venv/lib/python*/site-packages")))
    if not (judge / WHISPER).is_dir():  # the judge joins it from two packages
        join = [judge.absolute() / "venv/bin/python", "-c", "import asr_lib; asr_lib.whisper_base_dir()"]
        subprocess.run(join, cwd=judge)
    return judge / WHISPER


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(
        "Speak every sentence of a judge in every voice of its references, have the speech rated as by demo.evaluate, and "
        "compare the figures with the targets of the default voices. Existing speech is kept unless the models or the settings "
        "have changed.",
        "python -m benchmarks.judged",
    )
    add = parser.add_argument
    add("judge", type=Path, metavar="JUDGE", help="folder with references/, sentences.tsv and the judges' packages in venv/")
    add("out", type=Path, metavar="OUT", help="folder for the speech and for results.md, results.csv and index.html")
    for stage in ("encoder", "synthesizer", "vocoder"):
        default = default_model(stage)
        add(f"-{stage[0]}", f"--{stage}", type=Path, default=default, metavar="FILE", help=f"{stage} to judge")
    prefixes = {"type": cli.names, "metavar": "A,B"}
    add("--voices", **prefixes, help="only voices whose names begin with one of these (default: all)")
    add("--sentences", **prefixes, help="only sentences whose names begin with one of these: short,medium_01 (default: all)")
    real_help = "voices of people, which have figures of their own (default: allison, if the judge has it)"
    add("--real", **prefixes, help=real_help)
    add("--threads", type=cli.whole_number(at_least=1), default=2, metavar="N", help="threads for speaking and for judging")
    card_help = "Markdown file to write the tables into, between <!-- judged: begin --> and <!-- judged: end -->"
    add("--card", type=Path, metavar="FILE", help=card_help)
    add_speaking(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # torch is not imported yet
    whisper = prepare(args.judge)
    from demo.judging import judges, results, studio

    texts = chosen(studio.read_texts(args.judge / "sentences.tsv"), args.sentences, "sentence")
    references = studio.find_voices(args.judge / "references", 2)
    voices, real = chosen(references, args.voices, "voice"), args.real or REAL
    if args.real:
        chosen(references, real, "voice")
    elif not any(name.startswith(tuple(real)) for name in references):
        print(f"no voice counts as a person's, as none is called {', '.join(real)}: name them with --real")
    if args.card:
        filled(args.card, "")  # fails now rather than at the end
    files = args.encoder, args.synthesizer, None if args.griffin_lim else args.vocoder
    models = studio.Models(*files, args.hparams, args.seed, args.cpu)
    found = judges.load(None, judges.Options(str(whisper), args.encoder, cpu=args.cpu))
    utterances = measure(models, found, voices, texts, args.out)
    tables = models_table(models.files), targets(utterances, real), results.table(utterances)
    first, *others = (results.markdown(table) for table in tables)
    text = "\n".join([f"{FILES[0]}\n{first}{FILES[1]}\n", *others])  # an export of the models has its own table of files
    (args.out / "results.md").write_text(text, encoding="utf-8")
    if args.card:
        args.card.write_text(filled(args.card, text), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    cli.run(main)
