"""Speech from mel spectrograms: `load_model(path)` once, then `infer_waveform(mel)`."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tqdm import tqdm

from utils.config import rebuilt
from utils.data import signals
from utils.data.mel_format import MelFormat
from utils.errors import UserError
from utils.models import checkpoint, size
from utils.models.fingerprint import fingerprint
from utils.models.holder import Holder
from vocoder.accelerate import accelerate
from vocoder.config import OVERLAP, TARGET, WaveRNNConfig, check_sizes
from vocoder.fold import Generator, Progress
from vocoder.model import WaveRNN
from vocoder.postfilter import PostFilter
from vocoder.published import own_content

# Of speech. On a GPU its products are in TF32, which is as fast as fp16 for so few rows.
PRECISIONS = {"auto": None, "fp32": torch.float32, "bf16": torch.bfloat16}


class AnyVocoder(Protocol):
    """All that the demo asks of a vocoder, so that another one can take the place of Vocoder."""

    mel_format: MelFormat  # of the mels that it reads

    def infer_waveform(self, mel: np.ndarray, **options: Any) -> np.ndarray:
        """mel (n_mels, T), in [-max_abs, max_abs] of its format -> float32 wave (T hop_length,) at mel_format.sample_rate.

        The options are Vocoder's: target, overlap and seed among others. A vocoder may ignore them.
        """

    def stream_waveform(self, mel: np.ndarray, **options: Any) -> Iterator[np.ndarray]:
        """The same wave in pieces (n,), each given as soon as it is made."""


class Vocoder:
    """A trained WaveRNN and the mel format that it reads. Loads this project's checkpoints, the published file with or
    without its optimizer, and a bare state dict; raises UserError for anything else. path None: the default voice's.

    precision: "fp32"; "bf16" on CPUs that have it, about twice as fast and the same to the ear; "auto", the faster one.
    """

    def __init__(
        self, path: str | Path | None = None, device: str | torch.device | None = None, precision: str = "auto"
    ) -> None:
        self.path = checkpoint.or_default(path, "vocoder")
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if precision not in PRECISIONS:
            raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
        self.precision = precision
        content = checkpoint.load(self.path, "vocoder", published=True)
        with checkpoint.restoring(self.path, "vocoder"):
            content = checkpoint.averaged(own_content(content))
            state, config = content["model_state"], rebuilt(WaveRNNConfig, content["model"])
            self.model, self.step = size.of_state(lambda: WaveRNN(config), state), content["step"]
            self.model.load_state_dict(state)
            self.mel_format = rebuilt(MelFormat, content["mel"])
            check_sizes(self.model.config, self.mel_format)
            self.postfilter: float = content.get("training", {}).get("postfilter", 0.0)  # strength; may be set
        self.model.to(self.device).eval()
        self._generator_of: tuple = ()  # the model's fingerprint when the generator was made

    def infer_waveform(
        self,
        mel: np.ndarray,
        normalize: bool = True,
        batched: bool = True,
        target: int = TARGET,
        overlap: int = OVERLAP,
        progress_callback: Progress | None = None,
        seed: int | None = None,
    ) -> np.ndarray:
        """mel (n_mels, T), T >= 1 -> float32 wave (T hop_length,) at mel_format.sample_rate, de-emphasised.

        normalize: the mel lies in [-max_abs, max_abs] of its format, as the synthesizer makes it; else in [-1, 1] already.
        batched: generate folds of about `target` samples side by side, which is ten times as fast. The first folds are
        shorter; neighbours overlap by up to `overlap` samples. progress_callback(samples done, samples in all, folds side by
        side, kHz) is called whenever all folds have moved on by up to eight frames; without it a terminal shows a bar. With a
        seed, the same call gives the same samples.
        Raises ValueError for a mel of another shape, or with values that are not finite.
        """
        frames = self._frames(mel, normalize)
        return np.concatenate(list(self._stream(frames, target if batched else None, overlap, progress_callback, seed)))

    def stream_waveform(
        self,
        mel: np.ndarray,
        chunk: int = 4000,
        normalize: bool = True,
        target: int = TARGET,
        overlap: int = OVERLAP,
        progress_callback: Progress | None = None,
        seed: int | None = None,
    ) -> Iterator[np.ndarray]:
        """The wave of infer_waveform with the same seed, in float32 pieces of up to `chunk` samples. The first comes at once;
        while a piece is played, a thread generates the next ones."""
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1 sample, not {chunk}")
        waves = self._stream(self._frames(mel, normalize), target, overlap, progress_callback, seed)
        return (wave[i : i + chunk] for wave in _prefetched(waves) for i in range(0, len(wave), chunk))

    def _frames(self, mel: np.ndarray, normalize: bool) -> np.ndarray:
        """The caller's mel -> (T, n_mels) as the model reads it."""
        mel = signals.mel(mel, self.mel_format.n_mels)
        return mel.T / self.mel_format.max_abs if normalize else mel.T.copy()

    def _stream(
        self, frames: np.ndarray, target: int | None, overlap: int, callback: Progress | None, seed: int | None
    ) -> Iterator[np.ndarray]:
        if (target is not None and target < self.mel_format.hop_length) or overlap < 0:
            raise ValueError(
                f"target is at least {self.mel_format.hop_length} samples and overlap 0, not {target} and {overlap}"
            )
        if seed is None:
            seed = int(torch.randint(2**31, ()))  # follows torch.manual_seed
        n_samples = len(frames) * self.mel_format.hop_length
        with contextlib.nullcontext(callback) if callback else _bar(n_samples) as progress:
            waves = self._generator.stream(frames, self.mel_format, target, overlap, seed, progress)
            if self.postfilter:
                waves = PostFilter(frames, self.mel_format, self.postfilter).stream(waves)
            yield from waves

    @property
    def _generator(self) -> Generator:
        """What generates. It holds a copy of the weights, so a changed model needs another."""
        if (now := fingerprint(self.model, self.model.distribution)) != self._generator_of:
            self._made_generator = Generator(self.model, accelerate(self.model, PRECISIONS[self.precision]))
            self._generator_of = now
        return self._made_generator

    def check_mel_format(self, mel_format: MelFormat) -> None:
        """Raises UserError, showing what differs, when the vocoder was trained on mels of another format."""
        if mel_format != self.mel_format:
            raise UserError(
                f"{self.path}: the vocoder reads other mels than the synthesizer makes; use models trained on the same format. "
                f"vocoder: {self.mel_format.unlike(mel_format)}; synthesizer: {mel_format.unlike(self.mel_format)}"
            )


