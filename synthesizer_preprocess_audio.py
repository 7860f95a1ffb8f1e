"""Cut a corpus into utterances and write their waves and mel spectrograms, for the synthesizer and the vocoder."""

from pathlib import Path

from synthesizer.config import PreprocessSettings
from utils import cli
from utils.data.mel_format import MelFormat

ROOT_HELP = (
    "folder that holds the corpora: LibriSpeech/<subset>, LibriTTS/<subset>, VCTK-Corpus*, M-AILABS/<locale>, folders of your "
    "own (docs/data.md)"
)
SKIP_HELP = (
    "skip what exists, as in Real-Time-Voice-Cloning: continue an interrupted run, or add subsets to an earlier one. Without "
    "it, what is there (embeddings too) is deleted first and made again; refused if other speakers would be lost"
)
DATASETS_HELP = (
    "corpora, separated by commas: LibriSpeech/<subset>, librispeech_clean (train-clean-100 and -360), LibriTTS/<subset>, "
    "libritts_clean, vctk, HiFiTTS, M-AILABS/<locale>; any folder with a sub-folder per speaker and a .txt beside each audio "
    "file; or a manifest, a list of recordings in any usual format (docs/data.md; default: librispeech_clean, what is there)"
)


def main() -> None:
    parser = cli.parser(__doc__)
    add, number = parser.add_argument, cli.whole_number(at_least=1)
    add("datasets_root", type=Path, help=ROOT_HELP)
    add("-o", "--out_dir", type=Path, help="folder to write to (default: <datasets_root>/SV2TTS/synthesizer)")
    add("-n", "--n_processes", type=number, metavar="N", help="processes, a speaker at a time each (default: one per CPU core)")
    add("-s", "--skip_existing", action="store_true", help=SKIP_HELP)
    add("-d", "--datasets", type=cli.names, metavar="NAME,NAME", help=DATASETS_HELP)
    add("--datasets_name", default="LibriSpeech", metavar="CORPUS", help="instead of -d: a corpus folder in datasets_root")
    add("--subfolders", type=cli.names, metavar="A,B", help="instead of -d: subsets of that corpus, which must all exist")
    add(
        "--no_alignments",
        action="store_true",
        help="ignore word times: use whole files with the text beside them, and shorten pauses by voice activity detection",
    )
    add("--no_denoise", action="store_true", help="keep the background noise")
    cli.add_list_arguments(parser)
    cli.add_max_seconds(parser)
    cli.add_scheduler(parser)
    add("--ignore_space", action="store_true", help="start even if the disk seems too small for what will be written")
    cli.add_hparams(parser, PreprocessSettings, MelFormat)
    args = parser.parse_args()

    published = args.subfolders or args.datasets_name != parser.get_default("datasets_name")
    if args.datasets and published:
        parser.error("-d stands for --datasets_name and --subfolders; give it or them")
    datasets = args.datasets  # None: the default subsets that exist
    if published:
        datasets = [f"{args.datasets_name}/{name}" for name in args.subfolders or ("",)]

    from synthesizer.preprocess import preprocess_audio

    preprocess_audio(
        args.datasets_root,
        out_dir=args.out_dir,
        datasets=datasets,
        skip_existing=args.skip_existing,
        alignments=not args.no_alignments,
        denoise=not args.no_denoise,
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
