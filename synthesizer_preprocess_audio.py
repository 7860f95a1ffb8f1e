"""Cut a corpus into utterances and write their waves and mel spectrograms, for the synthesizer and the vocoder."""

from pathlib import Path

from utils import cli


def main() -> None:
    # fmt: off
    parser = cli.parser(__doc__)
    parser.add_argument("datasets_root", type=Path, help="folder that holds the corpora: LibriSpeech/<subset>, "
                        "LibriTTS/<subset>, VCTK-Corpus*, M-AILABS/<locale>, folders of your own (docs/data.md)")
    parser.add_argument("-o", "--out_dir", type=Path,
                        help="where the waves, mels and train.txt go (default: <datasets_root>/SV2TTS/synthesizer)")
    parser.add_argument("-n", "--n_processes", type=cli.whole_number(at_least=1), metavar="N",
                        help="speakers worked on at once, each by a process of its own (default: one per CPU core)")
    parser.add_argument("-s", "--skip_existing", action="store_true",
                        help="continue an interrupted run: speakers that are finished stay as they are, and the result is byte "
                        "for byte that of an uninterrupted run; also adds further subsets to an earlier result. Without "
                        "it, everything is made anew and what is there (embeddings included) is deleted first, but not where "
                        "that would lose speakers which this command does not make again")
    parser.add_argument("-d", "--datasets", type=cli.names, metavar="NAME,NAME",
                        help="corpora to use, separated by commas: LibriSpeech/<subset>, librispeech_clean (train-clean-100 "
                        "and -360), LibriTTS/<subset>, libritts_clean, vctk, M-AILABS/<locale>, any folder whose sub-folders "
                        "are speakers and whose audio files have a .txt beside them, or a manifest: a file of lines "
                        "audio|speaker|text (default: librispeech_clean, as far as it is there)")
    parser.add_argument("--datasets_name", default="LibriSpeech", metavar="CORPUS",
                        help="instead of -d: the corpus, a folder in datasets_root")
    parser.add_argument("--subfolders", type=cli.names, metavar="A,B",
                        help="instead of -d: subsets of that corpus, all of which must exist")
    parser.add_argument("--no_alignments", action="store_true",
                        help="use whole files with the text beside them, their pauses cut by voice activity detection, even "
                        "where word times are known by which to split and denoise them")
    parser.add_argument("--no_denoise", action="store_true", help="leave background noise in the utterances")
    cli.add_scheduler(parser)
    parser.add_argument("--ignore_space", action="store_true",
                        help="start even where the disk seems too small for what will be written (told before the work begins)")
    cli.add_hparams(parser, "silence_min_duration_split=0.4 (s; files with word times are split at pauses from this length), "
                    "utterance_min_duration=1.6 (s; shorter pieces of a file are joined to a neighbour or skipped), "
                    "min_mel_frames=40 and max_mel_frames=900 (of 12.5 ms; shorter and longer utterances are skipped), "
                    "min_chars_per_second=4 and max_chars_per_second=28 (utterances whose text does not fit their length are "
                    "skipped), and the mel format: rescale_peak=0.9, preemphasis=0.97, n_mels=80, "
                    "fmin=55 and fmax=7600 (Hz), n_fft=800, win_length=800 and hop_length=200 (samples), ref_db=20, "
                    "min_db=-100, max_abs=4")
    # fmt: on
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
    )


if __name__ == "__main__":
    cli.run(main)
