"""Speaker embeddings of audio: `SpeakerEmbedder`, and functions that share one of them."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from encoder import audio
from encoder.audio import preprocess_wav, sampling_rate
from encoder.config import MEL_FORMAT, PARTIAL_FRAMES, VOLUME_DBFS, EncoderConfig
from encoder.model import SpeakerEncoder
from encoder.partials import Slices, compute_partial_slices, embed_partials, mean_embedding, partials_of_wave
from encoder.published import own_content
from utils.boards import plot
from utils.config import rebuilt
from utils.data import signals
from utils.data.audio import normalize_volume
from utils.data.levels import OVERSHOOT
from utils.data.quality import Quality, assess
from utils.errors import UserError
from utils.models import checkpoint, identity, size
from utils.models.device import choose_dtype
from utils.models.holder import Holder

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class SpeakerEmbedder:
    """An encoder from a checkpoint: of this project, of Real-Time-Voice-Cloning, or Resemblyzer's."""

    def __init__(
        self, path: str | Path | None = None, device: str | torch.device | None = None, precision: str = "fp32"
    ) -> None:
        """path None is the default encoder, device None the GPU if there is one. precision "bf16" is about twice as fast on
        CPUs that compute it, and "fp16" on GPUs; the embeddings are nearly the same (cosine over 0.999). "auto" is the one that
        the hardware has. UserError if the file is missing, damaged or not an encoder.
        """
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._dtype = choose_dtype(precision, self.device)
        self.path = checkpoint.or_default(path, "encoder")
        self.model = _load(self.path).to(self.device).eval()

    @property
    def embedding_size(self) -> int:
        return self.model.config.embedding_size

    @cached_property
    def digests(self) -> list[str]:
        """What identifies this encoder; see utils.models.identity."""
        return identity.digests(self.model.state_dict(), self.path)

    def embed_utterance(self, wav: np.ndarray, slices: Slices | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Preprocessed float wave (n,) -> its embedding (E,) and those of its partials (P, E), all of length 1."""
        (embeddings,) = self._embed_partials([partials_of(wav, slices)])
        return mean_embedding(embeddings), embeddings

    def embed_whole(self, wav: np.ndarray) -> np.ndarray:
        """Preprocessed float wave (n,) -> (E,), in one pass instead of by partials; the longer the wave, the worse."""
        (embedding,) = self._embed_partials([audio.wav_to_mel_spectrogram(_at_a_true_level(wav))[None]])
        return embedding[0]

    def embed_batch(self, wavs: Iterable[np.ndarray]) -> np.ndarray:
        """Preprocessed float waves (n_i,) -> (number of waves, E). Reads the waves one by one, as batches fill."""
        embeddings = [mean_embedding(each) for each in self._embed_partials(map(partials_of, wavs))]
        return np.stack(embeddings) if embeddings else np.zeros((0, self.embedding_size), dtype=np.float32)

    def embed_frames(self, frames_batch: np.ndarray) -> np.ndarray:
        """Mels of one length (B, T, 40), as encoder.audio makes them, such as the partials of an utterance -> (B, E)."""
        (embeddings,) = self._embed_partials([np.asarray(frames_batch, dtype=np.float32)])
        return embeddings

    def _embed_partials(self, utterances: Iterable[np.ndarray]) -> list[np.ndarray]:
        with torch.autocast(self.device.type, self._dtype, enabled=self._dtype is not None):
            return list(embed_partials(self.model, utterances))

    def assess(self, path_or_wav: str | Path | np.ndarray, source_sr: int | None = None) -> Quality:
        """How good a recording is as a reference, given as to preprocess_wav; `.warnings()` says what will cost likeness.
        UserError if there is no speech in it."""
        wav = preprocess_wav(path_or_wav, source_sr, normalize=False, trim_silence=False)
        speech = preprocess_wav(wav)
        return assess(wav, self.embed_utterance(speech)[1], len(speech) / sampling_rate)

    def embed_speaker(self, wavs: Sequence[np.ndarray]) -> np.ndarray:
        """Preprocessed utterances of one speaker -> (E,): the mean of their embeddings, scaled to length 1."""
        if getattr(wavs, "ndim", 0) == 1:
            raise signals.ArrayError("a list of waves is expected, not one wave: pass [wav]")
        if not len(wavs):
            raise UserError("no utterance of the speaker was given; at least one is needed")
        return mean_embedding(self.embed_batch(wavs))


def _at_a_true_level(wav: np.ndarray) -> np.ndarray:
    """A preprocessed wave of any layout and type -> float32 (n,). One that goes far beyond full scale gets the usual volume."""
    wav = signals.wave(wav)
    if np.abs(wav).max() <= OVERSHOOT:
        return wav
    return normalize_volume(wav, VOLUME_DBFS, increase_only=False)


def partials_of(wav: np.ndarray, slices: Slices | None = None) -> np.ndarray:
    """Preprocessed float wave (n,) -> the mels of its partials (P, T, 40), for `SpeakerEmbedder.embed_frames`."""
    wav = _at_a_true_level(wav)
    return partials_of_wave(wav, slices or compute_partial_slices(len(wav)))


def _load(path: Path) -> SpeakerEncoder:
    content = checkpoint.load(path, "encoder", published=True)
    with checkpoint.restoring(path, "encoder"):
        content = own_content(content)
        if content["mel"] != MEL_FORMAT:
            raise ValueError(f"its mel format is {content['mel']}, not {MEL_FORMAT}")
        state, config = content["model_state"], rebuilt(EncoderConfig, content["model"])
        model = size.of_state(lambda: SpeakerEncoder(config), state)
        own = {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
        model.load_state_dict(own)
    return model


# ---- the functions of Real-Time-Voice-Cloning, which share one encoder

_holder: Holder[SpeakerEmbedder] = Holder("encoder")


def load_model(path: str | Path | None = None, device: str | torch.device | None = None, precision: str = "auto") -> None:
    """Load the encoder that the functions below use (None: the default one) onto `device` (None: the GPU if there is one).

    precision as for SpeakerEmbedder; "auto" is that of the scripts, and "fp32" gives every digit.
    """
    _holder.model = SpeakerEmbedder(path, device, precision)


def is_loaded() -> bool:
    return _holder.is_loaded


def embed_utterance(
    wav: np.ndarray,
    using_partials: bool = True,
    return_partials: bool = False,
    partial_utterance_n_frames: int = PARTIAL_FRAMES,
    min_pad_coverage: float = 0.75,
    overlap: float = 0.5,
) -> np.ndarray | tuple[np.ndarray, np.ndarray | None, list[slice] | None]:
    """Wave (n,) from preprocess_wav -> (E,) of length 1: the mean over partials of 1.6 s, zero-padded if it is shorter.

    With return_partials also the embeddings of the partials (P, E) and their slices of the wave; both None without partials.
    """
    if not using_partials:
        embedding = _holder.model.embed_whole(wav)
        return (embedding, None, None) if return_partials else embedding
    wav = signals.wave(wav)
    slices = compute_partial_slices(len(wav), partial_utterance_n_frames, min_pad_coverage, overlap)
    embedding, partials = _holder.model.embed_utterance(wav, slices)
    return (embedding, partials, slices.wave) if return_partials else embedding


embed_batch = _holder.shared(SpeakerEmbedder.embed_batch)
embed_speaker = _holder.shared(SpeakerEmbedder.embed_speaker)
embed_frames_batch = _holder.shared(SpeakerEmbedder.embed_frames)
assess_reference = _holder.shared(SpeakerEmbedder.assess)


def plot_embedding_as_heatmap(
    embed: np.ndarray,
    ax: "Axes | None" = None,
    title: str = "",
    shape: tuple[int, int] | None = None,
    color_range: tuple[float, float] = (0, 0.30),
) -> None:
    """Draw an embedding (E,) on a matplotlib axis, by default the current one. Colours of two heat maps compare."""
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.gca()
    plot.embedding_heatmap(embed, ax, title, shape, color_range)
