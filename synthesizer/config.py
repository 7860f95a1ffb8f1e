"""The synthesizer's settings. Imports nothing heavy."""

from dataclasses import dataclass

from synthesizer.text import CLEANERS
from utils.config import check_at_least, setting


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
    cleaner: str = setting("english", f"how texts are read aloud, as in training: {', '.join(CLEANERS)}")

    def __post_init__(self) -> None:
        check_at_least(self, 1, "min_mel_frames", "max_mel_frames")
        check_at_least(self, 0, "utterance_min_duration", "min_chars_per_second")
        if self.silence_min_duration_split <= 0:
            raise ValueError("silence_min_duration_split must be positive")
        if self.min_mel_frames > self.max_mel_frames or self.min_chars_per_second >= self.max_chars_per_second:
            raise ValueError("min_mel_frames and min_chars_per_second must not be over their max_ counterparts")
        if self.cleaner not in CLEANERS:
            raise ValueError(f"cleaner must be one of {', '.join(CLEANERS)}")


@dataclass(frozen=True)
class EmbedSettings:
    """How utterances are embedded."""

    # Groups are fixed because the last bits of an embedding depend on what is embedded with it.
    group_size: int = setting(128, "utterances embedded at once: more is faster on a GPU and takes more memory")
    min_speech: float = setting(0.5, "where cutting the pauses leaves less speech, the whole utterance is embedded", "s")
    precision: str = setting("auto", "auto: bf16 if the hardware computes it, twice as fast and the same voice; fp32; bf16")

    def __post_init__(self) -> None:
        check_at_least(self, 1, "group_size")
        check_at_least(self, 0, "min_speech")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ValueError(f"precision must be auto, fp32 or bf16, not {self.precision}")
