"""The parameters of a mel spectrogram. Imports nothing heavy."""

from dataclasses import asdict, dataclass

from utils.config import check_at_least, setting

SAMPLE_RATE = 16_000  # Hz, of all audio that this project trains on and writes
ENCODER_HOP = 160  # samples, 10 ms
ENCODER_N_FFT = 400  # samples, 25 ms
ENCODER_N_MELS = 40
MAX_HOP = 2**16  # samples, 4 s


@dataclass(frozen=True)
class MelFormat:
    """The format of a synthesizer's or vocoder's mels. It is stored in checkpoints; models used together must agree on it."""

    sample_rate: int = setting(SAMPLE_RATE, "sample rate; only the default is supported", "Hz")
    n_fft: int = setting(800, "size of the Fourier transform", "samples")
    hop_length: int = setting(200, "distance between two frames", "samples")
    win_length: int = setting(800, "length of the window", "samples")
    n_mels: int = setting(80, "mel bands")
    fmin: float = setting(55.0, "lower end of the lowest band", "Hz")
    fmax: float = setting(7600.0, "upper end of the highest band", "Hz")
    preemphasis: float = setting(0.97, "coefficient of the filter that raises high frequencies first")
    rescale_peak: float = setting(0.9, "peak amplitude that each utterance is scaled to first")
    ref_db: float = setting(20.0, "subtracted from the level", "dB")
    min_db: float = setting(-100.0, "level that becomes -max_abs, as do all levels below it", "dB")
    max_abs: float = setting(4.0, "mels lie between -max_abs and max_abs")

    def __post_init__(self) -> None:
        check_at_least(self, 1, "sample_rate", "n_fft", "hop_length", "win_length", "n_mels")
        check_at_least(self, 0, "fmin", "preemphasis")
        limits = {
            f"n_fft, hop_length and n_mels must be at most {MAX_HOP}": max(self.n_fft, self.hop_length, self.n_mels) <= MAX_HOP,
            "win_length must be at most n_fft": self.win_length <= self.n_fft,
            "fmax must be over fmin and at most half the sample_rate": self.fmin < self.fmax <= self.sample_rate / 2,
            "preemphasis must be under 1": self.preemphasis < 1,
            "rescale_peak must be over 0 and at most 1": 0 < self.rescale_peak <= 1,
            "min_db must be under 0 and max_abs over it": self.min_db < 0 < self.max_abs,
        }
        if broken := [limit for limit, holds in limits.items() if not holds]:
            raise ValueError(broken[0])

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:g}" for name, value in asdict(self).items())

    def unlike(self, other: "MelFormat") -> str:
        """What of this format is not so in the other one."""
        others = asdict(other)
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items() if value != others[name])
