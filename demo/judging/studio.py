"""What is judged: speech in cloned voices, copies of the recordings, and the recordings, as files in one folder.

    <output>/speech/<voice>/<text>.wav     /copy/<voice>/<recording>.wav     /recording/<voice>/<recording>.wav

A JSON file beside each wave holds what it was made from and what is known about it, so that a run continues where it stopped.
"""

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from tqdm import tqdm

from demo.judging.judges import Judge, Voice, audible, not_yet_judged
from demo.judging.results import Utterance
from demo.judging.words import errors
from utils.corpora.layout import AUDIO_SUFFIXES
from utils.data import audio
from utils.data.mel_format import MelFormat
from utils.data.paths import read_text, save_text, sha256, write_atomically
from utils.data.tables import json_object
from utils.errors import UserError

if TYPE_CHECKING:
    from demo.cloner import Cloner
    from demo.spoken import Spoken

SHORTEST = 0.5  # s, of a recording
LONGEST_GAP = 1.2  # s; the pause after a paragraph is shorter
SILENT = 35.0  # dB under the loud parts
FRAME, HOP = 0.02, 0.01  # s


# ---- what the user names


def read_texts(path: Path) -> dict[str, str]:
    """Text by name, from lines `name<TAB>text`, or `text` alone, which are called text_1, text_2, ..."""
    texts: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        name, tab, text = line.partition("\t")
        name, text = (name.strip(), text.strip()) if tab else (f"text_{len(texts) + 1}", line.strip())
        if not re.fullmatch(r"[\w][\w.-]*", name):
            raise UserError(f"{path}: line {number}: {name!r} cannot be a file's name; use letters, digits, '_', '-' and '.'")
        if name in texts:
            raise UserError(f"{path}: line {number}: the name {name} is there twice")
        if not any(map(str.isalnum, text)):
            raise UserError(f"{path}: line {number}: holds no word")
        texts[name] = text
    if not texts:
        raise UserError(f"{path}: holds no text; write a line for each")
    return texts


