"""Speak any text in the voice of a few seconds of speech: asks for a recording and a sentence, or takes them as arguments."""

import argparse
from pathlib import Path

from demo.config import CloningSettings
from utils import cli
from utils.config import DEFAULT_MODELS
from utils.errors import UserError


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(
        "Clone a voice: speak text in the voice of a recording. Without --reference, asks for recordings and sentences until "
        "the input ends, and writes demo_output_01.wav, demo_output_02.wav, ... With --reference, does it once and exits."
    )
    _add_models(parser)
    add = parser.add_argument
    add(
        "--reference",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="recordings of one voice, 0.5 s to an hour each, in any format; several are averaged. 5 to 15 s of clean speech "
        "work best",
    )
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--text", help="what to say")
    text.add_argument("--text_file", type=Path, metavar="FILE", help="UTF-8 file to read out, line by line")
    output_help = "WAV file to write or replace (default: the first free demo_output_NN.wav)"
    add("--output", type=Path, metavar="FILE", help=output_help)
    add("--picture", type=Path, metavar="FILE", help="PNG file to write or replace: mel spectrogram and alignment")
    add("--seed", type=cli.SEED, metavar="N", help="makes the result repeatable; without it, every reading differs a little")
    add("--verbose", action="store_true", help="show each text as it is read, with numbers and abbreviations in words")
    add("--cpu", action="store_true", help="use the CPU even if there is a GPU")
    add("--no_sound", action="store_true", help="do not play the result")
    cli.add_hparams(parser, CloningSettings)
    args = parser.parse_args()
    if bool(args.reference) != bool(args.text is not None or args.text_file):
        parser.error("--reference needs --text or --text_file, and they need --reference")
    for option, path, ending in (("--output", args.output, ".wav"), ("--picture", args.picture, ".png")):
        if path and not args.reference:
            parser.error(f"{option} needs --reference and a text")
        if path and (path.is_dir() or path.suffix.lower() != ending):
            parser.error(f"{option} {path}: name a {ending} file")
    return args


def _add_models(parser: argparse.ArgumentParser) -> None:
    options = {"type": Path, "metavar": "FILE"}
    for stage, purpose in (
        ("encoder", "speaker encoder, speech -> voice (`make weights` downloads the default)"),
        ("synthesizer", "synthesizer, text and voice -> mel spectrogram; -s as in Real-Time-Voice-Cloning"),
        ("vocoder", "vocoder, mel spectrogram -> sound; -v as in Real-Time-Voice-Cloning"),
    ):
        default = DEFAULT_MODELS / f"{stage}.pt"
        parser.add_argument(f"-{stage[0]}", f"--{stage[:3]}_model_fpath", dest=stage, default=default, help=purpose, **options)
    parser.add_argument("--griffin_lim", action="store_true", help="use no vocoder: fast, but it sounds metallic")


def read_texts(args: argparse.Namespace) -> list[str]:
    if args.text is not None:
        return [args.text]
    try:
        lines = args.text_file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{args.text_file}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise UserError(f"{args.text_file}: holds no text")
    return texts


def main() -> None:
    args = parse_arguments()
    texts = read_texts(args) if args.reference else []
    from demo.cloner import Cloner, converse, deliver

    vocoder = None if args.griffin_lim else args.vocoder
    cloner = Cloner.load(args.encoder, args.synthesizer, vocoder, args.hparams, args.seed, args.cpu, args.verbose)
    if args.reference:
        deliver(cloner.clone(args.reference, texts), args.output, args.picture, play=not args.no_sound)
    else:
        converse(cloner, play=not args.no_sound)


if __name__ == "__main__":
    cli.run(main)
