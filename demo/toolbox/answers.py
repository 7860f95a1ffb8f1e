"""What the page's buttons do. A user's mistake becomes a message in the page, and changes nothing else."""

import contextlib
import functools
import html
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from demo.toolbox import pictures, views
from demo.toolbox.models import Choice, Models
from demo.toolbox.session import Recorded, Session, Sessions
from demo.toolbox.speaking import Options, as_read, lines_of, speak
from demo.toolbox.voices import Browser, add_recordings, of_encoder
from utils.boards.plot import project
from utils.errors import UserError

SHOWN = 20.0  # s that a message stays


def answer(function: Callable) -> Callable:
    """The function, with an error of the user's as a message."""

    @functools.wraps(function)
    def answered(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (UserError, OSError) as error:
            tell(error)
            return gr.skip()

    return answered


def answer_bit_by_bit(function: Callable) -> Callable:
    """The same for a generator."""

    @functools.wraps(function)
    def answered(*arguments: Any) -> Iterator[Any]:
        try:
            yield from function(*arguments)
        except (UserError, OSError) as error:
            tell(error)
            yield gr.skip()

    return answered


def tell(error: Exception) -> None:
    text = str(error) if isinstance(error, UserError) else f"the server cannot read or write a file: {error.strerror}"
    if text.split(" ")[0].isalpha():  # not a file's name
        text = text[0].upper() + text[1:]
    gr.Warning(html.escape(text), duration=SHOWN, title="Not possible")


class Answers:
    """Of one server to all its pages."""

    def __init__(self, models: Models, browser: Browser, sessions: Sessions) -> None:
        self._models, self._browser, self._sessions = models, browser, sessions

    def _session(self, request: gr.Request) -> Session:
        return self._sessions.of(request.session_hash or "")

    def close(self, request: gr.Request) -> None:
        """The tab is gone."""
        self._sessions.close(request.session_hash or "")

    # ---- voices

    def upload(self, files: list[str] | None, request: gr.Request) -> tuple:
        return self._add([(Path(file).name, Path(file)) for file in files or []], request)

    def record(self, file: str | None, request: gr.Request) -> tuple:
        return self._add([("the recording", Path(file))], request, "recording") if file else gr.skip()

    def _add(self, files: list[tuple[str, Path]], request: gr.Request, name: str = "") -> tuple:
        """A voice of these files of the page, which are removed, from the page too."""
        session = self._session(request)
        try:
            with self._models.turn:
                recorded = add_recordings(session, self._models.cloner(session.models), files, name)
            return *self._chosen(session, recorded), None
        except (UserError, OSError) as error:
            tell(error)
            return gr.skip(), gr.skip(), gr.skip(), None
        finally:
            for _, path in files:
                shutil.rmtree(path.parent, ignore_errors=True)  # a folder that holds this upload alone

    @answer
    def browse(self, dataset: str, speaker: str, utterance: str, request: gr.Request) -> tuple:
        session, path = self._session(request), self._browser.file(dataset, speaker, utterance)
        with self._models.turn:
            cloner = self._models.cloner(session.models)
            name = utterance if utterance.startswith(speaker) else f"{speaker} {utterance}"
            recorded = add_recordings(session, cloner, [(path.name, path)], name)
        return self._chosen(session, recorded)

    def _chosen(self, session: Session, recorded: Recorded) -> tuple:
        """dropdown, name, view"""
        return gr.update(choices=list(session.voices), value=recorded.name), recorded.name, views.voice(recorded)

    @answer
    def choose(self, name: str | None, request: gr.Request) -> tuple:
        recorded = self._session(request).voice(name)
        return recorded.name, views.voice(recorded)

    @answer
    def rename(self, name: str | None, wanted: str, request: gr.Request) -> tuple:
        session = self._session(request)
        recorded = session.voice(name)
        if wanted.strip() and wanted != name:
            del session.voices[recorded.name]
            recorded.name = session.free_name(wanted)
            session.voices[recorded.name] = recorded
        return self._chosen(session, recorded)

    @answer
    def save_voice(self, name: str | None, request: gr.Request) -> dict:
        return {"url": views.url(self._session(request).save_voice(name or "")), "name": f"{name}.voice"}

    @answer
    def datasets(self) -> dict:
        found = self._browser.datasets()
        return gr.update(choices=found, value=found[0] if found else None)

    @answer
    def speakers(self, dataset: str | None) -> dict:
        found = self._browser.speakers(dataset) if dataset else []
        return gr.update(choices=found, value=found[0] if found else None)

    @answer
    def utterances(self, dataset: str, speaker: str | None) -> dict:
        found = list(self._browser.utterances(dataset, speaker)) if speaker else []
        return gr.update(choices=found, value=found[0] if found else None)

    @answer
    def random(self, dataset: str, request: gr.Request) -> tuple:
        speaker, utterance = self._browser.random(dataset)
        return self.browse(dataset, speaker, utterance, request)

    # ---- speaking

    @answer_bit_by_bit
    def speak(
        self, text: str, voice: str, seed: float | None, speed: float, pauses: float, sound: str, request: gr.Request
    ) -> Iterator[tuple]:
        """stream, status, history, look"""
        options = Options(None if seed is None else int(seed), speed, pauses, sound != "Vocoder").checked()
        yield from self._speak(self._session(request), voice, lines_of(text or ""), options)

    @answer_bit_by_bit
    def again(
        self, voice: str, seed: float | None, speed: float, pauses: float, sound: str, request: gr.Request, event: gr.EventData
    ) -> Iterator[tuple]:
        text = self._session(request).entry(event._data.get("number")).text
        yield from self.speak(text, voice, seed, speed, pauses, sound, request)

    def _speak(self, session: Session, voice: str, lines: list[str], options: Options) -> Iterator[tuple]:
        try:
            yield from self._said(session, voice, lines, options)
        except (UserError, OSError):
            yield gr.skip(), views.status("Not all of it was said."), gr.skip(), gr.skip()
            raise

    def _said(self, session: Session, voice: str, lines: list[str], options: Options) -> Iterator[tuple]:
        recorded = session.voice(voice)
        stream = {"run": uuid.uuid4().hex, "pieces": [], "stopped": False}
        nothing = (gr.skip(), gr.skip())
        yield stream, views.status("Reading the text …", 0, True), *nothing
        progress = None
        with contextlib.closing(speak(session, self._models, recorded, lines, options)) as said:
            for progress in said:
                pieces = [*stream["pieces"], *([views.url(Path(progress.piece))] if progress.piece else [])]
                stream = stream | {"pieces": pieces, "stopped": session.stop.is_set()}
                share = progress.n_done / progress.n_pieces
                text = f"{progress.n_done} of {progress.n_pieces} pieces, {progress.seconds:.1f} s of speech so far"
                number = progress.entry and progress.entry.number
                latest = (views.history(session, number), views.entry(progress.entry)) if progress.entry else nothing
                yield stream, views.status(text, share, True), *latest
        if progress is None:
            yield stream | {"stopped": True}, views.status("Stopped before anything was said."), *nothing
        else:
            done = "Stopped after" if session.stop.is_set() else "Said:"
            yield stream, views.status(f"{done} {progress.seconds:.1f} s of speech."), *nothing

    @answer
    def stop(self, request: gr.Request) -> None:
        self._session(request).stop.set()

    @answer
    def show(self, request: gr.Request, event: gr.EventData) -> tuple:
        session = self._session(request)
        entry = session.entry(event._data.get("number"))
        return views.history(session, entry.number), views.entry(entry)

    @answer
    def as_read(self, text: str, request: gr.Request) -> str:
        cloner = self._models.cloner(self._session(request).models)
        return views.as_read(as_read(cloner, lines_of(text or "")))

    # ---- comparing

    def entries(self, first: int | None, second: int | None, request: gr.Request) -> tuple:
        """Two lists of the history; the last two entries unless others are chosen."""
        session = self._session(request)
        choices = [(f"{each.number} · {each.voice_name} · {each.text[:50]}", each.number) for each in session.entries.values()]
        last = [number for _, number in choices][-2:]
        chosen = [each if each in session.entries else usual for each, usual in zip((first, second), last, strict=False)]
        return tuple(gr.update(choices=choices, value=value) for value in (*chosen, None, None)[:2])

    @answer
    def compare(self, first: int | None, second: int | None, request: gr.Request) -> tuple:
        session = self._session(request)
        return tuple("" if number is None else views.entry(session.entry(number)) for number in (first, second))

    @answer
    def archive(self, request: gr.Request) -> dict:
        return {"url": views.url(self._session(request).archive()), "name": "toolbox.zip"}

    @answer
    def map(self, request: gr.Request) -> str:
        session = self._session(request)
        with self._models.turn:
            cloner = self._models.cloner(session.models)
            voices = [of_encoder(each, cloner) for each in session.voices.values()]
        groups = {each.name: i for i, each in enumerate(voices)}
        found = [
            (each.voice.embedding, pictures.Point(each.name, groups[each.name], True, views.url(each.wav))) for each in voices
        ]
        for each in session.entries.values():
            if each.embedding is not None and each.models.encoder == session.models.encoder:
                label = f"{each.number} · {each.voice_name}: {each.text[:60]}"
                point = pictures.Point(label, groups.setdefault(each.voice_name, len(groups)), False, views.url(each.wav))
                found.append((each.embedding, point))
        if len(found) < 2:
            return '<p class="tb-hint">Add voices and say something: with two or more, they are shown here.</p>'
        points, method = project(np.stack([embedding for embedding, _ in found]))
        return pictures.voice_map(points, [point for _, point in found], method)

    # ---- models

    def models(self, request: gr.Request) -> tuple:
        """What lies in the folder now."""
        chosen = self._session(request).models
        found = (self._models.labels(stage) for stage in Choice._fields)
        return tuple(
            gr.update(choices=[(label, run) for run, label in labels.items()], value=run if run in labels else None)
            for run, labels in zip(chosen, found, strict=True)
        )

    def use(self, encoder: str, synthesizer: str, vocoder: str, request: gr.Request) -> str:
        """Load what changed. Models that cannot be used leave the former ones in use, and say why."""
        session, choice = self._session(request), Choice(encoder or "", synthesizer or "", vocoder or "")
        try:
            warning = self._models.warning(choice)
        except UserError as error:
            return views.warning(f"{error}. Still in use: {', '.join(session.models)}.")
        session.models = choice
        names = ", ".join(f"{stage} {run}" for stage, run in choice._asdict().items())
        return views.warning(warning) + views.notes([f"In use: {names}."])
