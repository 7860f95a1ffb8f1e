"""Where the audio is that a list names: lists move, come from other machines, and leave out folders and suffixes."""

import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path, PurePosixPath
from typing import NamedTuple

FOLDERS = ("", "wavs", "wav", "audio", "clips")
SUFFIXES = ("", ".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
N_ABOVE = 3  # folders above the list's that its paths may start from
N_TRIED = 3  # names of a list by which the place is found


class Place(NamedTuple):
    """Audio is at <base>/<folder>/<name without its first `dropped` parts><suffix>."""

    base: Path
    folder: str = ""
    dropped: int = 0
    suffix: str = ""

    def path(self, name: str) -> Path:
        """The file that a list calls `name`."""
        inner = PurePosixPath(*_parts(name)[self.dropped :])
        return self.base / self.folder / (f"{inner}{self.suffix}")

    def told(self, base: Path) -> str:
        """How it differs from what the list says; "" if it does not."""
        where = "" if self.base == base else f"{self.base}/"
        dropped = "<...>/" * bool(self.dropped)
        return f"{dropped}name is {where}{f'{self.folder}/' * bool(self.folder)}name{self.suffix}"


def find_place(names: Sequence[str], folder: Path) -> Place | None:
    """Where the first of these files are; None if none of them exists. `folder` is the list's."""
    tried = list(names[:N_TRIED])
    if not tried:
        return None
    bases = [folder, *folder.absolute().parents[:N_ABOVE]]
    counts = range(max(1, min(len(_parts(name)) for name in tried)))
    best, most = None, 0
    for dropped, base, inner, suffix in product(counts, bases, FOLDERS, SUFFIXES):
        place = Place(base, inner, dropped, suffix)
        found = sum(os.path.isfile(place.path(name)) for name in tried)  # False too for a name that no disk takes
        if found > most:
            best, most = place, found
        if found == len(tried):
            break
    return best


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a path of any system."""
    return PurePosixPath(name.replace("\\", "/") if "\\" in name and "/" not in name else name).parts
