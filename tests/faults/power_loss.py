"""Power loss, simulated: what a program did to a folder is recorded, and at any point all that was not flushed may be gone.

The model is the harshest that POSIX allows. Of a file's content, only what was there at its last fsync is sure; of the names in
a folder, only those at the folder's last fsync. Of the later changes to names, none, all or any may have reached the disk; a
file without its content is empty or holds garbage.
"""

import argparse
import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import soundfile

from tests import ROOT

SUBSET = "LibriSpeech/train-clean-100"


@dataclass
class File:
    content: bytes | None = None  # at the last fsync


@dataclass
class Recorder:
    """What happened below `root`, in order. Temporary files are recorded as well."""

    root: Path
    events: list[tuple[Any, ...]] = field(default_factory=list)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        calls = {name: self._watched(name, getattr(os, name)) for name in ("fsync", "replace", "rename", "unlink", "mkdir")}
        with contextlib.ExitStack() as stack:
            for name, call in calls.items():
                stack.enter_context(mock.patch.object(os, name, call))
            yield

    def _watched(self, name: str, call: Callable) -> Callable:
        def watched(*arguments: Any, **named: Any) -> Any:
            result = call(*arguments, **named)
            given = [
                os.readlink(f"/proc/self/fd/{a}") if name == "fsync" else os.fspath(a)
                for a in arguments[: 1 + (name[0] == "r")]
            ]
            paths = [os.path.relpath(path, self.root) for path in given]
            if not any(path.startswith("..") for path in paths):
                content = Path(given[0]).read_bytes() if name == "fsync" and os.path.isfile(given[0]) else None
                self.events.append(("sync" if name == "fsync" else name, *paths, content))
            return result

        return watched


def after_power_loss(before: Path, events: list[tuple[Any, ...]], out: Path, generator: random.Random, loses: str) -> None:
    """Write to `out` what is found when power is lost after these events in a folder that held `before`.

    loses: of the changes that were not flushed, "all", "none" or "any".
    """
    names: dict[str, File | None] = {}  # path -> file, None for a folder
    for path in sorted(before.rglob("*")) if before.is_dir() else []:
        names[str(path.relative_to(before))] = File(path.read_bytes()) if path.is_file() else None
    durable = dict(names)
    pending: list[tuple[str, File | str | None]] = []  # path and what it became; "" if it is gone
    for kind, path, *rest in events:
        if kind == "sync" and rest[0] is not None:
            names.setdefault(path, File()).content = rest[0]
        elif kind == "sync":
            own = [change for change in pending if os.path.dirname(change[0]) == path.removeprefix(".").removeprefix("/")]
            apply(own, durable)
            pending = [change for change in pending if change not in own]
        else:
            changes = {"mkdir": [(path, None)], "unlink": [(path, "")]}
            if kind in ("replace", "rename"):
                changes[kind] = [(path, ""), (rest[0], names.get(path) or File())]
            apply(changes[kind], names)
            pending += changes[kind]
    keeps = {"all": lambda: False, "none": lambda: True, "any": lambda: generator.random() < 0.5}[loses]
    apply([change for change in pending if keeps()], durable)
    for path, file in sorted(durable.items()):
        place = out / path
        if file is None:
            place.mkdir(parents=True, exist_ok=True)
        elif all(str(parent) == "." or str(parent) in durable for parent in Path(path).parents):  # its folder is there
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(generator.choice([b"", b"\0" * 100, b"garbage"]) if file.content is None else file.content)


def apply(changes: list[tuple[str, Any]], names: dict[str, Any]) -> None:
    for path, became in changes:
        if became == "":
            names.pop(path, None)
        else:
            names[path] = became


# ---- what is cut


@dataclass(frozen=True)
class Scenario:
    """start(folder) is recorded and cut in a folder that `before` prepared; finish(folder) continues it."""

    name: str
    before: Callable[[Path], None]
    start: Callable[[Path], None]
    finish: Callable[[Path], None]


def small_corpus(root: Path) -> None:
    """Two speakers of the samples, with two short utterances each."""
    for speaker in sorted((ROOT / "samples" / SUBSET).iterdir())[:2]:
        chapter = next(path for path in speaker.iterdir() if path.is_dir())
        out = root / SUBSET / speaker.name / chapter.name
        out.mkdir(parents=True)
        shutil.copy(chapter / f"{speaker.name}-{chapter.name}.trans.txt", out)
        for path in sorted(chapter.glob("*.flac"))[:2]:
            wav, rate = soundfile.read(path)
            soundfile.write(out / path.name, wav[: int(2.5 * rate)], rate)


