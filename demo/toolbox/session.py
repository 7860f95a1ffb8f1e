"""What one browser tab has made: its voices and its history, whose files are removed when the tab is closed."""

import csv
import io
import os
import shutil
import tempfile
import threading
import uuid
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from demo.spoken import Spoken, save_picture
from demo.toolbox.models import Choice
from demo.voice_file import Voice, save
from utils.corpora.layout import disk_name
from utils.data.quality import LITTLE_SPEECH
from utils.errors import UserError

LONGEST_PIECE = 60  # s that a piece may take to be made
MOST_ENTRIES = 200  # of a history; the oldest are dropped
LOST = "that is no longer there; this page has lost its connection for a while, reload it"


@dataclass
class Recorded:
    """A voice of the session. Its name may change; its key never does."""

    name: str
    voice: Voice
    speech: np.ndarray  # float32 (n,) at 16 kHz, without pauses; empty for one that was loaded from a file
    notes: list[str]  # what the user should know of the recordings
    wav: Path | None  # the speech
    itself: float | None  # cosine of its halves
    key: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass
class Entry:
    """Something that was said."""

    number: int
    text: str
    recorded: Recorded
    voice: Voice  # as it was then
    models: Choice
    sound: str  # "vocoder" or "Griffin-Lim"
    seed: int
    speed: float
    pauses: float  # times the model's own
    wav: Path
    seconds: float
    spoken: Spoken  # the first minute of it
    embedding: np.ndarray | None  # None if there is no speech in it
    speech: float  # s of speech found in it
    itself: float | None  # of the voice: cosine of its halves
    notes: list[str]

    @property
    def voice_name(self) -> str:
        return self.recorded.name

    @property
    def cosine(self) -> float | None:
        """Between what was said and its reference; None where one of them is too short for the encoder."""
        if self.embedding is None or min(self.speech, self.voice.seconds) < LITTLE_SPEECH:
            return None
        return float(self.embedding @ self.voice.embedding)

    @property
    def facts(self) -> dict[str, str]:
        """What made it, in the order in which it is shown."""
        choices = {"voice": self.voice_name, **self.models._asdict(), "sound": self.sound, "seed": str(self.seed)}
        if self.sound != "vocoder":
            del choices["vocoder"]
        return choices | {
            "speed": f"{self.speed:g}",
            "pauses": f"x {self.pauses:g}",
            "length": f"{self.seconds:.1f} s, made in {self.spoken.took:.1f} s",
        }


@dataclass
class Session:
    """Of one tab."""

    folder: Path
    models: Choice
    voices: dict[str, Recorded] = field(default_factory=dict)  # by key
    entries: dict[int, Entry] = field(default_factory=dict)
    n_said: int = 0
    stop: threading.Event = field(default_factory=threading.Event)  # what is being said ends
    speaking: threading.Lock = field(default_factory=threading.Lock)  # one text at a time
    closed: bool = False

    def new_file(self, suffix: str) -> Path:
        """A path for a file. Its name says nothing and cannot be guessed."""
        if self.closed:
            raise UserError("this page was closed; reload it")
        return self.folder / f"{uuid.uuid4().hex}{suffix}"

    def add_voice(self, recorded: Recorded) -> Recorded:
        self.name_voice(recorded, recorded.name)
        self.voices[recorded.key] = recorded
        return recorded

    def name_voice(self, recorded: Recorded, wanted: str) -> None:
        """Give a voice a name that can be shown: in one line, not too long, and no other voice's."""
        name = " ".join("".join(c if c.isprintable() else " " for c in wanted).split())[:60] or "voice"
        taken = {each.name for each in self.voices.values() if each is not recorded}
        names = (name, *(f"{name} {number}" for number in range(2, len(taken) + 2)))
        recorded.name = next(each for each in names if each not in taken)

    def voice(self, key: str | None) -> Recorded:
        if not key:
            raise UserError("choose a voice first: record one, upload a recording, or browse")
        if key not in self.voices:
            raise UserError(LOST)
        return self.voices[key]

    def entry(self, number: int | None) -> Entry:
        if number not in self.entries:
            raise UserError(LOST)
        return self.entries[number]

    def add_entry(self, entry: Entry) -> None:
        self.entries[entry.number] = entry
        while len(self.entries) > MOST_ENTRIES:
            oldest = self.entries.pop(next(iter(self.entries)))
            oldest.wav.unlink(missing_ok=True)

    def close(self) -> None:
        self.closed = True
        self.stop.set()
        self.speaking.acquire(timeout=LONGEST_PIECE)  # until the present piece is finished
        shutil.rmtree(self.folder, ignore_errors=True)

    def save_voice(self, recorded: Recorded) -> Path:
        path = self.new_file(".voice")
        save(path, recorded.voice._replace(source=recorded.voice.source or recorded.name))
        return path

    def archive(self) -> Path:
        """Everything as one zip: sounds, pictures, voices, and a table of what made what."""
        if not self.entries and not self.voices:
            raise UserError("there is nothing to download yet")
        path = self.new_file(".zip")
        with zipfile.ZipFile(path, "w") as archive:
            rows = []
            for entry in self.entries.values():
                name = disk_name(f"{entry.number:03d} {entry.voice_name} {entry.text[:40].strip()}")
                archive.write(entry.wav, f"{name}.wav")
                picture = self.new_file(".png")
                save_picture(picture, entry.spoken)
                archive.write(picture, f"{name}.png")
                picture.unlink()
                cosine = "" if entry.cosine is None else f"{entry.cosine:.3f}"
                rows.append({"file": f"{name}.wav", "text": entry.text, **entry.facts, "cosine": cosine})
            archive.writestr("said.csv", _table(rows))
            for recorded in self.voices.values():
                name, saved = disk_name(recorded.name), self.save_voice(recorded)
                archive.write(saved, f"voices/{name}.voice")
                saved.unlink()
                if recorded.wav:
                    archive.write(recorded.wav, f"voices/{name}.wav")
        return path


def _table(rows: Sequence[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


class Sessions:
    """All tabs that are open. Their files lie in one folder, which goes with the server."""

    def __init__(self, models: Choice) -> None:
        self.folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="sv2tts-toolbox-")))
        self._models = models
        self._open: dict[str, Session] = {}
        self._lock = threading.Lock()

    def of(self, tab: str) -> Session:
        with self._lock:
            if tab not in self._open:
                folder = Path(tempfile.mkdtemp(dir=self.folder))
                self._open[tab] = Session(folder, self._models)
            return self._open[tab]

    def close(self, tab: str) -> None:
        with self._lock:
            session = self._open.pop(tab, None)
        if session:
            session.close()

    def close_all(self) -> None:
        for tab in list(self._open):
            self.close(tab)
        shutil.rmtree(self.folder, ignore_errors=True)
