"""A voice as a small safetensors file: one embedding, and which encoder made it, of what."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from utils.data.paths import one_field, write_atomically
from utils.errors import UserError
from utils.models import safe_tensors
from utils.models.identity import differ

if TYPE_CHECKING:
    from encoder.inference import SpeakerEmbedder

FORMAT = "sv2tts-voice-1"
SUFFIX = ".voice"
LARGEST = 1_000_000  # bytes; a file has about 1,300
LONGEST_SOURCE = 200  # characters


class Voice(NamedTuple):
    """What is known of the voice in some recordings."""

    embedding: np.ndarray  # float32 (speaker_size,), of length 1
    pace: float | None  # syllables a second, about; None if the recordings are too short to tell
    seconds: float = 0.0  # of speech, in all recordings
    source: str = ""  # the recordings' names, or what it was blended from
    encoder: str = ""  # digest of the encoder; "" if not known

    def check_encoder(self, embedder: "SpeakerEmbedder") -> None:
        """Raises UserError if another encoder made this voice."""
        if self.encoder and differ([self.encoder], embedder.digests):
            raise UserError(
                f"this voice ({self.source}) is of encoder {self.encoder[:8]}, but {embedder.path} is encoder "
                f"{embedder.digests[0][:8]}; use the same encoder, or make the voice again from its recordings"
            )


def save(path: Path, voice: Voice) -> None:
    """Write a voice to a file, atomically. Raises UserError for a name that does not end in .voice."""
    if path.suffix.lower() != SUFFIX:
        raise UserError(f"{path}: name a {SUFFIX} file")
    from safetensors.numpy import save as serialized

    known = {"format": FORMAT, "encoder_sha256": voice.encoder, "seconds": f"{voice.seconds:.2f}"}
    known["source"] = one_field(voice.source)[:LONGEST_SOURCE]
    if voice.pace is not None:
        known["pace"] = f"{voice.pace:.3f}"
    with write_atomically(path) as temporary:
        temporary.write_bytes(serialized({"embedding": voice.embedding.astype(np.float32)}, known))


def load(path: Path, embedder: "SpeakerEmbedder") -> Voice:
    """Read a voice for models that were trained with this encoder.

    Raises UserError if the file is missing, damaged or something else, and if another encoder made the voice.
    """
    if not path.is_file():
        raise UserError(f"{path}: {'is a folder, not a voice' if path.is_dir() else 'no such file'}")
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST:,} bytes")
        voice = _read(path)
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else one_field(str(error))[:LONGEST_SOURCE]
        raise UserError(f"{path}: is not a voice file, or is damaged ({reason}); save the voice again") from error
    try:
        voice.check_encoder(embedder)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if len(voice.embedding) != embedder.embedding_size:
        raise UserError(
            f"{path}: its embedding has {len(voice.embedding)} numbers, but {embedder.path} makes {embedder.embedding_size}"
        )
    return voice


def _read(path: Path) -> Voice:
    """Raises ValueError, KeyError or TypeError for whatever `save` did not write."""
    known, tensors = safe_tensors.read(path)
    stored = tensors["embedding"]
    if known["format"] != FORMAT:
        raise ValueError(f"its format is {known['format']!r}, not {FORMAT!r}")
    embedding = np.frombuffer(bytearray(stored.data), "<f4") if stored.dtype == "F32" else np.zeros(0, np.float32)
    if len(stored.shape) != 1 or not abs(np.linalg.norm(embedding.astype(np.float64)) - 1) < 1e-2:
        raise ValueError("its embedding is not a float32 vector of length 1")
    if not re.fullmatch(r"([0-9a-f]{64})?", known["encoder_sha256"]):
        raise ValueError("its encoder_sha256 is no digest")
    pace = _number(known["pace"]) if "pace" in known else None
    source = "".join(filter(str.isprintable, one_field(known["source"])))[:LONGEST_SOURCE]  # a terminal obeys the others
    return Voice(embedding, pace, _number(known["seconds"]), source, known["encoder_sha256"])


def _number(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(f"{text!r} is not a length or a pace")
    return number


def load_blend(weighted: Sequence[tuple[Path, float]], embedder: "SpeakerEmbedder") -> Voice:
    """The voice between those in the files, each as strong as its weight; of a single file, its own."""
    weights = [weight for _, weight in weighted]
    _check_weights(weights)
    voices = [load(path, embedder) for path, _ in weighted]
    return voices[0] if len(voices) == 1 else blend(voices, weights)


def _check_weights(weights: Sequence[float]) -> None:
    if not all(0 <= weight < math.inf for weight in weights) or not sum(weights):
        raise UserError(f"the weights of voices must be 0 or more, and one of them more than 0, not {[*map(float, weights)]}")


def blend(voices: Sequence[Voice], weights: Sequence[float]) -> Voice:
    """A voice between others, each as strong as its weight. Raises UserError if it cannot be made of these."""
    if len(voices) != len(weights) or not voices:
        raise UserError(f"{len(voices)} voices need as many weights, not {len(weights)}")
    _check_weights(weights)
    encoders = sorted({voice.encoder for voice in voices if voice.encoder})
    if len(encoders) > 1 or len({len(voice.embedding) for voice in voices}) > 1:
        named = " and ".join(encoder[:8] for encoder in encoders)
        raise UserError(f"voices of different encoders cannot be blended ({named}); make them again with one encoder")
    shares = np.asarray(weights, np.float64) / sum(weights)
    mean = sum(share * voice.embedding for share, voice in zip(shares, voices, strict=True))
    if not (length := np.linalg.norm(mean)) > 1e-3:
        raise UserError("these voices cancel each other out; choose other weights")
    used = [(share, voice) for share, voice in zip(shares, voices, strict=True) if share]
    paces = [voice.pace for _, voice in used]
    pace = None if None in paces else float(sum(share * voice.pace for share, voice in used))
    source = " + ".join(f"{share:.0%} {voice.source}".strip() for share, voice in used)[:LONGEST_SOURCE]
    seconds = sum(voice.seconds for _, voice in used)
    return Voice((mean / length).astype(np.float32), pace, seconds, source, encoders[0] if encoders else "")
