"""The models that lie in saved_models/: which there are, and those in use, each loaded once."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from demo.cloner import Cloner
from demo.config import CloningSettings
from encoder.inference import SpeakerEmbedder
from synthesizer.config import ReadingSettings
from synthesizer.inference import Synthesizer
from utils.errors import UserError
from utils.models import checkpoint
from utils.models.checkpoint import STAGES, SUFFIXES
from utils.models.identity import differ
from vocoder.inference import Vocoder

MOST_LOADED = 4  # models of a stage that stay in memory
DEFAULT = "default"  # the run that is taken first


class Choice(NamedTuple):
    """Runs, by name."""

    encoder: str
    synthesizer: str
    vocoder: str

    def named(self) -> str:
        """In words."""
        return ", ".join(f"{stage} {run}" for stage, run in self._asdict().items())


class Turn:
    """A lock that nobody gets twice while another waits."""

    def __init__(self) -> None:
        self._next, self._held = threading.Lock(), threading.Lock()

    def __enter__(self) -> None:
        with self._next:
            self._held.acquire()

    def __exit__(self, *_: object) -> None:
        self._held.release()


class Models:
    """The models in a folder of runs. `turn` is held by whoever computes with one, for seconds at most."""

    def __init__(self, folder: Path, cpu: bool, settings: CloningSettings, reading: ReadingSettings) -> None:
        self.folder, self._settings, self._reading = folder, settings, reading
        self._device = torch.device("cpu" if cpu or not torch.cuda.is_available() else "cuda")
        self._loaded: dict[str, OrderedDict] = {stage: OrderedDict() for stage in (*STAGES, "cloner")}
        self.turn = Turn()

    def labels(self, stage: str) -> dict[str, str]:
        """run -> its name, step and size, for each run that has a model of this stage; the default run first."""
        return {run: _label(stage, path) for run, path in self._files(stage).items()}

    def first(self) -> Choice:
        """What is used at first. UserError if a stage has no model."""
        return Choice(*(self._path(stage, next(iter(self._files(stage)), "")).parent.name for stage in STAGES))

    def cloner(self, choice: Choice) -> Cloner:
        """The chosen models together; those that are in memory are not loaded again. UserError if one cannot be used, or if
        they do not belong together."""
        with self.turn:
            encoder = self._model("encoder", choice.encoder, SpeakerEmbedder)
            synthesizer = self._model("synthesizer", choice.synthesizer, partial(Synthesizer, reading=self._reading))
            vocoder = self._model("vocoder", choice.vocoder, Vocoder)
            key = (id(encoder), id(synthesizer), id(vocoder))
            return self._kept("cloner", key, lambda: Cloner(encoder, synthesizer, vocoder, self._settings))

    def warning(self, choice: Choice) -> str:
        """What is to be known of these models; "" for nothing."""
        cloner = self.cloner(choice)
        if differ(cloner.embedder.digests, trained_with := cloner.synthesizer.encoder_digests):
            return (
                f"The synthesizer of {choice.synthesizer} was trained with encoder {trained_with[0][:8]}, but that of "
                f"{choice.encoder} is {cloner.embedder.digests[0][:8]}; voices will be less alike."
            )
        return ""

    def _files(self, stage: str) -> dict[str, Path]:
        """run -> its file of this stage."""
        found = [path for suffix in SUFFIXES for path in self.folder.glob(f"*/{stage}{suffix}")]
        return {path.parent.name: path for path in sorted(found, key=lambda path: (path.parent.name != DEFAULT, path))}

    def _path(self, stage: str, run: str) -> Path:
        """Only names that `labels` gives lead to a file."""
        found = self._files(stage)
        if not found:
            fetch = "`make weights` downloads one. Else " if stage == "encoder" else ""
            raise UserError(
                f"{self.folder}: {stage}.pt is missing in the folder of every run. {fetch}train one, or name another folder of "
                "runs with --models"
            )
        if run not in found:
            raise UserError(f"{stage}.pt is missing in the folder of run {run!r}; choose one of {', '.join(sorted(found))}")
        return found[run]

    def _model(self, stage: str, run: str, load: Callable) -> Any:
        path = self._path(stage, run)
        key = (path, path.stat().st_mtime_ns)  # a file that training has replaced is loaded again
        return self._kept(stage, key, lambda: load(path, self._device))

    def _kept(self, kind: str, key: tuple, make: Callable) -> Any:
        kept = self._loaded[kind]
        if key not in kept:
            kept[key] = make()
        kept.move_to_end(key)
        while len(kept) > MOST_LOADED:
            kept.popitem(last=False)
        return kept[key]


def _label(stage: str, path: Path) -> str:
    about = path.stat()
    size = f"{about.st_size / 1e6:.1f} MB" if about.st_size >= 1e5 else f"{about.st_size / 1e3:.1f} kB"
    return f"{path.parent.name} · {_step(stage, path, about.st_mtime_ns)} · {size}"


@lru_cache(maxsize=256)
def _step(stage: str, path: Path, changed: int) -> str:
    """The step of a checkpoint, in words. changed: when the file was written."""
    try:
        content = checkpoint.load(path, stage, published=True)
        step = content.get("step", content.get("model_state", content).get("step"))
    except UserError:
        return "cannot be read"
    return "step unknown" if step is None else f"step {int(step):,}"
