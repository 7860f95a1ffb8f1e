"""Speaker embeddings of audio. The functions work on one encoder held for the whole program; `SpeakerEmbedder` is the same
without that."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from encoder.model import MEL_FORMAT, EncoderConfig, SpeakerEncoder
from encoder.partials import (
    PARTIAL_FRAMES,
    Slices,
    compute_partial_slices,
    embed_partials,
    mean_embedding,
    partials_of_wave,
)
from encoder.published import own_content
from utils.data import audio, vad
from utils.errors import UserError
from utils.models import checkpoint
from utils.models.device import computes_bf16

__all__ = [
    "SpeakerEmbedder",
    "compute_partial_slices",
    "embed_batch",
    "embed_speaker",
    "embed_utterance",
    "is_loaded",
    "load_model",
    "preprocess_wav",
]

VOLUME_DBFS = -30.0


def preprocess_wav(
    path_or_wav: str | Path | np.ndarray,
    source_sr: int | None = None,
    normalize: bool = True,
    trim_silence: bool = True,
) -> np.ndarray:
    """Any audio file, or a float wave at source_sr Hz (None: 16 kHz) -> float32 (n,) at 16 kHz as the encoder wants it.

    Quiet audio is raised to -30 dBFS and pauses are cut. UserError where there is no speech in it, or no audio.
    """
    is_file = isinstance(path_or_wav, str | Path)
    wav = audio.load(Path(path_or_wav)) if is_file else np.asarray(path_or_wav)
    if source_sr is not None and not is_file:
        wav = audio.resample(wav, source_sr, audio.SAMPLE_RATE)
    if normalize and len(wav):
        wav = audio.normalize_volume(wav, VOLUME_DBFS, increase_only=True)
    if trim_silence:
        wav = vad.trim_silences(wav)
    if not len(wav):
        raise UserError(f"{f'{path_or_wav}: ' if is_file else ''}no speech found in it; take a louder or longer recording")
    return wav


class SpeakerEmbedder:
    """An encoder loaded from a checkpoint: of this project, of the repository published before it, or Resemblyzer's."""

    def __init__(self, path: str | Path, device: str | torch.device | None = None, precision: str = "fp32") -> None:
        """device None is the GPU if there is one. precision "bf16" is twice as fast on hardware that computes it, with a cosine
        of over 0.999 to what else would come out; "auto" is that where the hardware does. UserError where the file is missing,
        damaged or no encoder.
        """
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.in_bf16 = precision == "bf16" or (precision == "auto" and computes_bf16(self.device))
        self.model = _load(Path(path)).to(self.device).eval()

    @property
    def embedding_size(self) -> int:
        return self.model.config.embedding_size

    def embed_utterance(self, wav: np.ndarray, slices: Slices | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Preprocessed float wave (n,) -> its embedding (E,) and those of its partials (P, E), all of length 1."""
        _check_not_empty(wav)
        partials = partials_of_wave(wav, slices or compute_partial_slices(len(wav)))
        (embeddings,) = self._embed_partials([partials])
        return mean_embedding(embeddings), embeddings

    def embed_whole(self, wav: np.ndarray) -> np.ndarray:
        """Preprocessed float wave (n,) -> (E,), in one pass instead of by partials; worse the longer it is."""
        _check_not_empty(wav)
        (embedding,) = self._embed_partials([audio.encoder_mel(wav)[None]])
        return embedding[0]

    def embed_batch(self, wavs: Iterable[np.ndarray]) -> np.ndarray:
        """Preprocessed float waves (n_i,) -> (number of waves, E). Takes them one by one and fills batches of partials."""
        embeddings = [mean_embedding(each) for each in self._embed_partials(map(_wave_partials, wavs))]
        return np.stack(embeddings) if embeddings else np.zeros((0, self.embedding_size), dtype=np.float32)

    def _embed_partials(self, utterances: Iterable[np.ndarray]) -> list[np.ndarray]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.in_bf16):
            return list(embed_partials(self.model, utterances))

    def embed_speaker(self, wavs: Sequence[np.ndarray]) -> np.ndarray:
        """Several preprocessed utterances of one speaker -> (E,): the mean of their embeddings, of length 1."""
        if not len(wavs):
            raise UserError("no utterance of the speaker was given; at least one is needed")
        return mean_embedding(self.embed_batch(wavs))


def _wave_partials(wav: np.ndarray) -> np.ndarray:
    _check_not_empty(wav)
    return partials_of_wave(wav, compute_partial_slices(len(wav)))


def _check_not_empty(wav: np.ndarray) -> None:
    if not len(wav):
        raise UserError("there is no audio to embed: the wave is empty (silent before its pauses were cut?)")


def _load(path: Path) -> SpeakerEncoder:
    content = checkpoint.load(path, "encoder", published=True)
    with checkpoint.restoring(path, "encoder"):
        content = own_content(content)
        if content["mel"] != MEL_FORMAT:
            raise ValueError(f"its mel format is {content['mel']}, not {MEL_FORMAT}")
        model = SpeakerEncoder(EncoderConfig(**content["model"]))
        state = content["model_state"]
        own = {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
        model.load_state_dict(own)
    return model


# ---- the published functions, on one encoder for the whole program

_held: dict[str, SpeakerEmbedder] = {}


def load_model(path: str | Path, device: str | torch.device | None = None) -> None:
    """Load the encoder that the functions below use, onto `device` (None: the GPU if there is one)."""
    _held["encoder"] = SpeakerEmbedder(path, device)


def is_loaded() -> bool:
    return "encoder" in _held


def embed_utterance(
    wav: np.ndarray,
    using_partials: bool = True,
    return_partials: bool = False,
    partial_utterance_n_frames: int = PARTIAL_FRAMES,
    min_pad_coverage: float = 0.75,
    overlap: float = 0.5,
) -> np.ndarray | tuple[np.ndarray, np.ndarray | None, list[slice] | None]:
    """What preprocess_wav returns, float (n,) -> (E,) of length 1: mean over partials of 1.6 s, zero-padded if shorter.

    With return_partials also the partials' embeddings (P, E) and their places in the wave; both None without partials.
    """
    if not using_partials:
        embedding = _loaded().embed_whole(wav)
        return (embedding, None, None) if return_partials else embedding
    slices = compute_partial_slices(len(wav), partial_utterance_n_frames, min_pad_coverage, overlap)
    embedding, partials = _loaded().embed_utterance(wav, slices)
    return (embedding, partials, slices.wave) if return_partials else embedding


def embed_batch(wavs: Iterable[np.ndarray]) -> np.ndarray:
    """What preprocess_wav returns, for many -> (number of waves, E), the same as one by one but faster."""
    return _loaded().embed_batch(wavs)


def embed_speaker(wavs: Sequence[np.ndarray]) -> np.ndarray:
    """Several preprocessed utterances of one speaker -> (E,) of length 1."""
    return _loaded().embed_speaker(wavs)


def _loaded() -> SpeakerEmbedder:
    if not is_loaded():
        raise UserError("no encoder is loaded; call load_model(path) first")
    return _held["encoder"]