def scenarios(work: Path) -> list[Scenario]:
    from encoder.config import MEL_FORMAT, EncoderConfig
    from encoder.model import EncoderWithLoss
    from encoder.preprocess import preprocess as encoder
    from synthesizer.preprocess import preprocess_audio, preprocess_embeds
    from utils.models import checkpoint

    small_corpus(corpus := work / "in")
    config = EncoderConfig(hidden_size=4, n_layers=1)
    content = {"format": checkpoint.stage_format("encoder"), "model": asdict(config), "mel": MEL_FORMAT}
    content["model_state"] = EncoderWithLoss(config).state_dict()
    for step in (1, 2):
        checkpoint.save(work / f"encoder-{step}.pt", content | {"step": step})

    def speech(out: Path, again: bool, **settings: Any) -> None:
        hparams = "min_chars_per_second=0,max_chars_per_second=1000" + settings.pop("hparams", "")
        preprocess_audio(corpus, out, [SUBSET], again, alignments=False, n_processes=1, hparams=hparams, **settings)

    def mels(out: Path, again: bool, hparams: str = "") -> None:
        encoder(corpus, out, [SUBSET], again, n_processes=1, hparams=f"min_frames=20{hparams}")

    def embeds(out: Path, again: bool, step: int) -> None:
        preprocess_embeds(out, work / f"encoder-{step}.pt", 1, again, cpu=True)

    def save(folder: Path, step: int) -> None:
        checkpoint.save(folder / "encoder.pt", content | {"step": step})

    def saved(folder: Path) -> None:
        if (folder / "encoder.pt").is_file():
            checkpoint.load(folder / "encoder.pt", "encoder")
        save(folder, 2)

    def both(out: Path) -> None:
        speech(out, False)
        embeds(out, False, 1)

    other = ",rescale_peak=0.5"
    return [
        Scenario("encoder mels", lambda out: None, lambda out: mels(out, False), lambda out: mels(out, True)),
        Scenario(
            "encoder mels made anew",
            lambda out: mels(out, False),
            lambda out: mels(out, False, ",volume_dbfs=-20"),
            lambda out: mels(out, False, ",volume_dbfs=-20"),
        ),
        Scenario("speech", lambda out: None, lambda out: speech(out, False), lambda out: speech(out, True)),
        Scenario(
            "speech made anew", both, lambda out: speech(out, False, hparams=other), lambda out: continued(speech, out, other)
        ),
        Scenario("embeddings of another encoder", both, lambda out: embeds(out, False, 2), lambda out: resumed(embeds, out)),
        Scenario("checkpoint", lambda out: save(out, 1), lambda out: save(out, 2), saved),
    ]


def continued(speech: Callable, out: Path, hparams: str) -> None:
    """Go on where the disk says that it was begun, else begin again."""
    from utils.errors import UserError

    try:
        speech(out, True, hparams=hparams)
    except UserError as error:
        assert "an earlier run had other parameters" in str(error), error
        speech(out, False, hparams=hparams)


def resumed(embeds: Callable, out: Path) -> None:
    from utils.errors import UserError

    try:
        embeds(out, True, 2)
    except UserError as error:
        assert "of another encoder" in str(error), error
        embeds(out, False, 2)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def cut(scenario: Scenario, work: Path, n_cuts: int, seed: int = 0) -> int:
    """Cut the power at n_cuts points; returns how many there are. AssertionError if anything was lost.

    Each file must be as one that was written as a whole, and continuing must give what an uninterrupted run gives.
    """
    folder, before, generator = work / "out", work / "before", random.Random(seed)
    folder.mkdir(parents=True)
    scenario.before(folder)
    shutil.copytree(folder, before)
    recorder = Recorder(folder)
    with recorder.recording():
        scenario.start(folder)
    whole = contents(folder)
    versions = {*contents(before).values(), *(event[-1] for event in recorder.events if event[0] == "sync")}
    shutil.rmtree(folder)
    for number in range(n_cuts):
        point = generator.randrange(len(recorder.events) + 1)
        loses = ("all", "any", "none")[number % 3]
        after_power_loss(before, recorder.events[:point], folder, generator, loses)
        found = {name: content for name, content in contents(folder).items() if not name.endswith(".tmp")}
        place = f"{scenario.name}, cut after {point} of {len(recorder.events)} events, {loses} not flushed lost"
        torn = [name for name, content in found.items() if content not in versions]
        assert not torn, f"{place}: {torn}"
        folder.mkdir(exist_ok=True)
        scenario.finish(folder)
        finished = {name: content for name, content in contents(folder).items() if not name.endswith(".tmp")}
        different = [name for name in whole.keys() | finished.keys() if whole.get(name) != finished.get(name)]
        assert not different, f"{place}: {different}"
        shutil.rmtree(folder)
    return len(recorder.events)


def main() -> None:
    parser = argparse.ArgumentParser(description="Cut the power of preprocessing and saving, and see that nothing is lost.")
    parser.add_argument("--cuts", type=int, default=200, help="points at which the power is cut, of all scenarios together")
    n_cuts = parser.parse_args().cuts
    with tempfile.TemporaryDirectory() as work:
        all_of_them = scenarios(Path(work))
        for i, scenario in enumerate(all_of_them):
            n_mine = n_cuts // len(all_of_them) + (i < n_cuts % len(all_of_them))
            with contextlib.redirect_stdout(None), contextlib.redirect_stderr(open(os.devnull, "w")):
                n_events = cut(scenario, Path(work) / str(i), n_mine)
            print(f"{scenario.name}: {n_mine} cuts among {n_events} events, every file old or new, nothing lost", flush=True)


if __name__ == "__main__":
    main()