def find_voices(root: Path, n_recordings: int) -> dict[str, list[Path]]:
    """Up to n recordings of each voice: a folder's files, or files <voice>_<number> where there are no folders.

    UserError for a recording that cannot be used.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; name a folder of recordings")
    voices: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith("."):
            in_folder = path.parent != root
            voice = path.relative_to(root).parts[0] if in_folder else re.sub(r"[_-]\d+$", "", path.stem)
            chosen = voices.setdefault(voice, [])
            if any(path.stem == other.stem for other in chosen):
                raise UserError(f"{path}: the voice {voice} has another recording of this name; rename one of them")
            if len(chosen) < n_recordings:
                chosen.append(path)
    if not voices:
        raise UserError(f"{root}: holds no recordings; put them in a folder for each voice, or name them <voice>_<number>.wav")
    for path in (path for paths in voices.values() for path in paths):
        if (seconds := len(audio.load(path)) / audio.SAMPLE_RATE) < SHORTEST:
            raise UserError(f"{path}: is {seconds:.2f} s long; at least {SHORTEST} s are needed")
    return voices


# ---- making


@dataclasses.dataclass(frozen=True)
class Models:
    """The files of the models, and how they are to speak."""

    encoder: Path
    synthesizer: Path
    vocoder: Path | None  # None: Griffin-Lim
    hparams: str = ""
    seed: int = 0
    cpu: bool = False

    def __post_init__(self) -> None:
        for path in self.files.values():
            if not path.is_file():
                raise UserError(f"{path}: no such model")

    @property
    def files(self) -> dict[str, Path]:
        stages = {"encoder": self.encoder, "synthesizer": self.synthesizer, "vocoder": self.vocoder}
        return {stage: path for stage, path in stages.items() if path}


class Studio:
    """Makes what is missing in its folder."""

    def __init__(self, out: Path, models: Models) -> None:
        self.out, self._models = out, models
        digests = {stage: sha256(path) for stage, path in models.files.items()}
        self._made_of = {"models": digests, "hparams": models.hparams, "seed": models.seed}

    @cached_property
    def _cloner(self) -> "Cloner":
        from demo.cloner import Cloner

        m = self._models
        return Cloner.load(m.encoder, m.synthesizer, m.vocoder, m.hparams, m.seed, m.cpu)

    def make(self, voices: dict[str, list[Path]], texts: dict[str, str]) -> dict[str, list["Take"]]:
        """Speak every text in every voice, copy every recording, and keep the recordings; the takes of each voice."""
        takes = {}
        total = sum(len(texts) + 2 * len(recordings) for recordings in voices.values())
        self.out.mkdir(parents=True, exist_ok=True)
        with tqdm(total=total, desc="speaking", unit="file") as bar, open(self.out / "log.txt", "a", encoding="utf-8") as log:
            for voice, recordings in voices.items():
                takes[voice] = list(self._takes(voice, recordings, texts))
                made_of = self._made_of | {"recordings": [sha256(path) for path in recordings]}
                for take in takes[voice]:
                    bar.set_postfix_str(f"{voice} {take.name}")
                    if not take.is_made_of(made_of | {"text": take.text, "recording": take.recording}):
                        self._make(take, recordings[take.recording], log)
                    bar.update()
        return takes

    def _takes(self, voice: str, recordings: list[Path], texts: dict[str, str]) -> Iterator["Take"]:
        for name, text in texts.items():
            yield Take(self.out, "speech", voice, name, text, 0)
        for kind in ("copy", "recording"):
            for n, path in enumerate(recordings):
                beside = path.with_suffix(".txt")
                text = beside.read_text(encoding="utf-8").strip() if beside.is_file() else ""
                yield Take(self.out, kind, voice, path.stem, text, n)

    def _make(self, take: "Take", recording: Path, log: TextIO) -> None:
        measured: dict[str, Any] = {}
        if take.kind == "recording":
            wav, rate = audio.load(recording), audio.SAMPLE_RATE
        else:
            with contextlib.redirect_stdout(log):
                rate = self._cloner.sample_rate
                if take.kind == "speech":
                    spoken = self._cloner.clone([recording], [take.text])
                    wav = spoken.wav
                    measured = {"took": spoken.took, "faults": faults(spoken)}
                else:
                    wav = self._cloner.sound(self._cloner.synthesizer.make_spectrogram(recording))
        take.keep(wav, rate, measured)


@dataclasses.dataclass
class Take:
    """One file, and what is known about it."""

    out: Path
    kind: str
    voice: str
    name: str
    text: str
    recording: int  # index of the recording it was made from
    about: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.out / self.kind / self.voice / f"{self.name}.wav"

    def is_made_of(self, made_of: dict[str, Any]) -> bool:
        """Whether the file is there and made from this. If not, it is to be made from it."""
        self.about = {"made_of": made_of}
        with contextlib.suppress(OSError, ValueError, KeyError):  # a damaged record is that of a file to be made again
            found = json_object(self._json)
            if self.path.is_file() and found["made_of"] == made_of and "seconds" in found and isinstance(found["judged"], dict):
                self.about = found
                return True
        return False

    @property
    def _json(self) -> Path:
        return self.path.with_name(f"{self.name}.json")

    def keep(self, wav: np.ndarray, sample_rate: int, measured: dict[str, Any]) -> None:
        audio.write_wav(self.path, wav, sample_rate)
        save_mel_picture(self.path.with_name(f"{self.name}.png"), audio.load(self.path))
        self.about |= {"seconds": len(wav) / sample_rate, **measured, "judged": {}}
        self.save()

    def save(self) -> None:
        save_text(self._json, json.dumps(self.about, indent=1) + "\n")

    def utterance(self, judges: Sequence[Judge], language: str) -> Utterance:
        judged = {judge.figure: self.about["judged"][judge.key] for judge in judges}
        known = {key: self.about[key] for key in ("took", "faults") if key in self.about}
        if "heard" in judged and self.text:
            known |= errors(self.text, judged["heard"], language)
        file = self.path.relative_to(self.out).as_posix()
        known |= judged
        return Utterance(self.kind, self.voice, self.name, file, self.text, self.about["seconds"], **known)


def save_mel_picture(path: Path, wav: np.ndarray) -> None:
    from matplotlib.image import imsave

    f = MelFormat()
    mel = audio.mel_spectrogram(audio.rescale(wav, f.rescale_peak), f)
    with write_atomically(path) as temporary:
        imsave(temporary, mel.T[::-1], vmin=-f.max_abs, vmax=f.max_abs, cmap="magma", format="png")


# ---- judging


def faults(spoken: "Spoken") -> list[str]:
    """Faults in speech: "stop" (cut at the cap), "words" (Spoken.missed), "gap" (a long silence)."""
    gap = longest_gap(spoken.wav, spoken.sample_rate)
    found = {"stop": bool(spoken.unfinished), "words": bool(spoken.missed), "gap": gap > LONGEST_GAP}
    return [name for name, is_there in found.items() if is_there]


def longest_gap(wav: np.ndarray, sample_rate: int) -> float:
    """Seconds of the longest silence within speech (n,), without those at its beginning and end."""
    frame, hop = int(FRAME * sample_rate), int(HOP * sample_rate)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wav, (0, max(0, frame - len(wav)))), frame)[::hop]
    level = 20 * np.log10(np.maximum(1e-6, np.sqrt(np.square(frames, dtype=np.float64).mean(axis=1))))
    loud = np.flatnonzero(level > np.percentile(level, 95) - SILENT)
    n_silent = int(np.diff(loud).max(initial=1)) - 1  # frames in a row without a loud sample
    return ((n_silent - 1) * hop + frame) / sample_rate if n_silent else 0.0


def judge(
    takes: dict[str, list[Take]], voices: dict[str, list[Path]], judges: Sequence[Judge], language: str = "en"
) -> list[Utterance]:
    """Have every take judged by those who have not judged it yet."""
    with tqdm(total=sum(map(len, takes.values())), desc="judging", unit="file") as bar:
        for voice, its_takes in takes.items():
            compared: dict[str, Voice] = {}
            for take in its_takes:
                bar.set_postfix_str(f"{voice} {take.name}")
                _judge(take, voices[voice], judges, compared)
                bar.update()
    return [take.utterance(judges, language) for its_takes in takes.values() for take in its_takes]


def _judge(take: Take, recordings: list[Path], judges: Sequence[Judge], compared: dict[str, Voice]) -> None:
    """compared: voices by encoder, made when first needed."""
    judged = take.about["judged"]
    waiting = list(not_yet_judged(judges, judged))
    wav = audible(take.path) if waiting else np.zeros(0)
    for each in waiting:
        result = each.listen(wav)
        if each.is_encoder:
            if each.key not in compared:
                compared[each.key] = Voice(each, recordings)
            result = compared[each.key].similarity(result, take.recording, take.kind == "speech")
        judged[each.key] = result
    if waiting:
        take.save()
