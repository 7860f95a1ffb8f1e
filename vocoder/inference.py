"""Speech from mel spectrograms: `load_model(path)` once, then `infer_waveform(mel)`."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from utils.data.audio import MelFormat
from utils.errors import UserError
from utils.models import checkpoint
from vocoder.fold import OVERLAP, TARGET
from vocoder.generate import Generator, Progress
from vocoder.model import WaveRNN, WaveRNNConfig, check_sizes
from vocoder.postfilter import PostFilter
from vocoder.published import own_content


class Vocoder:
    """A trained WaveRNN and the mel format that it reads. Loads this project's checkpoints, the published file with or
    without its optimizer, and a bare state dict; raises UserError for anything else.

    precision: of the products while generating. "fp32"; "bf16", about twice as fast and the same to the ear, on CPUs that
    have it; "auto", what is fastest here.
    """

    def __init__(self, path: Path, device: str | torch.device | None = None, precision: str = "auto") -> None:
        self.path = Path(path)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.precision = precision
        content = checkpoint.load(self.path, "vocoder", published=True)
        with checkpoint.restoring(self.path, "vocoder"):
            content = checkpoint.averaged(own_content(content))
            self.model, self.step = WaveRNN(WaveRNNConfig(**content["model"])), content["step"]
            self.model.load_state_dict(content["model_state"])
            self.mel_format = MelFormat(**content["mel"])
            check_sizes(self.model.config, self.mel_format)
            self.postfilter: float = content.get("training", {}).get("postfilter", 0.0)  # strength; may be set
        self.model.to(self.device).eval()

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
        """mel (n_mels, T), T from 1 up -> float32 wave (T hop_length,) at mel_format.sample_rate, de-emphasised.

        normalize: the mel lies in [-max_abs, max_abs] of its format, as the synthesizer gives it; else in [-1, 1] already.
        batched: cut into folds, shorter ones first and then of about `target` samples, that overlap by up to `overlap` and
        are generated side by side: ten times faster. progress_callback(samples done, samples in all, folds side by side,
        kHz) is called after each frame; without it a bar is drawn on a terminal. A seed makes the samples repeatable.
        Raises ValueError for a mel of another shape or with values that are not finite.
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
        """As infer_waveform, in float32 pieces of up to `chunk` samples, the first of which is there at once: while it is
        played, a thread generates the next ones. One after another they are what infer_waveform gives with the same seed.
        """
        if chunk < 1:
            raise ValueError(f"a chunk holds at least one sample, not {chunk}")
        waves = self._stream(self._frames(mel, normalize), target, overlap, progress_callback, seed)
        return (wave[i : i + chunk] for wave in _ahead(waves) for i in range(0, len(wave), chunk))

    def _frames(self, mel: np.ndarray, normalize: bool) -> torch.Tensor:
        """A mel as the caller has it -> (T, n_mels) as the model wants it."""
        mel = np.asarray(mel, dtype=np.float32)
        if mel.ndim != 2 or mel.shape[0] != self.mel_format.n_mels or mel.shape[1] == 0:
            raise ValueError(f"a mel of shape ({self.mel_format.n_mels}, T) with T > 0 is needed, not {mel.shape}")
        if not np.isfinite(mel).all():
            raise ValueError("the mel holds values that are not finite")
        return torch.from_numpy(mel.T / self.mel_format.max_abs if normalize else mel.T.copy()).to(self.device)

    def _stream(
        self, frames: torch.Tensor, target: int | None, overlap: int, callback: Progress | None, seed: int | None
    ) -> Iterator[np.ndarray]:
        if seed is None:
            seed = int(torch.randint(2**31, ()))  # follows torch.manual_seed
        with _Bar(callback) as progress:
            waves = self._generator.stream(frames, self.mel_format, target, overlap, seed, progress)
            if self.postfilter:
                waves = PostFilter(frames.cpu().numpy(), self.mel_format, self.postfilter).stream(waves)
            yield from waves

    @cached_property
    def _generator(self) -> Generator:
        return Generator(self.model, self.precision)

    def check_mel_format(self, mel_format: MelFormat) -> None:
        """Raises UserError, showing both formats, when mels of this format are not what the vocoder was trained on."""
        if mel_format != self.mel_format:
            raise UserError(
                f"{self.path}: the vocoder reads other mels than the synthesizer makes; use models trained on the same format. "
                f"vocoder: {self.mel_format}; synthesizer: {mel_format}"
            )


def _ahead(items: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same items; the next one is made in a thread while the last one is used."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item


class _Bar:
    """The caller's progress callback, or a bar of our own."""

    def __init__(self, callback: Progress | None) -> None:
        self._callback = callback
        self._bar: tqdm | None = None

    def __enter__(self) -> Progress:
        return self._callback or self._draw

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def _draw(self, done: int, total: int, n_folds: int, khz: float) -> None:
        if self._bar is None:
            self._bar = tqdm(desc="vocoder", total=total, unit="sample", unit_scale=True, disable=None, leave=False)
        self._bar.set_postfix_str(f"{khz:.1f} kHz, {n_folds} folds", refresh=False)
        self._bar.update(done - self._bar.n)


class _Holder:
    """The vocoder that the functions of this module share, as notebooks expect."""

    def __init__(self) -> None:
        self._vocoder: Vocoder | None = None

    def load_model(
        self, path: Path, verbose: bool = True, device: str | torch.device | None = None, precision: str = "auto"
    ) -> None:
        """Load a checkpoint, on the GPU if there is one; precision: see Vocoder."""
        self._vocoder = Vocoder(path, device, precision)
        if verbose:
            print(f"vocoder: {path}, trained to step {self._vocoder.step}, on {self._vocoder.device}")

    def is_loaded(self) -> bool:
        """Whether load_model was called."""
        return self._vocoder is not None

    @property
    def vocoder(self) -> Vocoder:
        if self._vocoder is None:
            raise RuntimeError("no vocoder is loaded: call load_model(path) first")
        return self._vocoder


_holder = _Holder()
load_model = _holder.load_model
is_loaded = _holder.is_loaded


def infer_waveform(
    mel: np.ndarray,
    normalize: bool = True,
    batched: bool = True,
    target: int = TARGET,
    overlap: int = OVERLAP,
    progress_callback: Progress | None = None,
    seed: int | None = None,
) -> np.ndarray:
    """Vocoder.infer_waveform of the loaded model: (n_mels, T) -> float32 wave at 16 kHz."""
    return _holder.vocoder.infer_waveform(mel, normalize, batched, target, overlap, progress_callback, seed)


def stream_waveform(
    mel: np.ndarray,
    chunk: int = 4000,
    normalize: bool = True,
    target: int = TARGET,
    overlap: int = OVERLAP,
    progress_callback: Progress | None = None,
    seed: int | None = None,
) -> Iterator[np.ndarray]:
    """Vocoder.stream_waveform of the loaded model: (n_mels, T) -> pieces of the wave, as soon as they are there."""
    return _holder.vocoder.stream_waveform(mel, chunk, normalize, target, overlap, progress_callback, seed)


def check_mel_format(mel_format: MelFormat) -> None:
    """Vocoder.check_mel_format of the loaded model."""
    _holder.vocoder.check_mel_format(mel_format)