def _prefetched(items: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same items; a thread makes the next one while the last one is used."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item


@contextlib.contextmanager
def _bar(n_samples: int) -> Iterator[Progress]:
    """A progress callback that draws a bar."""
    options = {"unit": "sample", "unit_scale": True, "disable": None, "leave": False}
    with tqdm(desc="vocoder", total=n_samples, **options) as bar:

        def draw(done: int, total: int, n_folds: int, khz: float) -> None:
            bar.set_postfix_str(f"{khz:.1f} kHz, {n_folds} folds", refresh=False)
            bar.update(done - bar.n)

        yield draw


# ---- as notebooks use it: functions that share one vocoder

_holder = Holder[Vocoder]("vocoder")


def load_model(
    path: str | Path | None = None, verbose: bool = True, device: str | torch.device | None = None, precision: str = "auto"
) -> None:
    """Load a checkpoint (None: the default voice's), on the GPU if there is one; precision as for Vocoder."""
    _holder.model = Vocoder(path, device, precision)
    if verbose:
        print(f"vocoder: {_holder.model.path}, trained to step {_holder.model.step}, on {_holder.model.device}")


def is_loaded() -> bool:
    """Whether load_model was called."""
    return _holder.is_loaded


infer_waveform = _holder.shared(Vocoder.infer_waveform)
stream_waveform = _holder.shared(Vocoder.stream_waveform)
check_mel_format = _holder.shared(Vocoder.check_mel_format)
