"""Second script: train the speaker encoder."""

from pathlib import Path

from encoder.config import EncoderConfig, EncoderTraining
from utils import cli


def main() -> None:
    parser = cli.parser(
        "Train the speaker encoder: a network that turns speech into a vector that identifies the voice. Progress is measured "
        "by the equal error rate on held-out speakers (0.5: chance, 0: perfect). "
        "Several GPUs: torchrun --nproc_per_node N encoder_train.py ..."
    )
    cli.add_training_arguments(parser, "encoder", parts="encoder.lstm, encoder.linear, loss", save_every=500, backup_every=7500)
    add = parser.add_argument
    add("clean_data_root", type=Path, help="output of encoder_preprocess.py: <datasets_root>/SV2TTS/encoder")
    vis_help = (
        "steps between two points of the curves in Visdom and TensorBoard (metrics.jsonl has every step); "
        "-v as in Real-Time-Voice-Cloning"
    )
    add("-v", "--vis_every", type=cli.whole_number(at_least=1), default=10, metavar="STEPS", help=vis_help)
    umap_help = "steps between two pictures of the embeddings of held-out speakers; 0 draws none"
    add("-u", "--umap_every", type=cli.COUNT, default=100, metavar="STEPS", help=umap_help)
    cli.add_hparams(parser, EncoderTraining, EncoderConfig)
    args = vars(parser.parse_args())

    from encoder.train import train

    train(args.pop("clean_data_root"), hparams=args.pop("hparams"), umap_every=args.pop("umap_every"), options=args)


if __name__ == "__main__":
    cli.run(main)
