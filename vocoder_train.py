"""Train the vocoder: mel spectrograms to sound."""

from pathlib import Path

from utils import cli


def main() -> None:
    from vocoder.config import VocoderTraining, WaveRNNConfig

    parser = cli.parser(
        "Train the vocoder (WaveRNN) on the ground-truth-aligned mels of vocoder_preprocess.py, or with --ground_truth on true "
        "mels. Writes <models_dir>/<run_id>/vocoder.pt, and beside it metrics.jsonl and tensorboard/. Every --eval_every steps "
        "it logs the loss on held-out utterances; every --generate_every steps it generates some of them, as sound (wavs/) and "
        "as pictures (mel-spectrograms/, plots/)."
    )
    cli.add_training_arguments(
        parser,
        "vocoder",
        parts="upsample (reads the mels), input, gru1, gru2, hidden1, hidden2, output",
        save_every=1000,
        backup_every=25000,
        fine_tune={"freeze": ["upsample"], "eval_every": 100, "patience": 4},
    )
    add, unless = parser.add_argument, "unless --syn_dir and --voc_dir are given"
    add("datasets_root", type=Path, help=f"folder of the corpora; only its SV2TTS folder is used, {unless}")
    add("--syn_dir", type=Path, help="audio, and true mels (default: <datasets_root>/SV2TTS/synthesizer)")
    add("--voc_dir", type=Path, help="ground-truth-aligned mels (default: <datasets_root>/SV2TTS/vocoder)")
    true_help = "train on true mels: needs no synthesizer, but the vocoder does not learn to make up for its flaws"
    add("-g", "--ground_truth", action="store_true", help=true_help)
    generate_help = "steps between generating held-out audio, which takes seconds on a GPU and a minute on a CPU; 0 is never"
    add("--generate_every", type=cli.COUNT, default=5000, metavar="STEPS", help=generate_help)
    cli.add_hparams(parser, VocoderTraining, WaveRNNConfig)
    args = vars(parser.parse_args())
    from utils.data.paths import default_out_dir
    from vocoder.train import train

    root = args.pop("datasets_root")
    synthesizer_dir = args.pop("syn_dir") or default_out_dir(root, "synthesizer")
    vocoder_dir = args.pop("voc_dir") or default_out_dir(root, "vocoder")
    own = {name: args.pop(name) for name in ("ground_truth", "generate_every", "hparams")}
    train(synthesizer_dir, vocoder_dir, **own, options=args)


if __name__ == "__main__":
    cli.run(main)
