"""Train the synthesizer: text and a speaker vector to a mel spectrogram."""

from pathlib import Path

from utils import cli


def main() -> None:
    parser = cli.parser(
        "Train the synthesizer (Tacotron) on what synthesizer_preprocess_audio.py and synthesizer_preprocess_embeds.py wrote. "
        "Writes <models_dir>/<run_id>/synthesizer.pt, and beside it metrics.jsonl, tensorboard/, and every --eval_every "
        "steps, of the same held-out utterances, mel-spectrograms/ (target, teacher-forced, free-running), plots/ "
        "(alignments) and wavs/ (Griffin-Lim)."
    )
    cli.add_training_arguments(parser, "synthesizer", save_every=1000, backup_every=25000)
    parser.add_argument(
        "syn_dir", type=Path, help="preprocessed data: <datasets_root>/SV2TTS/synthesizer unless it was sent elsewhere"
    )
    cli.add_hparams(
        parser,
        'schedule="r:learning_rate:until_step:batch_size;..." (r mel frames per decoder step; the last stage goes on), '
        "clip (gradient norm), stop_weight, cleaner (english, transliteration, basic), eval_utterances, eval_shown, and the "
        "model's sizes: embedding_size, encoder_prenet=256:256, encoder_size, encoder_kernels, decoder_prenet=256:256, "
        "attention_size, attention_filters, attention_kernel, decoder_size, postnet_size, postnet_kernels, n_highways, "
        "max_r, prenet_dropout, zoneout, n_mels, speaker_size",
    )
    args = parser.parse_args()
    from synthesizer.train import train

    train(args.syn_dir, cli.run_options(args), args.hparams)


if __name__ == "__main__":
    cli.run(main)
