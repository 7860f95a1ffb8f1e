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
from utils.errors import UserError

LONGEST_PIECE = 60  # s that a piece may take to be made
MOST_ENTRIES = 200  # of a history; the oldest are dropped


@dataclass
class Recorded:
    """A voice of the session."""

    name: str
    voice: Voice
    speech: np.ndarray  # float32 (n,) at 16 kHz, without pauses; empty for one that was loaded from a file
    notes: list[str]  # what the user should know of the recordings
    wav: Path | None  # the speech
    itself: float | None  # cosine of its halves


@dataclass
class Entry:
    """Something that was said."""

    number: int
    text: str
    voice: Voice
    voice_name: str
    models: Choice
    sound: str  # "vocoder" or "Griffin-Lim"
    seed: int
    speed: float
    pauses: float  # times the model's own
    wav: Path
    seconds: float
    spoken: Spoken  # the first minute of it
    embedding: np.ndarray | None  # None if there is no speech in it
    itself: float | None  # of the voice: cosine of its halves
    notes: list[str]

    @property
    def cosine(self) -> float | None:
        """Between what was said and its reference."""
        return None if self.embedding is None else float(self.embedding @ self.voice.embedding)

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
            "cosine": "no speech found" if self.cosine is None else f"{self.cosine:.3f}",
        }


@dataclass
class Session:
    """Of one tab."""

    folder: Path
    models: Choice
    voices: dict[str, Recorded] = field(default_factory=dict)
    entries: dict[int, Entry] = field(default_factory=dict)
    n_said: int = 0
    stop: threading.Event = field(default_factory=threading.Event)  # what is being said ends after the present piece
    speaking: threading.Lock = field(default_factory=threading.Lock)  # one text at a time
    closed: bool = False

    def new_file(self, suffix: str) -> Path:
        """A path for a file. Its name says nothing and cannot be guessed."""
        if self.closed:
            raise UserError("this page was closed; reload it")
        return self.folder / f"{uuid.uuid4().hex}{suffix}"

    def free_name(self, wanted: str) -> str:
        """A voice's name as it is shown: in one line, not too long, and not taken."""
        name = " ".join("".join(c if c.isprintable() else " " for c in wanted).split())[:60] or "voice"
        number = 2
        while (found := name if number == 2 else f"{name} {number - 1}") in self.voices:
            number += 1
        return found

    def voice(self, name: str | None) -> Recorded:
        if name not in self.voices:
            raise UserError(
                "choose a voice first: record one, upload a recording, or browse" if not name else f"no voice {name!r}"
            )
        return self.voices[name]

    def entry(self, number: int | None) -> Entry:
        if number not in self.entries:
            raise UserError("that is no longer there; this page has lost its connection for a while, reload it")
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

    def save_voice(self, name: str) -> Path:
        path = self.new_file(".voice")
        save(path, self.voice(name).voice._replace(source=self.voice(name).voice.source or name))
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
                rows.append({"file": f"{name}.wav", "text": entry.text, **entry.facts})
            archive.writestr("said.csv", _table(rows))
            for name, recorded in self.voices.items():
                saved = self.save_voice(name)
                archive.write(saved, f"voices/{disk_name(name)}.voice")
                saved.unlink()
                if recorded.wav:
                    archive.write(recorded.wav, f"voices/{disk_name(name)}.wav")
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
