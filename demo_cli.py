"""Speak any text in the voice of a few seconds of speech: asks for a recording and a sentence, or takes them as arguments."""

import argparse
from pathlib import Path

from utils import cli
from utils.config import DEFAULT_MODELS
from utils.errors import UserError


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(
        "Clone a voice: speak text in the voice of a recording. Without --reference, asks for recordings and sentences until "
        "the input ends, and writes demo_output_01.wav, demo_output_02.wav, ... With --reference, does it once and leaves."
    )
    add = parser.add_argument
    add("-e", "--enc_model_fpath", dest="encoder", type=Path, default=DEFAULT_MODELS / "encoder.pt", metavar="FILE",
        help="speaker encoder: makes a voice out of speech (`make weights` fetches the default)")  # fmt: skip
    add("-s", "--syn_model_fpath", dest="synthesizer", type=Path, default=DEFAULT_MODELS / "synthesizer.pt", metavar="FILE",
        help="makes a mel spectrogram of text and voice")  # fmt: skip
    add("-v", "--voc_model_fpath", dest="vocoder", type=Path, default=DEFAULT_MODELS / "vocoder.pt", metavar="FILE",
        help="makes sound of the mel spectrogram")  # fmt: skip
    add("--griffin_lim", action="store_true", help="make sound without a vocoder: at once, but metallic")
    add("--reference", type=Path, nargs="+", metavar="FILE", help="speech of one voice, 0.5 s to an hour each, any format and "
        "rate; several files are averaged, and 5 to 15 s of clean speech serve best")  # fmt: skip
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--text", help="what to say, in English")
    text.add_argument("--text_file", type=Path, metavar="FILE", help="UTF-8 text to say, each line by itself, into one file")
    add("--output", type=Path, metavar="FILE", help="WAV file to write, replaced if it exists (default: the first free "
        "demo_output_NN.wav)")  # fmt: skip
    add("--picture", type=Path, metavar="FILE", help="PNG file to draw mel and alignment into, replaced if it exists: which "
        "symbol was spoken when, one line upwards where all is well")  # fmt: skip
    add("--seed", type=cli.SEED, metavar="N", help="makes the result repeatable; without it, every reading differs a little")
    add("--verbose", action="store_true", help="show the text as it is read, numbers and abbreviations in words")
    add("--cpu", action="store_true", help="use the CPU even if there is a GPU")
    add("--no_sound", action="store_true", help="do not play the result")
    cli.add_hparams(parser, "pause (0.3 s, between two lines of a text file), target (8000) and overlap (600 samples) of the "
                    "pieces that the vocoder makes side by side (shorter ones are faster and have more seams), "
                    "griffin_lim_iterations (60; more are slower and cleaner)")  # fmt: skip
    args = parser.parse_args()
    if bool(args.reference) != bool(args.text is not None or args.text_file):
        parser.error("--reference and one of --text and --text_file go together")
    for option, path, ending in (("--output", args.output, ".wav"), ("--picture", args.picture, ".png")):
        if path and not args.reference:
            parser.error(f"{option} needs --reference and a text")
        if path and (path.is_dir() or path.suffix.lower() != ending):
            parser.error(f"{option} {path}: name a {ending} file")
    return args


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
    cloner = Cloner(args.encoder, args.synthesizer, vocoder, args.hparams, args.seed, args.cpu, args.verbose)
    if args.reference:
        deliver(cloner.clone(args.reference, texts), args.output, args.picture, play=not args.no_sound)
    else:
        converse(cloner, play=not args.no_sound)


if __name__ == "__main__":
    cli.run(main)
