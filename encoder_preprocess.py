"""First script: turn speech corpora into the mel spectrograms that the speaker encoder trains on."""

from pathlib import Path

from encoder.config import PreprocessSettings
from utils import cli


def main() -> None:
    parser = cli.parser(
        "Turn speech corpora into mel spectrograms for the speaker encoder: adjust the volume, cut pauses, compute 40 mel "
        "bands every 10 ms. Writes one folder per speaker and one log per corpus; bad audio files are skipped and listed."
    )
    parser.add_argument(
        "datasets_root",
        type=Path,
        help="folder that holds the corpora: LibriSpeech/<subset>, LibriTTS/<subset>, VoxCeleb1 (wav, vox1_meta.csv), "
        "VoxCeleb2 (dev/aac), VCTK-Corpus*, M-AILABS/<locale>, folders of your own (docs/data.md)",
    )
    parser.add_argument("-o", "--out_dir", type=Path, help="folder to write to (default: <datasets_root>/SV2TTS/encoder)")
    parser.add_argument(
        *("-d", "--datasets"),
        type=cli.names,
        metavar="NAME,NAME",
        help="corpora to use, separated by commas: LibriSpeech/<subset>, librispeech_other (train-other-500), "
        "librispeech_clean (train-clean-100 and -360), LibriTTS/<subset>, libritts_clean, voxceleb1 (speakers from "
        "English-speaking countries), voxceleb1/all (all speakers), voxceleb2, vctk, HiFiTTS, M-AILABS/<locale>, any folder "
        "with a sub-folder for each speaker, or a manifest, a list of recordings in any usual format (docs/data.md) "
        "(default: librispeech_other,voxceleb1,voxceleb2, those that are present)",
    )
    parser.add_argument(
        *("-s", "--skip_existing"),
        action="store_true",
        help="keep the speakers that are finished, to continue after an interruption; -s as in Real-Time-Voice-Cloning "
        "(in the trainers it is --save_every)",
    )
    parser.add_argument(
        "--no_trim",
        action="store_true",
        help="keep pauses instead of cutting them with voice activity detection (webrtcvad is then not needed)",
    )
    parser.add_argument(
        *("-n", "--n_processes"),
        type=cli.whole_number(at_least=1),
        metavar="N",
        help="number of worker processes; each takes one speaker at a time (default: one per CPU core)",
    )
    cli.add_list_arguments(parser)
    cli.add_max_seconds(parser)
    cli.add_scheduler(parser)
    parser.add_argument(
        "--ignore_space",
        action="store_true",
        help="start even if the disk seems too small for the output (its size is estimated before the work begins)",
    )
    cli.add_hparams(parser, PreprocessSettings)
    args = parser.parse_args()

    from encoder.preprocess import preprocess

    preprocess(
        args.datasets_root,
        args.out_dir,
        args.datasets,
        skip_existing=args.skip_existing,
        trim=not args.no_trim,
        n_processes=args.n_processes,
        hparams=args.hparams,
        ignore_space=args.ignore_space,
        scheduler=args.scheduler,
        max_seconds=args.max_seconds,
        columns=args.columns,
        speaker=args.speaker,
    )


if __name__ == "__main__":
    cli.run(main)
