"""Fifth script: train the synthesizer, text and a speaker vector to a mel spectrogram."""

from pathlib import Path

from utils import cli


def main() -> None:
    parser = cli.parser(
        "Train the synthesizer (Tacotron) on what synthesizer_preprocess_audio.py and synthesizer_preprocess_embeds.py wrote. "
        "Writes <models_dir>/<run_id>/synthesizer.pt, and beside it metrics.jsonl, tensorboard/, and every --eval_every "
        "steps, of the same held-out utterances, mel-spectrograms/ (target, teacher-forced, free-running), plots/ "
        "(alignments) and wavs/ (Griffin-Lim)."
    )
    cli.add_training_arguments(
        parser,
        "synthesizer",
        parts="encoder (reads the text), decoder.prenet, decoder.attention, decoder.lstm1, decoder.lstm2, decoder.frames, "
        "decoder.stop, postnet, output",
        save_every=1000,
        backup_every=25000,
    )
    parser.add_argument(
        "syn_dir", type=Path, help="preprocessed data: <datasets_root>/SV2TTS/synthesizer unless it was sent elsewhere"
    )
    cli.add_hparams(
        parser,
        "schedule, of stages r:learning_rate:until_step:batch_size parted by ';', where r is the number of mel frames (of "
        "12.5 ms) that a decoder step gives (a large r learns to attend sooner, a small one sounds better) and the last "
        "stage goes on "
        "(2:1e-3:20000:12;2:5e-4:40000:12;2:2e-4:80000:12;2:1e-4:160000:12;2:3e-5:320000:12;2:1e-5:640000:12); clip (1, "
        "gradient norm); average_decay (0.999, of the moving average of the weights, with which it speaks; 0 takes those of"
        " the last step); speaker_noise (0, the length of a random vector added to the speaker embeddings, of length 1: it "
        "serves voices that are not in the data, where speakers are few); word_times (true: where alignments.txt has the "
        "times of an utterance's words, they teach the attention); attention_weight (0.2) of that loss, "
        "attention_width (2 symbols, how far beside the expected one still counts), diagonal_weight (1) of the loss of "
        "utterances without word times, which are drawn to the diagonal instead, attention_fade (20000:40000, the steps "
        "between which both losses go to nothing; a warning comes if no alignment has formed by the first); stop_weight (5,"
        " weight of the step that should stop in the stop loss); symbols that the model knows (english; arpabet: sounds in "
        "braces as well; +äöüß: these besides; a UTF-8 file with all of them), cleaner (english: writes out numbers, signs "
        "and abbreviations; transliteration: any script in ASCII; basic: lower case alone); eval_utterances (16) held-out "
        "ones at most in an evaluation, eval_shown (2) of them drawn and heard; sizes of a new model, larger ones slower "
        "and hungrier for data: "
        "embedding_size (512, a character's), "
        "encoder_prenet (256:256, two layers), encoder_size (256), encoder_kernels (5: convolutions over 1 to 5 "
        "characters), decoder_prenet (256:256), attention (location_both: compares the text, and sees the weights of the "
        "last step and of all steps; location: the latter alone, as published; dynamic: moves on by filters and never "
        "looks at the text, with attention_filters=8,attention_kernel=21), attention_size (128), attention_filters (32) "
        "of attention_kernel (31 characters, odd), decoder_size (1024), postnet_size (512), postnet_kernels (5: "
        "convolutions over 1 to 5 frames), n_highways (4 layers), max_r (20 frames, the largest r that the model can "
        "give), prenet_dropout (0.5) and zoneout (0.1), probabilities, n_mels (80 bands, as the data has), speaker_size "
        "(256, as the encoder's embeddings have), speaker_scale (1, factor on them; 16 makes their numbers as large as "
        "the text's), silence_level (-3.4 of -4 to 4: quieter frames at the end of generated "
        "speech are cut), arrival_frames (20: speech ends, too, when the attention has been on the text's end for so "
        "long; 0: the stop output alone ends it), cap_frames (100:15, a text that does not end is cut at the first and so "
        "many more for each of its symbols)",
    )
    args = parser.parse_args()

    from synthesizer.train import train

    train(args.syn_dir, cli.run_options(args), args.hparams)


if __name__ == "__main__":
    cli.run(main)
