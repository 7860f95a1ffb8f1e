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
    add = parser.add_argument
    add("datasets_root", type=Path, help=ROOT_HELP)
    add("-o", "--out_dir", type=Path, help="folder to write to (default: <datasets_root>/SV2TTS/synthesizer)")
    add("-s", "--skip_existing", action="store_true", help=SKIP_HELP)
    add("-d", "--datasets", type=cli.names, metavar="NAME,NAME", help=DATASETS_HELP)
    add("--datasets_name", default="LibriSpeech", metavar="CORPUS", help="instead of -d: a corpus folder in datasets_root")
    add("--subfolders", type=cli.names, metavar="A,B", help="instead of -d: subsets of that corpus, which must all exist")
    words_help = "ignore word times: use whole files with the text beside them, and shorten pauses by voice activity detection"
    add("--no_alignments", dest="alignments", action="store_false", help=words_help)
    add("--no_denoise", dest="denoise", action="store_false", help="keep the background noise")
    cli.add_corpus_arguments(parser)
    cli.add_hparams(parser, PreprocessSettings, MelFormat)
    args = vars(parser.parse_args())

    corpus, subsets = args.pop("datasets_name"), args.pop("subfolders")
    if subsets or corpus != parser.get_default("datasets_name"):
        if args["datasets"]:
            parser.error("-d stands for --datasets_name and --subfolders; give it or them")
        args["datasets"] = [f"{corpus}/{name}" for name in subsets or ("",)]

    from synthesizer.preprocess import preprocess_audio

    preprocess_audio(**args)


if __name__ == "__main__":
    cli.run(main)
