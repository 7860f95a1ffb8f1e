"""The synthesizer's settings. Imports nothing heavy."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from synthesizer.text import resolve_cleaner
from synthesizer.text.sentences import Pause
from utils.config import (
    AVERAGE_DECAY,
    CLIP,
    PRECISION,
    PRECISIONS,
    check_at_least,
    check_at_most,
    check_choice,
    check_positive,
    setting,
)

ATTENTIONS = ("location", "location_both", "dynamic")  # the published models have the first
SPEEDS = (0.8, 1.25)  # slowest and fastest that a text is read aloud
CLEANER = (
    "english: writes out numbers and abbreviations; transliteration: any script in ASCII; basic: lower case alone; or a file"
)
PUBLISHED_SCHEDULE = "2:1e-3:20000:12;2:5e-4:40000:12;2:2e-4:80000:12;2:1e-4:160000:12;2:3e-5:320000:12;2:1e-5:640000:12"


@dataclass(frozen=True)
class TacotronConfig:
    """Sizes of the model; the defaults are the published ones."""

    n_symbols: int = setting(66, "characters the model knows; training sets it from `symbols`")
    n_mels: int = setting(80, "mel bands, as many as the data has")
    speaker_size: int = setting(256, "size of a speaker embedding, as the encoder gives it")
    speaker_scale: float = setting(1.0, "factor on speaker embeddings; 16 makes their numbers as large as the text's")
    embedding_size: int = setting(512, "size of a character embedding")
    encoder_prenet: tuple[int, int] = setting((256, 256), "the two layers of the encoder's pre-net")
    encoder_size: int = setting(256, "size of the encoder's output for a character; even")
    encoder_kernels: int = setting(5, "the encoder's convolutions see 1 to this many characters")
    decoder_prenet: tuple[int, int] = setting((256, 256), "the two layers of the decoder's pre-net")
    attention: str = setting(
        "location",
        "location_both: compares the text, and sees the weights of the last step and the sum over all steps; "
        "location: sees the sum alone, as published; "
        "dynamic: moves on by filters and never looks at the text (use attention_filters=8,attention_kernel=21)",
    )
    attention_size: int = setting(128, "size of the attention")
    attention_filters: int = setting(32, "convolution filters over the attention's weights")
    attention_kernel: int = setting(31, "size of these filters, odd", "characters")
    decoder_size: int = setting(1024, "size of the decoder's two LSTMs")
    postnet_size: int = setting(512, "size of the post-net; even")
    postnet_kernels: int = setting(5, "the post-net's convolutions see 1 to this many frames")
    n_highways: int = setting(4, "highway layers in the encoder and in the post-net")
    max_r: int = setting(20, "largest reduction factor the model can be trained with", "frames per decoder step")
    prenet_dropout: float = setting(
        0.5, "dropout of both pre-nets, which stays on when the model speaks", "probability", adjustable=True
    )
    zoneout: float = setting(0.1, "zoneout of the decoder's LSTMs", "probability", adjustable=True)
    silence_level: float = setting(
        -3.4, "frames below it are cut from the end of generated speech (mels are -4 to 4)", adjustable=True
    )
    arrival_frames: int = setting(
        20,
        "speech also stops once the attention has been on the end of the text for this long; 0 turns that off",
        "frames",
        adjustable=True,
    )
    cap_frames: tuple[int, int] = setting(
        (100, 15),
        "speech that does not stop is cut after the first number, plus the second for each character",
        "frames",
        adjustable=True,
    )
    longest_seconds: float = setting(0.0, "longest utterance that it was trained on; training sets it", "s")
    longest_symbols: int = setting(
        0, "most symbols in one of these utterances, words in letters; training sets it; longer texts are divided"
    )

    def __post_init__(self) -> None:
        sizes = ("n_symbols", "n_mels", "speaker_size", "embedding_size", "encoder_prenet", "encoder_size", "encoder_kernels")
        check_at_least(self, 1, *sizes, "decoder_prenet", "attention_size", "attention_filters", "attention_kernel")
        check_at_least(self, 1, "decoder_size", "postnet_size", "postnet_kernels", "max_r")
        check_at_least(
            self, 0, "n_highways", "prenet_dropout", "zoneout", "arrival_frames", "longest_seconds", "longest_symbols"
        )
        check_at_least(self, 1, "cap_frames")
        check_choice(self, ATTENTIONS, "attention")
        check_positive(self, "speaker_scale")
        if self.attention_kernel % 2 == 0:
            raise ValueError("attention_kernel must be odd")
        if self.encoder_size % 2 or self.postnet_size % 2:
            raise ValueError("encoder_size and postnet_size must be even: each GRU direction gives half")
        if max(self.prenet_dropout, self.zoneout) >= 1:
            raise ValueError("prenet_dropout and zoneout must be under 1")


NEW_MODEL = TacotronConfig(attention="location_both")  # what training starts with, unless --hparams says otherwise


@dataclass(frozen=True)
class SynthesizerTraining:
    """Settings of training."""

    schedule: str = setting(
        PUBLISHED_SCHEDULE,
        "stages separated by ';', each r:learning_rate:until_step:batch_size, where r is the reduction factor; "
        "a large r aligns sooner, a small one sounds better; the last stage goes on without end",
    )
    average_decay: float = setting(0.999, AVERAGE_DECAY)
    clip: float = setting(1.0, CLIP)
    stop_weight: float = setting(5.0, "weight of an utterance's last step in the stop loss")
    speaker_noise: float = setting(
        0.0, "length of random noise added to speaker embeddings (of length 1); helps with few training speakers"
    )
    word_times: bool = setting(True, "teach the attention with the word times of alignments.txt, where there are any")
    attention_weight: float = setting(0.2, "weight of the attention loss of utterances with word times")
    attention_width: float = setting(2.0, "standard deviation around the expected character in that loss", "characters")
    diagonal_weight: float = setting(1.0, "weight of the guided attention loss of utterances without word times")
    adversarial_weight: float = setting(
        0.0, "weight of a discriminator that makes mels sharper; 0.1 for the last steps of a trained model (docs/training.md)"
    )
    attention_fade: tuple[int, int] = setting(
        (20000, 40000),
        "both attention losses fade out between these; a warning comes if none has aligned by the first",
        "steps",
    )
    cuda_graphs: int = setting(
        1,
        "1: on a single GPU, batches are padded to a few shapes, and each step is launched as one CUDA graph; "
        "2: on several GPUs too; 0: never",
    )
    symbols: str = setting(
        "english",
        "characters the model knows: english, arpabet (with sounds in braces), +äöüß (these too), or a UTF-8 file",
        of_weights=True,
    )
    cleaner: str = setting("english", CLEANER, of_weights=True)
    sounds: float = setting(
        0.0,
        "share of the words of an English pronouncing dictionary that are read as sounds, the rest as letters; over 0, symbols "
        "gets the sounds of arpabet, and the model speaks all these words by their sounds",
        of_weights=True,
    )
    eval_utterances: int = setting(16, "held-out utterances in an evaluation, at most")
    eval_shown: int = setting(2, "how many of them are drawn and heard")

    def __post_init__(self) -> None:
        parse_schedule(self.schedule)
        if not 0 <= self.sounds <= 1:
            raise ValueError("sounds must be 0 to 1")
        if not 0 <= self.average_decay < 1:
            raise ValueError("average_decay must be at least 0 and under 1")
        check_at_least(self, 1, "eval_utterances")
        check_at_least(self, 0, "eval_shown", "cuda_graphs")
        check_at_most(self, 2, "cuda_graphs")
        check_at_least(self, 0, "speaker_noise", "attention_weight", "diagonal_weight", "adversarial_weight", "attention_fade")
        check_positive(self, "clip", "stop_weight", "attention_width")
        if self.attention_fade[0] > self.attention_fade[1]:
            raise ValueError("attention_fade: the first step must not come after the last one")
        object.__setattr__(self, "cleaner", resolve_cleaner(self.cleaner))  # a file becomes its rules


@dataclass(frozen=True)
class ReadingSettings:
    """How a text of several pieces is read aloud."""

    clause_pause: float = setting(0.15, "pause where a long sentence is divided", "s")
    sentence_pause: float = setting(0.35, "pause after a sentence", "s")
    paragraph_pause: float = setting(0.7, "pause after a paragraph", "s")
    retries: int = setting(3, "a piece in which words are missing is spoken again up to this many times")

    def __post_init__(self) -> None:
        check_at_least(self, 0, "clause_pause", "sentence_pause", "paragraph_pause", "retries")

    def after(self, pause: Pause) -> float:
        """Its length in s."""
        return getattr(self, f"{pause.value}_pause")


def check_speed(speed: float) -> None:
    """ValueError if it is not one of SPEEDS or between them."""
    if not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise ValueError(f"speed must be {SPEEDS[0]} to {SPEEDS[1]}, not {speed}")


class Stage(NamedTuple):
    """A stage of the training schedule."""

    r: int  # reduction factor, frames per decoder step
    learning_rate: float
    until: int  # last step of the stage
    batch_size: int  # on each rank


def parse_schedule(text: str) -> list[Stage]:
    """`"2:1e-3:20000:12;2:5e-4:40000:12"` -> stages. ValueError for anything else."""
    stages = []
    for part in filter(None, text.split(";")):
        try:
            r, rate, until, batch_size = part.split(":")
            stages.append(Stage(int(r), float(rate), int(until), int(batch_size)))
        except ValueError as error:
            raise ValueError(f"schedule: {part!r} is not r:learning_rate:until_step:batch_size") from error
    ends = [stage.until for stage in stages]
    if not stages or ends != sorted(set(ends)) or any(not 0 < value < math.inf for stage in stages for value in stage):
        raise ValueError(f"schedule: {text!r} needs stages with positive numbers and growing steps")
    return stages


@dataclass(frozen=True)
class PreprocessSettings:
    """How audio files become utterances. A folder made with other settings is not continued."""

    alignments: bool = setting(True, "cut files by their word times where these are known; --no_alignments sets false")
    denoise: bool = setting(True, "remove the noise that is heard in the pauses, where word times are known; --no_denoise")
    silence_min_duration_split: float = setting(0.4, "files with word times are cut at pauses of at least this length", "s")
    utterance_min_duration: float = setting(1.6, "shorter pieces of a file join a neighbour, or are skipped", "s")
    min_mel_frames: int = setting(40, "shorter utterances are skipped", "frames of 12.5 ms")
    max_mel_frames: int = setting(900, "longer utterances are skipped", "frames of 12.5 ms")
    min_chars_per_second: float = setting(4.0, "utterances with less text, as it is read aloud, are skipped")
    max_chars_per_second: float = setting(28.0, "utterances with more text, as it is read aloud, are skipped")
    speaker_augmentation: int = setting(
        0, "copies of each utterance as other speakers, at most 50: resampled to 0.88 to 1.14 of its speed, pitch and formants"
    )
    cleaner: str = setting("english", CLEANER)

    def __post_init__(self) -> None:
        check_at_least(self, 1, "min_mel_frames", "max_mel_frames")
        check_at_least(self, 0, "utterance_min_duration", "min_chars_per_second", "speaker_augmentation")
        check_at_most(self, 50, "speaker_augmentation")  # the names of copies hold three digits of their speed
        check_positive(self, "silence_min_duration_split", "max_chars_per_second")
        if self.min_mel_frames > self.max_mel_frames or self.min_chars_per_second >= self.max_chars_per_second:
            raise ValueError("min_mel_frames and min_chars_per_second must not be over their max_ counterparts")
        object.__setattr__(self, "cleaner", resolve_cleaner(self.cleaner))  # a file becomes its rules


@dataclass(frozen=True)
class EmbedSettings:
    """How utterances are embedded."""

    # Groups are fixed because the last bits of an embedding depend on what is embedded with it.
    group_size: int = setting(128, "utterances embedded at once: more is faster on a GPU and takes more memory")
    min_speech: float = setting(0.5, "utterances with less speech than this are embedded with their pauses", "s")
    precision: str = setting("auto", PRECISION)

    def __post_init__(self) -> None:
        check_at_least(self, 1, "group_size")
        check_at_least(self, 0, "min_speech")
        check_choice(self, PRECISIONS, "precision")
