"""First script: turn speech corpora into the mel spectrograms that the speaker encoder trains on."""

from pathlib import Path

from encoder.config import PreprocessSettings
from utils import cli

ROOT_HELP = (
    "folder that holds the corpora: LibriSpeech/<subset>, LibriTTS/<subset>, VoxCeleb1 (wav, vox1_meta.csv), "
    "VoxCeleb2 (dev/aac), VCTK-Corpus*, M-AILABS/<locale>, folders of your own (docs/data.md)"
)
DATASETS_HELP = (
    "corpora to use, separated by commas: LibriSpeech/<subset>, librispeech_other (train-other-500), "
    "librispeech_clean (train-clean-100 and -360), LibriTTS/<subset>, libritts_clean, voxceleb1 (speakers from "
    "English-speaking countries), voxceleb1/all (all speakers), voxceleb2, vctk, HiFiTTS, M-AILABS/<locale>, any folder "
    "with a sub-folder for each speaker, or a manifest, a list of recordings in any usual format (docs/data.md) "
    "(default: librispeech_other,voxceleb1,voxceleb2, those that are present)"
)
SKIP_HELP = (
    "keep the speakers that are finished, to continue after an interruption; -s as in Real-Time-Voice-Cloning "
    "(in the trainers it is --save_every)"
)
TRIM_HELP = "keep pauses instead of cutting them with voice activity detection (webrtcvad is then not needed)"


def main() -> None:
    parser = cli.parser(
        "Turn speech corpora into mel spectrograms for the speaker encoder: adjust the volume, cut pauses, compute 40 mel "
        "bands every 10 ms. Writes one folder per speaker and one log per corpus; bad audio files are skipped and listed."
    )
    add = parser.add_argument
    add("datasets_root", type=Path, help=ROOT_HELP)
    add("-o", "--out_dir", type=Path, help="folder to write to (default: <datasets_root>/SV2TTS/encoder)")
    add("-d", "--datasets", type=cli.names, metavar="NAME,NAME", help=DATASETS_HELP)
    add("-s", "--skip_existing", action="store_true", help=SKIP_HELP)
    add("--no_trim", dest="trim", action="store_false", help=TRIM_HELP)
    cli.add_corpus_arguments(parser)
    cli.add_hparams(parser, PreprocessSettings)
    args = parser.parse_args()

    from encoder.preprocess import preprocess

    preprocess(**vars(args))


if __name__ == "__main__":
    cli.run(main)
