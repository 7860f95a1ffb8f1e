"""Text and speaker embeddings to mel spectrograms, with a trained synthesizer."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import MethodType

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from synthesizer.accelerate import accelerate
from synthesizer.config import ReadingSettings, TacotronConfig
from synthesizer.generation import Loop, Watched
from synthesizer.hparams import hparams, hparams_of
from synthesizer.model import Tacotron
from synthesizer.published import own_content
from synthesizer.reading.reader import Reader, SpokenBatch
from synthesizer.text import text_to_ids
from utils.config import rebuilt
from utils.data import audio, memory, signals
from utils.data.audio import MelFormat
from utils.data.levels import settle
from utils.errors import UserError
from utils.models import checkpoint, size
from utils.models.device import DTYPES, choose_dtype
from utils.models.fingerprint import fingerprint

_RANDOM = threading.RLock()  # dropout draws from torch's generator, which all threads share


class class_or_instance_method:
    """A method of both the class and its instances: it gets whichever it is called on."""

    def __init__(self, function: Callable) -> None:
        self._function = function

    def __get__(self, instance: object | None, owner: type) -> MethodType:
        return MethodType(self._function, owner if instance is None else instance)


class Synthesizer(Reader):
    """A trained synthesizer, from a checkpoint of this project or one published before it."""

    mel_format = MelFormat()  # an instance has its file's; notebooks also use these on the class itself
    sample_rate = mel_format.sample_rate
    hparams = hparams

    def __init__(
        self,
        path: str | Path | None = None,
        device: str | torch.device | None = None,
        verbose: bool = False,
        cap_frames: tuple[int, int] | None = None,
        precision: str = "auto",
        reading: ReadingSettings = ReadingSettings(),  # noqa: B008 (frozen)
        low_mem: bool = False,
    ) -> None:
        """path: by default the default voice's. device: by default a GPU if there is one. cap_frames: see TacotronConfig; by
        default the file's. precision: fp32, or bf16 or (on a GPU) fp16, which are faster but round; auto is fp16 on a GPU
        and bf16 on CPUs that compute in it. low_mem does nothing: old notebooks pass it.

        UserError if the file is missing, damaged or of another stage.
        """
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._dtype = choose_dtype(precision, self.device)
        self.path = checkpoint.or_default(path, "synthesizer")
        content = checkpoint.load(self.path, "synthesizer", published=True)
        with checkpoint.restoring(self.path, "synthesizer"):
            content = checkpoint.averaged(own_content(content))
            state, config = content["model_state"], rebuilt(TacotronConfig, content["model"])
            self.model = size.of_state(lambda: Tacotron(config), state)
            self.model.load_state_dict(state)
            mel_format = rebuilt(MelFormat, content["mel"])
            self.encoder_digests: list[str] = content.get("encoder_sha256", [])  # of the encoder it was trained with
            symbols, training = content["symbols"], content["training"]
            super().__init__(
                self.config, mel_format, symbols, training["cleaner"], reading, cap_frames, verbose, training.get("sounds", 0.0)
            )
        self.model.to(self.device).eval()
        self._loop_of: tuple = ()  # the model's fingerprint when the loop was made
        self.watch: Callable[[], None] | None = None  # called every few steps of the decoder; what it raises ends the speech
        self.hparams = hparams_of(self.mel_format, self.config, self.cleaner)
        if verbose:
            print(f"Synthesizer {self.path}: step {content['step']}, {int(self.model.r)} frames per step, on {self.device}")

    @property
    def config(self) -> TacotronConfig:
        return self.model.config

    @property
    def r(self) -> int:
        return int(self.model.r)

    def is_loaded(self) -> bool:
        """True: the model is loaded when it is made. Old notebooks ask."""
        return True

    def load(self) -> None:
        """Does nothing: the model is loaded already. Old notebooks call it."""

    def gta_mels(
        self,
        texts: Sequence[str],
        embeddings: np.ndarray | Sequence[np.ndarray],
        mels: Sequence[np.ndarray],
        seed: int | None = None,
    ) -> list[np.ndarray]:
        """Ground-truth-aligned mels: what the model predicts with teacher forcing (1712.05884, section 3.3).

        mels: the true ones, (T, n_mels) each. Returns as many float32 (T, n_mels), each of its true mel's length. All are one
        batch, so memory grows with their number times the longest.
        """
        ids = [torch.tensor(text_to_ids(text, self.symbols, self.cleaner, self.sounds)) for text in texts]
        speakers = self._on_device(self._speakers(embeddings, len(texts)))
        frames = [torch.from_numpy(np.asarray(mel, dtype=np.float32)) for mel in mels]
        with self._repeatable(seed):
            predicted = self.model(*self._padded(ids), *self._padded(frames), speakers, self.r).after.cpu().float()
        return [predicted[row, : len(mel)].numpy().copy() for row, mel in enumerate(mels)]

    @property
    def precision(self) -> str:
        """fp32, bf16 or fp16."""
        return next((name for name, dtype in DTYPES.items() if dtype == self._dtype), "fp32")

    @class_or_instance_method
    def griffin_lim(self, mel: np.ndarray, n_iter: int = 60) -> np.ndarray:
        """(n_mels, T) -> float32 wave (Griffin and Lim 1984): quick, but it sounds rough."""
        try:
            return audio.griffin_lim(signals.mel(mel, self.mel_format.n_mels).T, self.mel_format, n_iter)
        except ImportError as error:
            raise UserError(f"Griffin-Lim needs librosa ({error}): pip install librosa") from error

    @class_or_instance_method
    def load_preprocess_wav(self, path: str | Path) -> np.ndarray:
        """An audio file -> float32 wave at the model's sample rate and level."""
        return audio.rescale(audio.load(Path(path), self.mel_format.sample_rate), self.mel_format.rescale_peak)

    @class_or_instance_method
    def make_spectrogram(self, wav_or_path: np.ndarray | str | Path) -> np.ndarray:
        """A wave at the model's sample rate (as `utils.data.signals.wave` takes it), or an audio file -> float32 (n_mels, T) as
        the model is trained on."""
        if isinstance(wav_or_path, str | Path):
            wav = self.load_preprocess_wav(wav_or_path)
        else:
            wav = audio.rescale(settle(signals.wave(wav_or_path, is_raw=True))[0], self.mel_format.rescale_peak)
        return audio.mel_spectrogram(wav, self.mel_format).T

    @property
    def _loop(self) -> Loop:
        """What speaks. It holds a copy of the decoder's weights, so a changed model needs another."""
        if (now := fingerprint(self.model)) != self._loop_of:
            self._made_loop, self._loop_of = accelerate(self.model), now
        return self._made_loop

    def _generate(self, ids: list[list[int]], speakers: np.ndarray) -> SpokenBatch:
        text, lengths = self._padded([torch.tensor(each) for each in ids])
        spoken_lengths, caps = (torch.from_numpy(each).to(self.device) for each in self._limits(ids))
        loop = Watched(self._loop, self.watch) if self.watch else self._loop
        made = self.model.generate(text, lengths, self._on_device(speakers), caps, self.r, spoken_lengths, loop)
        parts = (made.after.float(), made.attention.float(), made.lengths, made.stopped)
        memory.return_freed_memory()  # every batch has another shape, so what is freed between them would pile up
        return SpokenBatch(*(part.cpu().numpy() for part in parts))

    def _on_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.copy()).to(self.device)

    def _padded(self, sequences: list[Tensor], value: float = 0.0) -> tuple[Tensor, Tensor]:
        """Padded (B, T, ...) and lengths (B,), on the device."""
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        return pad_sequence(sequences, True, value).to(self.device), lengths.to(self.device)

    @contextlib.contextmanager
    def _repeatable(self, seed: int | None) -> Iterator[None]:
        """Autocast and no gradients; a seed makes the dropout, which is always on, the same every time. A thread at a time."""
        devices = [self.device] if self.device.type == "cuda" else []
        mixed = torch.autocast(self.device.type, self._dtype, enabled=self._dtype is not None)
        with _RANDOM, torch.inference_mode(), mixed, torch.random.fork_rng(devices, enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            yield
