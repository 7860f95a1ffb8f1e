"""Speak any text in the voice of a few seconds of speech: asks for recordings and a text, or takes them as arguments."""

import argparse
import sys
from pathlib import Path

from demo.config import CloningSettings
from synthesizer.config import SPEEDS, ReadingSettings
from utils import cli
from utils.config import default_model


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(
        "Clone a voice: speak a text of any length in the voice of a recording. Without --reference, asks for recordings and "
        "texts until the input ends, and writes demo_output_01.wav, demo_output_02.wav, ... With --reference, does it once and "
        "exits: 0 if all of it was said, 3 if words are missing, 130 after Ctrl-C, with what was said by then in the file."
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
    text.add_argument("--text", help="what to say: a word or pages; an empty line parts paragraphs")
    text.add_argument("--text_file", type=Path, metavar="FILE", help="UTF-8 file to read out, as --text")
    output_help = "WAV file to write or replace (default: the first free demo_output_NN.wav)"
    add("--output", type=Path, metavar="FILE", help=output_help)
    add("--picture", type=Path, metavar="FILE", help="PNG file to write or replace: mel spectrogram and alignment")
    speeds = f"{SPEEDS[0]} to {SPEEDS[1]}"
    add("--speed", type=speed, default=1.0, metavar="X", help=f"{speeds} times the model's own pace, at the same pitch")
    add("--seed", type=cli.SEED, metavar="N", help="makes the result repeatable; without it, every reading differs a little")
    add("--verbose", action="store_true", help="show each piece as it is read, with numbers and abbreviations in words")
    add("--cpu", action="store_true", help="use the CPU even if there is a GPU")
    add("--no_sound", action="store_true", help="do not play the result")
    cli.add_hparams(parser, CloningSettings, ReadingSettings)
    args = parser.parse_args()
    if bool(args.reference) != bool(args.text is not None or args.text_file):
        parser.error("--reference needs --text or --text_file, and they need --reference")
    for option, path, ending in (("--output", args.output, ".wav"), ("--picture", args.picture, ".png")):
        if path and not args.reference:
            parser.error(f"{option} needs --reference and a text")
        if path and (path.is_dir() or path.suffix.lower() != ending):
            parser.error(f"{option} {path}: name a {ending} file")
    return args


def speed(text: str) -> float:
    times = float(text)
    if not SPEEDS[0] <= times <= SPEEDS[1]:
        raise argparse.ArgumentTypeError(f"must be from {SPEEDS[0]} to {SPEEDS[1]}, not {text}")
    return times


def _add_models(parser: argparse.ArgumentParser) -> None:
    options = {"type": Path, "metavar": "FILE"}
    for stage, purpose in (
        ("encoder", "speaker encoder, speech -> voice (`make weights` downloads the default)"),
        ("synthesizer", "synthesizer, text and voice -> mel spectrogram; -s as in Real-Time-Voice-Cloning"),
        ("vocoder", "vocoder, mel spectrogram -> sound; -v as in Real-Time-Voice-Cloning"),
    ):
        names = (f"-{stage[0]}", f"--{stage[:3]}_model_fpath")
        parser.add_argument(*names, dest=stage, default=default_model(stage), help=purpose, **options)
    parser.add_argument("--griffin_lim", action="store_true", help="use no vocoder: fast, but it sounds metallic")


def main() -> None:
    args = parse_arguments()
    from demo.cloner import Cloner, read_references
    from demo.conversation import converse
    from demo.delivery import deliver, read_text
    from demo.playing import Player

    text = read_text(args.text_file) if args.text_file else args.text
    recordings = read_references(args.reference) if args.reference else []
    player = None if args.no_sound else Player()
    vocoder = None if args.griffin_lim else args.vocoder
    cloner = Cloner.load(args.encoder, args.synthesizer, vocoder, args.hparams, args.seed, args.cpu, args.verbose)
    if not recordings:
        converse(cloner, player, args.speed)
        return
    _, record = deliver(cloner, cloner.voice(recordings), text, args.output, args.picture, player, args.speed)
    if not record.is_whole:
        sys.exit(3)


if __name__ == "__main__":
    cli.run(main)
