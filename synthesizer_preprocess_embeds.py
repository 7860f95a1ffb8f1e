"""Embed the voice of every utterance that synthesizer_preprocess_audio.py wrote, for the synthesizer to learn from."""

from pathlib import Path

from synthesizer.config import EmbedSettings
from utils import cli
from utils.config import default_model


def main() -> None:
    parser = cli.parser(__doc__)
    add = parser.add_argument
    root_help = "folder with train.txt and audio/, usually <datasets_root>/SV2TTS/synthesizer"
    add("root", type=Path, metavar="synthesizer_root", help=root_help)
    encoder_help = "speaker encoder; the demo must use the same one (`make weights` fetches the default)"
    names = {"dest": "encoder_path", "metavar": "FILE"}
    add("-e", "--encoder_model_fpath", type=Path, **names, default=default_model("encoder"), help=encoder_help)
    threads, threads_help = cli.whole_number(at_least=1), "threads that load audio and cut its pauses while the encoder works"
    add("-n", "--n_processes", type=threads, dest="n_threads", default=4, metavar="N", help=threads_help)
    skip_help = "skip what exists, as -s of the other preprocessing scripts: keep embeddings made with this encoder"
    add("-s", "--skip_existing", action="store_true", help=skip_help)
    add("--cpu", action="store_true", help="embed on the CPU even if there is a GPU")
    cli.add_hparams(parser, EmbedSettings)
    args = parser.parse_args()

    from synthesizer.preprocess import preprocess_embeds

    preprocess_embeds(**vars(args))


if __name__ == "__main__":
    cli.run(main)
