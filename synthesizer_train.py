"""Fifth script: train the synthesizer, which turns text and a speaker embedding into a mel spectrogram."""

from pathlib import Path

from synthesizer.config import NEW_MODEL, SynthesizerTraining
from utils import cli


def main() -> None:
    parser = cli.parser(
        "Train the synthesizer (Tacotron) on what synthesizer_preprocess_audio.py and synthesizer_preprocess_embeds.py wrote. "
        "Writes <models_dir>/<run_id>/synthesizer.pt, and beside it metrics.jsonl, tensorboard/ and, every --eval_every steps, "
        "for the same held-out utterances, mel-spectrograms/ (target, teacher-forced, free-running), plots/ (alignments) and "
        "wavs/ (Griffin-Lim)."
    )
    cli.add_training_arguments(
        parser,
        "synthesizer",
        parts="encoder (reads the text), decoder.prenet, decoder.attention, decoder.lstm1, decoder.lstm2, decoder.frames, "
        "decoder.stop, postnet, output",
        save_every=1000,
        backup_every=25000,
        fine_tune={"freeze": ["encoder"], "eval_every": 50, "patience": 4},
    )
    data_help = "preprocessed data: <datasets_root>/SV2TTS/synthesizer unless written elsewhere"
    parser.add_argument("syn_dir", type=Path, help=data_help)
    cli.add_hparams(parser, SynthesizerTraining, NEW_MODEL)
    args = vars(parser.parse_args())

    from synthesizer.train import train

    train(args.pop("syn_dir"), hparams=args.pop("hparams"), options=args)


if __name__ == "__main__":
    cli.run(main)
