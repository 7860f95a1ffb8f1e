"""Speak any text in the voice of a few seconds of speech: asks for recordings and a text, or takes them as arguments."""

import argparse
import sys
from pathlib import Path

from demo.config import CloningSettings
from synthesizer.config import SPEEDS, ReadingSettings
from utils import cli
from utils.config import DEFAULT_MODELS, from_here


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(
        "Clone a voice: speak a text of any length in the voice of a recording. Without --reference or --voice, asks for "
        "recordings and texts until the input ends, and writes demo_output_01.wav, demo_output_02.wav, ... Else does it once "
        "and exits: 0 if all of it was said, 3 if words are missing, 130 after Ctrl-C, with what was said by then in the file."
    )
    _add_models(parser)
    add = parser.add_argument
    reference_help = "recordings of one voice, 0.5 s to ten minutes each, in any format; several are averaged. Best: 5 to 15 s"
    add("--reference", type=Path, nargs="+", metavar="FILE", help=reference_help)
    voice_help = "file of --save_voice, in place of a recording; several are blended, each as strong as its weight (default: 1)"
    add("--voice", type=cli.weighted_file, action="append", default=[], metavar="FILE[:WEIGHT]", help=voice_help)
    add("--save_voice", type=cli.file_named(".voice"), metavar="FILE", help=".voice file to write or replace, for --voice")
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--text", type=cli.not_blank, help="what to say: a word or pages; blank lines separate paragraphs")
    text.add_argument("--text_file", type=Path, metavar="FILE", help="UTF-8 file to read out, as --text")
    output_help = "WAV file to write or replace (default: the first free demo_output_NN.wav)"
    add("--output", type=cli.file_named(".wav"), metavar="FILE", help=output_help)
    picture_help = "PNG file to write or replace: mel spectrogram and alignment"
    add("--picture", type=cli.file_named(".png"), metavar="FILE", help=picture_help)
    speed_help = f"{SPEEDS[0]} to {SPEEDS[1]} times as fast as the recording, at the same pitch"
    add("--speed", type=cli.number(*SPEEDS), default=1.0, metavar="X", help=speed_help)
    add("--seed", type=cli.SEED, metavar="N", help="makes the result repeatable; without it, every reading differs a little")
    add("--verbose", action="store_true", help="show each piece as it is read, with numbers and abbreviations in words")
    add("--cpu", action="store_true", help="use the CPU even if there is a GPU")
    add("--no_sound", action="store_true", help="do not play the result")
    cli.add_hparams(parser, CloningSettings, ReadingSettings)
    args = parser.parse_args()
    has_text, has_voice = bool(args.text is not None or args.text_file), bool(args.reference or args.voice)
    if has_voice != (has_text or bool(args.save_voice)) or (args.reference and args.voice):
        parser.error("--reference or --voice need --text, --text_file or --save_voice, and they need one of them")
    for name in ("output", "picture"):
        if getattr(args, name) and not has_text:
            parser.error(f"--{name} needs --reference or --voice, and a text")
    return args


def _add_models(parser: argparse.ArgumentParser) -> None:
    models_help = "folder with all three, as .safetensors or .pt; -e, -s and -v replace one of them"
    parser.add_argument("--models", type=Path, default=from_here(DEFAULT_MODELS), metavar="DIR", help=models_help)
    for stage, purpose in (
        ("encoder", "speaker encoder, speech -> voice (`make weights` downloads the default)"),
        ("synthesizer", "synthesizer, text and voice -> mel spectrogram; -s as in Real-Time-Voice-Cloning"),
        ("vocoder", "vocoder, mel spectrogram -> sound; -v as in Real-Time-Voice-Cloning"),
    ):
        names = (f"-{stage[0]}", f"--{stage[:3]}_model_fpath")
        parser.add_argument(*names, dest=stage, type=Path, metavar="FILE", help=purpose)
    parser.add_argument("--griffin_lim", action="store_true", help="use no vocoder: fast, but it sounds metallic")


def main() -> None:
    args = parse_arguments()
    from demo import voice_file
    from demo.cloner import Cloner, read_references
    from demo.conversation import converse
    from demo.delivery import deliver, text_in
    from demo.playing import Player

    text = text_in(args.text_file) if args.text_file else args.text
    recordings = read_references(args.reference) if args.reference else []
    plays = text is not None or not args.save_voice  # to save a voice, nothing is said
    player = Player() if plays and not args.no_sound else None
    encoder, synthesizer, vocoder = (getattr(args, stage) or args.models for stage in ("encoder", "synthesizer", "vocoder"))
    files = encoder, synthesizer, None if args.griffin_lim else vocoder
    cloner = Cloner.load(*files, args.hparams, args.seed, args.cpu, args.verbose)
    if not recordings and not args.voice:
        return converse(cloner, player, args.speed)
    voice = cloner.voice_of(recordings) if recordings else voice_file.load_blend(args.voice, cloner.embedder)
    if args.save_voice:
        voice_file.save(args.save_voice, voice)
        print(f"Written: {args.save_voice}")
    if text is not None:
        _, record = deliver(cloner, voice, text, args.output, args.picture, player, args.speed)
        if not record.is_whole:
            sys.exit(3)


if __name__ == "__main__":
    cli.run(main)
