"""Cut a corpus into utterances and write their waves and mel spectrograms, for the synthesizer and the vocoder."""

from pathlib import Path

from utils import cli


def main() -> None:
    # fmt: off
    parser = cli.parser(__doc__)
    parser.add_argument("datasets_root", type=Path, help="folder that holds the corpora, e.g. LibriSpeech/train-clean-100")
    parser.add_argument("-o", "--out_dir", type=Path,
                        help="where the waves, mels and train.txt go (default: <datasets_root>/SV2TTS/synthesizer)")
    parser.add_argument("-n", "--n_processes", type=cli.whole_number(at_least=1), metavar="N",
                        help="speakers worked on at once, each by a process of its own (default: one per CPU core)")
    parser.add_argument("-s", "--skip_existing", action="store_true",
                        help="continue an interrupted run: speakers that are finished stay as they are, and the result is byte "
                        "for byte that of an uninterrupted run; also adds further subsets to an earlier result. Without "
                        "it, everything is made anew and what is there (embeddings included) is deleted first, but not where "
                        "that would lose speakers which this command does not make again")
    parser.add_argument("--datasets_name", default="LibriSpeech", metavar="CORPUS", help="corpus: a folder in datasets_root")
    parser.add_argument("--subfolders", type=cli.names, metavar="A,B",
                        help="subsets of the corpus, all of which must exist (default: of LibriSpeech's train-clean-100 and "
                        "train-clean-360, those that exist)")
    parser.add_argument("--no_alignments", action="store_true",
                        help="use whole files with the text beside them, their pauses cut by voice activity detection, rather "
                        "than split and denoise them by the times of their words")
    parser.add_argument("--no_denoise", action="store_true", help="leave background noise in the utterances")
    cli.add_hparams(parser, "silence_min_duration_split=0.4 (s; utterances are split at pauses from this length on), "
                    "utterance_min_duration=1.6 (s; shorter ones are joined to a neighbour or skipped), max_mel_frames=900 "
                    "(of 12.5 ms; longer ones are skipped), and the mel format: rescale_peak=0.9, preemphasis=0.97, n_mels=80, "
                    "fmin=55 and fmax=7600 (Hz), n_fft=800, win_length=800 and hop_length=200 (samples), ref_db=20, "
                    "min_db=-100, max_abs=4")
    # fmt: on
    args = parser.parse_args()

    datasets = [args.datasets_name]
    if args.subfolders:
        datasets = [f"{args.datasets_name}/{name}" for name in args.subfolders]
    elif args.datasets_name == parser.get_default("datasets_name"):
        datasets = None  # the default subsets that exist

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
    )


if __name__ == "__main__":
    cli.run(main)
