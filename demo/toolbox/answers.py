"""What the page's buttons do."""

import contextlib
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from demo.toolbox import views
from demo.toolbox.messages import Messages, answer, answer_bit_by_bit
from demo.toolbox.models import Choice, Models
from demo.toolbox.session import Entry, Recorded, Session, Sessions
from demo.toolbox.speaking import Options, as_read, lines_of, seed_of, speak
from demo.toolbox.voices import Browser, add_recordings, of_encoder
from utils.boards.plot import MIN_UMAP_POINTS
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
            return *self._chosen(session, add_recordings(session, self._models, files, name)), None
        except (UserError, OSError) as error:
            self.messages.tell(error)
            return gr.skip(), gr.skip(), gr.skip(), None
        finally:
            for _, path in files:
                shutil.rmtree(path.parent, ignore_errors=True)  # a folder that holds this upload alone

    @answer
    def browse(self, dataset: str, speaker: str, utterance: str, request: gr.Request) -> tuple:
        return self._browse(dataset, speaker, utterance, self._session(request))

    def _browse(self, dataset: str, speaker: str, utterance: str, session: Session) -> tuple:
        path = self._browser.file(dataset, speaker, utterance)
        name = utterance if utterance.startswith(speaker) else f"{speaker} {utterance}"
        return self._chosen(session, add_recordings(session, self._models, [(path.name, path)], name))

    def _chosen(self, session: Session, recorded: Recorded) -> tuple:
        """dropdown, name, view"""
        choices = [(each.name, each.key) for each in session.voices.values()]
        return gr.update(choices=choices, value=recorded.key), recorded.name, views.voice(recorded)

    @answer
    def choose(self, key: str | None, request: gr.Request) -> tuple:
        recorded = self._session(request).voice(key)
        return recorded.name, views.voice(recorded)

    def _renamed(self, key: str | None, wanted: str, request: gr.Request) -> tuple[Session, Recorded]:
        session = self._session(request)
        recorded = session.voice(key)
        if wanted.strip():
            session.name_voice(recorded, wanted)
        return session, recorded

    @answer
    def rename(self, key: str | None, wanted: str, request: gr.Request) -> tuple:
        return self._chosen(*self._renamed(key, wanted, request))

    @answer
    def save_voice(self, key: str | None, wanted: str, request: gr.Request) -> dict:
        """wanted: its name, of which `rename` may hear later."""
        session, recorded = self._renamed(key, wanted, request)
        return {"url": views.url(session.save_voice(recorded)), "name": f"{recorded.name}.voice", "holds": [key]}

    @answer
    def datasets(self) -> dict:
        return _first(self._browser.datasets())

    @answer
    def speakers(self, dataset: str | None) -> tuple:
        """speakers, utterances"""
        found = self._browser.speakers(dataset) if dataset else []
        return _first(found), _first(list(self._browser.utterances(dataset, found[0])) if found else [])

    @answer
    def utterances(self, dataset: str, speaker: str | None) -> dict:
        return _first(list(self._browser.utterances(dataset, speaker)) if speaker else [])

    @answer
    def random(self, dataset: str, request: gr.Request) -> tuple:
        """speaker, utterance, dropdown, name, view"""
        speaker, utterance = self._browser.random(dataset)
        utterances = list(self._browser.utterances(dataset, speaker))
        shown = gr.update(value=speaker), gr.update(choices=utterances, value=utterance)
        return *shown, *self._browse(dataset, speaker, utterance, self._session(request))

    # ---- speaking

    @answer_bit_by_bit
    def speak(
        self, text: str, voice: str, seed: str, speed: float, pauses: float, sound: str, request: gr.Request
    ) -> Iterator[tuple]:
        """stream, status, the Stop button, history, look"""
        session, progress = self._session(request), None
        stream = {"run": uuid.uuid4().hex, "pieces": [], "stopped": False}
        try:
            options = Options(seed_of(seed or ""), speed, pauses, sound != "Vocoder").checked()
            lines, recorded = lines_of(text or ""), session.voice(voice)
            with contextlib.closing(speak(session, self._models, recorded, lines, options)) as said:
                for progress in said:
                    pieces = [*stream["pieces"], *([views.url(Path(progress.piece))] if progress.piece else [])]
                    stream = stream | {"pieces": pieces, "stopped": session.stop.is_set()}
                    yield stream, views.progress(progress), gr.update(interactive=True), *self._latest(session, progress.entry)
        except (UserError, OSError):
            if not session.speaking.locked():  # else another text is still spoken
                part = "Not all of it" if progress and progress.seconds else "Nothing"
                yield gr.skip(), views.status(f"{part} was said."), gr.update(interactive=False), gr.skip(), gr.skip()
            raise
        if stopped := session.stop.is_set():
            when = f"after {progress.seconds:.1f} s of speech" if progress.seconds else "before anything was said"
        status = f"Stopped {when}." if stopped else f"Said: {progress.seconds:.1f} s of speech."
        yield stream | {"stopped": stopped}, views.status(status), gr.update(interactive=False), gr.skip(), gr.skip()

    def _latest(self, session: Session, entry: Entry | None) -> tuple:
        """history, look"""
        return (views.history(session, entry.number), views.entry(entry)) if entry else (gr.skip(), gr.skip())

    @answer_bit_by_bit
    def again(
        self, voice: str, seed: str, speed: float, pauses: float, sound: str, request: gr.Request, event: gr.EventData
    ) -> Iterator[tuple]:
        text = self._session(request).entry(event._data.get("number")).text
        yield from self.speak(text, voice, seed, speed, pauses, sound, request)

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
        choices = [(f"{each.number} · {each.text[:50]} · {each.voice_name}", each.number) for each in session.entries.values()]
        last = [number for _, number in choices][-2:]
        chosen = [each if each in session.entries else usual for each, usual in zip((first, second), last, strict=False)]
        return tuple(gr.update(choices=choices, value=value) for value in (*chosen, None, None)[:2])

    @answer
    def compare(self, first: int | None, second: int | None, request: gr.Request) -> tuple:
        session = self._session(request)
        entries = [None if number is None else session.entry(number) for number in (first, second)]
        axis = max((len(each.spoken.wav) / each.spoken.sample_rate for each in entries if each), default=0.0)
        return tuple(views.entry(each, axis) if each else "" for each in entries)

    @answer
    def archive(self, request: gr.Request) -> dict:
        session = self._session(request)
        path = session.archive()
        return {"url": views.url(path), "name": "toolbox.zip", "holds": [*map(str, session.entries), *session.voices]}

    @answer_bit_by_bit
    def map(self, request: gr.Request) -> Iterator[str]:
        session = self._session(request)
        if "umap" not in sys.modules and len(session.voices) + len(session.entries) >= MIN_UMAP_POINTS:
            yield views.hint("UMAP gets ready; the first map takes up to a minute …")
        cloner = self._models.cloner(session.models)
        yield views.voice_map(session, [of_encoder(each, self._models, cloner) for each in list(session.voices.values())])

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
            return views.warning(f"{self.messages.sentence(error)}. Still in use: {session.models.named()}.")
        session.models = choice
        return views.warning(warning) + views.notes([f"In use: {choice.named()}."])


def _first(found: list[str]) -> dict:
    """A list to choose from, with its first item chosen."""
    return gr.update(choices=found, value=found[0] if found else None)
