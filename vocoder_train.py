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
    cli.add_training_arguments(
        parser,
        "vocoder",
        parts="upsample (reads the mels), input, gru1, gru2, hidden1, hidden2, output",
        save_every=1000,
        backup_every=25000,
    )
    add = parser.add_argument
    add("datasets_root", type=Path, help="folder of the corpora; only its SV2TTS folder is used, and not even that if both "
        "--syn_dir and --voc_dir are given")  # fmt: skip
    add("--syn_dir", type=Path, help="audio, and true mels (default: <datasets_root>/SV2TTS/synthesizer)")
    add("--voc_dir", type=Path, help="ground-truth-aligned mels (default: <datasets_root>/SV2TTS/vocoder)")
    add("-g", "--ground_truth", action="store_true",
        help="train on true mels: needs no synthesizer, but the vocoder does not learn to make up for its flaws")  # fmt: skip
    add("--generate_every", type=cli.COUNT, default=5000, metavar="STEPS",
        help="steps between two generations of held-out audio (seconds on a GPU, a minute on a CPU); 0 is never")  # fmt: skip
    cli.add_hparams(
        parser,
        "learning_rate (4e-4, the highest), warmup_steps (1000, in which it rises from 0), halving_steps (50000, in which it "
        "then falls to half; 0 keeps it), final_learning_rate (2e-5, where it stops to fall; learning_rate=1e-4,warmup_steps=0,"
        "halving_steps=0 is the published constant), average_decay (0.999, of the moving average of the weights with which it "
        "speaks; 0 takes those of the last step), quiet_db (-40 dB of full scale) and quiet_kept (0.25: three in four crops "
        "quieter than that are replaced), batch_size (100 crops, on each GPU), seq_len (1000 samples per crop, whole mel "
        "frames; longer ones take more memory and time), clip (4, gradient norm), eval_crops (200 at most in a held-out loss), "
        "eval_shown (2 held-out utterances generated), eval_seconds (3 s of each), target (8000) and overlap (600 "
        "samples) of the pieces generated side by side, postfilter (0, strength of what takes noise from its speech, kept in "
        "the checkpoint; a young vocoder sounds much clearer at 1); sizes of a new model: mode "
        "(RAW: mu-law classes; or MOL: mixture of logistics, any amplitude), bits (9: RAW has 2^bits classes), n_mixtures"
        " (10, of MOL), n_mels (80), upsample_factors (5:5:8; their product is the mel format's hop of 200 samples), pad "
        "(2 mel frames seen on each side of a crop), context_dims (128) and n_context_blocks (10) of the net that reads "
        "the mels, aux_dims (128, what it gives; a multiple of 4), rnn_dims "
        "(512) and fc_dims (512): larger ones sound better and generate more slowly",
    )
    args = parser.parse_args()
    from utils.data.paths import default_out_dir
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
