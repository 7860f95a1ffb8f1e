"""Make the ground-truth-aligned mels that the vocoder trains on."""

from pathlib import Path

from utils import cli
from utils.config import DEFAULT_MODELS


def main() -> None:
    parser = cli.parser(
        "Have the synthesizer say every training utterance along its true mel spectrogram, and keep what it answers: "
        "the vocoder learns from these mels to make up for the synthesizer's flaws. Writes mels_gta/ and synthesized.txt."
    )
    add = parser.add_argument
    add("datasets_root", type=Path, help="folder of the corpora; only its SV2TTS folder is used, and not even that if both "
        "--in_dir and --out_dir are given")  # fmt: skip
    add("-s", "--syn_model_fpath", type=Path, metavar="FILE", default=DEFAULT_MODELS / "synthesizer.pt",
        help="checkpoint of the synthesizer")  # fmt: skip
    add("-i", "--in_dir", type=Path, help="what the synthesizer was trained on (default: <datasets_root>/SV2TTS/synthesizer)")
    add("-o", "--out_dir", type=Path, help="where to write (default: <datasets_root>/SV2TTS/vocoder)")
    add("--batch_size", type=cli.whole_number(at_least=1), default=16, metavar="N",
        help="utterances said at once, at most; more is faster on a GPU and takes more memory")  # fmt: skip
    add("--skip_existing", action="store_true",
        help="continue an interrupted run; give the same model and options as before")  # fmt: skip
    add("--cpu", action="store_true", help="work on the CPU even if there is a GPU")
    cli.add_hparams(
        parser,
        "max_frames (8000 mel frames of 12.5 ms in a batch, padding included; less takes less memory, and is slower on a GPU), "
        "precision (auto: bf16 where the hardware multiplies in it, which moves a mel by a hundredth of its range at most; "
        "fp32; bf16; fp16, on a GPU)",
    )
    args = parser.parse_args()
    from utils.data.paths import default_out_dir
    from vocoder.preprocess import preprocess

    preprocess(
        args.syn_model_fpath,
        args.in_dir or default_out_dir(args.datasets_root, "synthesizer"),
        args.out_dir or default_out_dir(args.datasets_root, "vocoder"),
        args.batch_size,
        args.skip_existing,
        args.cpu,
        args.hparams,
    )


if __name__ == "__main__":
    cli.run(main)
