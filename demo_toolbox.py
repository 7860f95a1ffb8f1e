"""A page in the browser: record or pick a voice, type a text, hear it, and look at how it was made."""

import argparse
from pathlib import Path

from demo.config import CloningSettings
from synthesizer.config import ReadingSettings
from utils import cli
from utils.config import DEFAULT_MODELS, from_here

LOCAL = "127.0.0.1"
SAMPLES = DEFAULT_MODELS.parent.parent / "samples"


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(
        "Open a page in the browser to clone voices: record, upload or browse recordings, say texts, look at mels, alignments "
        "and embeddings, and compare. Nothing leaves this computer. Needs `pip install -r requirements-toolbox.txt`; "
        "docs/toolbox.md shows the page."
    )
    add = parser.add_argument
    default = from_here(SAMPLES)
    root = parser.add_mutually_exclusive_group()
    root.add_argument("datasets_root", type=Path, nargs="?", default=default, help=f"corpora to browse (default: {default})")
    root.add_argument("-d", "--datasets_root", dest="root", type=Path, metavar="DIR", help="the same, as an option")
    models_help = "folder of runs, each with its models"
    add("-m", "--models", "--models_dir", type=Path, default=from_here(DEFAULT_MODELS.parent), metavar="DIR", help=models_help)
    add("--seed", type=cli.SEED, metavar="N", help="the page begins with this seed; without it, every reading differs a little")
    add("--host", default=LOCAL, help="address to listen on; 0.0.0.0 lets other computers in, so use --password with it")
    add("--port", type=cli.whole_number(1, 65535), default=7860, metavar="N", help="port to listen on")
    add("--password", metavar="WORD", help="ask for this password before the page is shown")
    add("--cpu", action="store_true", help="use the CPU even if there is a GPU")
    add("--no_browser", action="store_true", help="do not open the page in a browser")
    cli.add_hparams(parser, CloningSettings, ReadingSettings)
    args = parser.parse_args()
    args.datasets_root = args.root or args.datasets_root
    return args


def main() -> None:
    args = parse_arguments()
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise cli.UserError(f"the toolbox needs Gradio ({error}): pip install -r requirements-toolbox.txt") from error
    from demo.toolbox.page import serve

    show = not args.no_browser
    serve(args.datasets_root, args.models, args.host, args.port, args.password, args.cpu, args.hparams, show, args.seed)


if __name__ == "__main__":
    cli.run(main)
