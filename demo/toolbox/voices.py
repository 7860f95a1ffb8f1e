"""Voices of a session: from recordings, .voice files and corpora."""

import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from demo import voice_file
from demo.cloner import Cloner, reference, usable
from demo.toolbox.models import Models
from demo.toolbox.session import Recorded, Session
from encoder.inference import mean_embedding, partials_of
from utils.corpora import registry
from utils.corpora.layout import Speaker
from utils.data import audio, quality
from utils.errors import UserError

ENOUGH = 5.0  # seconds of speech
BEST = f"{ENOUGH:.0f} to 15 s of clean speech work best."
AT_ONCE = 32  # partials embedded in one turn: about a second


def add_recordings(session: Session, models: Models, files: Sequence[tuple[str, Path]], name: str = "") -> Recorded:
    """A voice from files of one person, each with the name that the user knows. A .voice file is a voice already.

    Notes which files were left out, as they cannot be used. Raises UserError that names the files if none can.
    """
    if not files:
        raise UserError("no file was given")
    cloner = models.cloner(session.models)
    if len(files) == 1 and files[0][0].lower().endswith(voice_file.SUFFIX):
        return _add_saved(session, cloner, *files[0])
    found, errors = usable(files, lambda file: _named(*file, lambda: reference(file[1])))
    speech, notes = [each for _, (each, _) in found], [f"left out: {error}" for error in errors]
    for (label, _), (_, about) in found:
        notes += [f"{label}: {line}" for line in about] if len(files) > 1 else about
    whole = np.concatenate(speech)
    partials = [_partials(models, cloner, each) for each in speech]
    if quality.has_two_voices(np.concatenate(partials)):
        notes.append(": ".join(quality.SEVERAL))
    voice = cloner.voice_of_partials(partials, speech, ", ".join(label for (label, _), _ in found))
    wav = session.new_file(".wav")
    audio.write_wav(wav, whole)
    itself = cosine_of_halves(np.concatenate(partials))
    return session.add_voice(Recorded(name or Path(found[0][0][0]).stem, voice, whole, notes, wav, itself))


def _add_saved(session: Session, cloner: Cloner, label: str, path: Path) -> Recorded:
    voice = _named(label, path, lambda: voice_file.load(path, cloner.embedder))
    notes = ["Loaded from a file: there is no sound of it."]
    return session.add_voice(Recorded(Path(label).stem, voice, np.zeros(0, np.float32), notes, None, None))


def _named(label: str, path: Path, read: Callable) -> Any:
    """What `read` gives; its errors name the file as the user does."""
    try:
        return read()
    except (UserError, OSError) as error:
        raise UserError(str(error).replace(str(path), label)) from error


def _partials(models: Models, cloner: Cloner, speech: np.ndarray) -> np.ndarray:
    """Speech (n,) -> embeddings of its partials (P, E)."""
    mels, found = partials_of(speech), []
    for start in range(0, len(mels), AT_ONCE):
        with models.turn:
            found.append(cloner.embedder.embed_frames(mels[start : start + AT_ONCE]))
    return np.concatenate(found)


def cosine_of_halves(partials: np.ndarray) -> float | None:
    """How alike the voice in the two halves of a recording is; None if it is too short to tell. Neighbours overlap, so one in
    the middle is left out."""
    middle = len(partials) // 2
    if len(partials) < 3:
        return None
    return float(mean_embedding(partials[:middle]) @ mean_embedding(partials[middle + 1 :]))


def of_encoder(recorded: Recorded, models: Models, cloner: Cloner) -> Recorded:
    """The voice for this encoder: embedded again if another one made it. UserError if that cannot be done."""
    if recorded.voice.encoder != cloner.embedder.digests[0]:
        if not len(recorded.speech):
            recorded.voice.check_encoder(cloner.embedder)
            return recorded
        partials = _partials(models, cloner, recorded.speech)
        recorded.voice = cloner.voice_of_partials([partials], [recorded.speech], recorded.voice.source)
        recorded.itself = cosine_of_halves(partials)
    return recorded


def how_much(voice: voice_file.Voice) -> str:
    """Whether there is enough speech, in words; where there is very little, `quality` says so."""
    found = f"{voice.seconds:.1f} s of speech"
    if voice.seconds < quality.LITTLE_SPEECH:
        return f"{found}."
    return f"{found}: enough." if voice.seconds >= ENOUGH else f"{found}: short. {BEST}"


class Browser:
    """Corpora below datasets_root. Whatever the page names is looked up among what was found."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._speakers = lru_cache(maxsize=16)(self._find_speakers)

    def datasets(self) -> list[str]:
        return registry.datasets_in(self.root)

    def speakers(self, dataset: str) -> list[str]:
        """UserError if there are none."""
        return list(self._speakers(dataset))

    def _find_speakers(self, dataset: str) -> dict[str, Speaker]:
        if dataset not in self.datasets():
            raise UserError("choose a dataset first")
        return {speaker.name: speaker for speaker in registry.find_speakers(self.root, [dataset])}

    def utterances(self, dataset: str, speaker: str) -> dict[str, Path]:
        """name -> file"""
        found = self._speakers(dataset)
        if speaker not in found:
            raise UserError("choose a speaker first")
        return {each.name: each.path for each in registry.list_utterances(found[speaker]).utterances}

    def file(self, dataset: str, speaker: str, utterance: str) -> Path:
        found = self.utterances(dataset, speaker)
        if utterance not in found:
            raise UserError("choose an utterance first")
        return found[utterance]

    def random(self, dataset: str) -> tuple[str, str]:
        """A speaker and one of its utterances. UserError if a few that are tried have none."""
        for _ in range(20):
            speaker = random.choice(self.speakers(dataset))
            if found := list(self.utterances(dataset, speaker)):
                return speaker, random.choice(found)
        raise UserError(f"{dataset}: no utterances found")
