"""Names that come out of files, and the only way from a name to a path: `within`."""

import re
import unicodedata
from pathlib import Path

from utils.errors import UserError

MAX_BYTES = 255  # what file systems take
DEVICE = re.compile(r"(con|prn|aux|nul|clock\$|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\..*)?", re.IGNORECASE)  # of Windows
SEPARATORS = set('/\\:|*?"<>')  # of folders, drives and columns, or refused by Windows


def within(folder: Path, *names: str, to_write: bool = False) -> Path:
    """folder / names, each the name of one file or folder; the first lies in `folder`, the next one in that, and so on.

    A name may come from a stranger's file, so UserError if it is anything but a plain name on any system. A folder may hold
    links to other disks, which are read as they are; `to_write`, UserError for a link that leads out of `folder`, as a
    stranger's link could overwrite or delete any file.
    """
    path = Path(folder).joinpath(*names)
    for name in names:
        if problem := fault(name):
            raise UserError(f"{folder}: {name[:80]!r} is not the name of a file in it ({problem}); do not use this folder")
    if to_write and not _real(path).is_relative_to(_real(folder)):
        raise UserError(f"{path}: is a link that leads out of {folder}, where nothing is written; delete the link")
    return path


def fault(name: str) -> str | None:
    """Why this is no name of a file or folder, if so."""
    if not name.strip(". "):
        return "it names no file"
    if name[-1] in ". ":
        return "it ends with a dot or a space, which Windows drops"
    if found := SEPARATORS.intersection(name):
        return f"it holds {min(found)}"
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in name):
        return "it holds control characters, or such as nobody sees"
    if DEVICE.fullmatch(name):
        return "it is a device's name"
    if len(name.encode()) > MAX_BYTES:
        return f"it is longer than {MAX_BYTES} bytes"
    return None


def same_file(name: str) -> str:
    """A key that is equal for names that mean one file on a disk that ignores case (exFAT, macOS, Windows)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).rstrip(". ")


def _real(path: Path) -> Path:
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise UserError(f"{path}: is a link that leads nowhere; delete it") from error
