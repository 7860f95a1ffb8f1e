"""Make the ground-truth-aligned mels that the vocoder trains on."""

from pathlib import Path

from utils import cli
from utils.config import default_model


def main() -> None:
    from vocoder.config import GtaSettings

    parser = cli.parser(
        "Predict the mel spectrogram of every training utterance with the synthesizer, teacher-forced on the true one. The "
        "vocoder trains on these mels to make up for the synthesizer's flaws. Writes mels_gta/ and synthesized.txt."
    )
    add, unless = parser.add_argument, "unless --in_dir and --out_dir are given"
    add("datasets_root", type=Path, help=f"folder of the corpora; only its SV2TTS folder is used, {unless}")
    model_help = "checkpoint of the synthesizer; -s as in Real-Time-Voice-Cloning"
    add("-s", "--syn_model_fpath", type=Path, metavar="FILE", default=default_model("synthesizer"), help=model_help)
    add("-i", "--in_dir", type=Path, help="what the synthesizer trained on (default: <datasets_root>/SV2TTS/synthesizer)")
    add("-o", "--out_dir", type=Path, help="where to write (default: <datasets_root>/SV2TTS/vocoder)")
    batch_help = "utterances in a batch, at most; more is faster on a GPU and takes more memory"
    add("--batch_size", type=cli.whole_number(at_least=1), default=16, metavar="N", help=batch_help)
    skip_help = "continue an interrupted run; give the same model and options as before"
    add("--skip_existing", action="store_true", help=skip_help)
    add("--cpu", action="store_true", help="work on the CPU even if there is a GPU")
    cli.add_hparams(parser, GtaSettings)
    args = vars(parser.parse_args())
    from utils.data.paths import default_out_dir
    from vocoder.preprocess import preprocess

    root = args.pop("datasets_root")
    for option, stage in (("in_dir", "synthesizer"), ("out_dir", "vocoder")):
        args[option] = args[option] or default_out_dir(root, stage)
    preprocess(args.pop("syn_model_fpath"), **args)


if __name__ == "__main__":
    cli.run(main)
