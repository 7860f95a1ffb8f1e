"""Embed the voice of every utterance that synthesizer_preprocess_audio.py wrote, for the synthesizer to learn from."""

from pathlib import Path

from synthesizer.config import EmbedSettings
from utils import cli
from utils.config import default_model


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "synthesizer_root", type=Path, help="folder with train.txt and audio/, usually <datasets_root>/SV2TTS/synthesizer"
    )
    parser.add_argument(
        "-e",
        "--encoder_model_fpath",
        type=Path,
        default=default_model("encoder"),
        metavar="FILE",
        help="speaker encoder; the demo must use the same one (`make weights` fetches the default)",
    )
    parser.add_argument(
        "-n",
        "--n_processes",
        type=cli.whole_number(at_least=1),
        default=4,
        metavar="N",
        help="threads that load audio and cut its pauses while the encoder works",
    )
    parser.add_argument(
        "-s",
        "--skip_existing",
        action="store_true",
        help="skip what exists, as -s of the other preprocessing scripts: keep embeddings made with this encoder",
    )
    parser.add_argument("--cpu", action="store_true", help="embed on the CPU even if there is a GPU")
    cli.add_hparams(parser, EmbedSettings)
    args = parser.parse_args()

    from synthesizer.preprocess import preprocess_embeds

    preprocess_embeds(
        args.synthesizer_root,
        args.encoder_model_fpath,
        n_threads=args.n_processes,
        skip_existing=args.skip_existing,
        cpu=args.cpu,
        hparams=args.hparams,
    )


if __name__ == "__main__":
    cli.run(main)
