"""Second script: train the speaker encoder."""

from pathlib import Path

from utils import cli


def main() -> None:
    parser = cli.parser(
        "Train the speaker encoder: a network that turns speech into a vector which tells voices apart. Every so often "
        "the equal error rate on speakers that are never trained on says how far it is (0.5: chance, 0: perfect). "
        "Several GPUs: torchrun --nproc_per_node N encoder_train.py ..."
    )
    cli.add_training_arguments(parser, "encoder", parts="encoder.lstm, encoder.linear, loss", save_every=500, backup_every=7500)
    parser.add_argument("clean_data_root", type=Path, help="what encoder_preprocess.py wrote: <datasets_root>/SV2TTS/encoder")
    parser.add_argument(
        "-v",
        "--vis_every",
        type=cli.whole_number(at_least=1),
        default=10,
        metavar="STEPS",
        help="steps between two points of the curves in Visdom and TensorBoard (metrics.jsonl has every step)",
    )
    parser.add_argument(
        "-u",
        "--umap_every",
        type=cli.COUNT,
        default=100,
        metavar="STEPS",
        help="steps between two pictures of the embeddings of held-out speakers; 0 draws none",
    )
    cli.add_hparams(
        parser,
        "learning_rate (1e-4), speakers_per_batch (64, on each GPU), utterances_per_speaker (10), partial_frames (160 of "
        "10 ms, cut from each utterance), clip (3, gradient norm), similarity_gradient (0.01), held_out_fraction (0.05 of the "
        "speakers, two at least), eval_speakers (100) and eval_utterances (10) at most in an evaluation; sizes of a new model: "
        "hidden_size (256), n_layers (3), projection_size (0: none), embedding_size (256)",
    )
    args = parser.parse_args()

    from encoder.train import train

    options = cli.run_options(args) | {"vis_every": args.vis_every}
    train(args.clean_data_root, options, hparams=args.hparams, umap_every=args.umap_every)


if __name__ == "__main__":
    cli.run(main)
