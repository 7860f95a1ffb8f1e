"""What the page's buttons do."""

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from demo.toolbox import views
from demo.toolbox.messages import Messages, answer, answer_bit_by_bit
from demo.toolbox.models import Choice, Models
from demo.toolbox.session import Recorded, Session, Sessions
from demo.toolbox.speaking import Options, as_read, lines_of, speak
from demo.toolbox.voices import Browser, add_recordings, of_encoder
from utils.errors import UserError


class Answers:
    """Of one server to all its pages."""

    def __init__(self, models: Models, browser: Browser, sessions: Sessions) -> None:
        self._models, self._browser, self._sessions = models, browser, sessions
        self.messages = Messages((models.folder, browser.root, sessions.folder))

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
            self.messages.tell(error)
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
        recorded = session.voice(voice)
        stream = {"run": uuid.uuid4().hex, "pieces": [], "stopped": False}
        nothing, progress = (gr.skip(), gr.skip()), None
        try:
            with contextlib.closing(speak(session, self._models, recorded, lines, options)) as said:
                for progress in said:
                    pieces = [*stream["pieces"], *([views.url(Path(progress.piece))] if progress.piece else [])]
                    stream = stream | {"pieces": pieces, "stopped": session.stop.is_set()}
                    number = progress.entry and progress.entry.number
                    latest = (views.history(session, number), views.entry(progress.entry)) if progress.entry else nothing
                    yield stream, views.progress(progress), *latest
        except (UserError, OSError):
            if progress:  # another text may still be spoken
                yield stream, views.status("Not all of it was said."), *nothing
            raise
        if session.stop.is_set():
            when = f"after {progress.seconds:.1f} s of speech" if progress.seconds else "before anything was said"
            yield stream | {"stopped": True}, views.status(f"Stopped {when}."), *nothing
        else:
            yield stream, views.status(f"Said: {progress.seconds:.1f} s of speech."), *nothing

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
        return views.voice_map(session, voices)

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
            return views.warning(f"{self.messages.of(error)}. Still in use: {session.models.named()}.")
        session.models = choice
        return views.warning(warning) + views.notes([f"In use: {choice.named()}."])
