"""Train the vocoder: mel spectrograms to sound."""

from pathlib import Path

from utils import cli


def main() -> None:
    parser = cli.parser(
        "Train the vocoder (WaveRNN) on the ground-truth-aligned mels of vocoder_preprocess.py, or with --ground_truth on true "
        "ones. Writes <models_dir>/<run_id>/vocoder.pt, and beside it metrics.jsonl and tensorboard/, every --eval_every "
        "steps the loss on held-out utterances, and every --generate_every steps the same ones as sound (wavs/, true and "
        "generated) and picture (mel-spectrograms/, plots/)."
    )
    cli.add_training_arguments(parser, "vocoder", save_every=1000, backup_every=25000)
    add = parser.add_argument
    add("datasets_root", type=Path, help="folder of the corpora; only its SV2TTS folder is used, and not even that if both "
        "--syn_dir and --voc_dir are given")  # fmt: skip
    add("--syn_dir", type=Path, help="audio, and true mels (default: <datasets_root>/SV2TTS/synthesizer)")
    add("--voc_dir", type=Path, help="ground-truth-aligned mels (default: <datasets_root>/SV2TTS/vocoder)")
    add("-g", "--ground_truth", action="store_true",
        help="train on true mels: needs no synthesizer, but the vocoder does not learn to make up for its flaws")  # fmt: skip
    add("--generate_every", type=int, default=5000, metavar="STEPS",
        help="steps between two generations of held-out audio (seconds on a GPU, a minute on a CPU); 0 is never")  # fmt: skip
    cli.add_hparams(
        parser,
        "learning_rate, batch_size (crops), seq_len (samples per crop), clip (gradient norm), eval_crops, eval_shown "
        "(utterances generated), eval_seconds (of each), target and overlap (samples, of the folds generated), and the model's "
        "sizes: mode (RAW: mu-law classes, MOL: mixture of logistics), bits, n_mixtures, n_mels, upsample_factors=5:5:8, pad "
        "(mel frames), context_dims, n_context_blocks, aux_dims, rnn_dims, fc_dims",
    )
    args = parser.parse_args()
    from utils.paths import default_out_dir
    from vocoder.train import train

    train(
        args.syn_dir or default_out_dir(args.datasets_root, "synthesizer"),
        args.voc_dir or default_out_dir(args.datasets_root, "vocoder"),
        args.ground_truth,
        args.generate_every,
        cli.run_options(args),
        args.hparams,
    )


if __name__ == "__main__":
    cli.run(main)
