"""The command line of `python -m utils.export`."""

import argparse
from pathlib import Path

from utils import cli
from utils.export import FORMATS, PRECISIONS, export

STAGES = ("encoder", "synthesizer", "vocoder")


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(
        "Write trained models into a folder to give away: without optimizer, small, and loaded without running code from them. "
        "Checkpoints published for Real-Time-Voice-Cloning are converted. Beside them come config.json and README.md, in the "
        "layout that model hubs show (docs/sharing.md). A run cannot resume from an export, but --init_from takes it.",
        "python -m utils.export",
    )
    add = parser.add_argument
    add(
        "models",
        nargs="?",
        type=Path,
        metavar="DIR",
        help="folder of the models; those of the three that are there are exported",
    )
    add("out_dir", type=Path, metavar="OUT", help="folder to write into")
    for stage in STAGES:
        add(f"-{stage[0]}", f"--{stage}", type=Path, metavar="FILE", help=f"a file of the {stage}, instead of the one in DIR")
    add(
        "--format",
        choices=FORMATS,
        default="safetensors",
        help="safetensors; pt, which torch alone reads; onnx, to run without torch",
    )
    precision_help = (
        "how matrices are stored: fp16 halves the files and calculates in fp32, as fp32 does; int8, for onnx alone, calculates "
        "in int8 where that does no harm"
    )
    add("--precision", choices=PRECISIONS, default="fp16", help=precision_help)
    add("--replace", action="store_true", help="replace models that are in OUT already")
    limit_help = "largest size of all files together, in millions of bytes; if exceeded, nothing is written"
    add("--limit", type=float, metavar="MB", help=limit_help)
    args = parser.parse_args()
    if not args.models and not any(getattr(args, stage) for stage in STAGES):
        parser.error("name the folder of the models and the one to write into, or at least one model: -e, -s or -v")
    return args


def main() -> None:
    args = parse_arguments()
    from utils.errors import UserError
    from utils.models.checkpoint import model_file, where_from

    paths = {stage: model_file(path, stage) for stage in STAGES if (path := getattr(args, stage))}
    in_folder = {stage: model_file(args.models, stage) for stage in STAGES if args.models and stage not in paths}
    missing = {stage: path for stage, path in in_folder.items() if not path.is_file()}
    if not (paths := paths | {stage: path for stage, path in in_folder.items() if stage not in missing}):
        raise UserError(f"{args.models}: holds no model; encoder, synthesizer and vocoder are .safetensors or .pt files")
    for stage, path in missing.items():
        print(f"no {stage} in {args.models}: {where_from(path, stage)}")
    card = args.models / "README.md" if args.models else None
    written = export(paths, args.out_dir, args.limit, args.format, args.precision, args.replace, card)
    for name, path in written.items():
        source = paths[name.partition("_")[0]]
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, from {source} ({source.stat().st_size / 1e6:.1f} MB)")
    print(f"{args.out_dir / 'README.md'}: the card; before you publish it, see that it tells the training data and the licence")


if __name__ == "__main__":
    cli.run(main)
