"""The names of files on disk, and atomic writing: other processes only ever see finished files."""

import hashlib
import os
import platform
import re
import sys
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import numpy as np

from utils.data import disk
from utils.data.names import within
from utils.errors import UserError

SV2TTS = "SV2TTS"
STALE_AFTER = 24 * 3600  # s without a write, after which a temporary file of another machine counts as left over


def default_out_dir(datasets_root: Path, stage: str) -> Path:
    """Where the preprocessing of "encoder", "synthesizer" or "vocoder" writes by default."""
    return Path(datasets_root) / SV2TTS / stage


class EncoderData:
    """One folder per speaker, with its mels end to end and an index of its utterances."""

    MELS = "mels.npy"  # float32 (N, 40)
    UTTERANCES = "utterances.tsv"  # name, start, n_frames, source; written last, so a speaker that has it is done
    SKIPPED = "skipped.txt"  # a line per skipped file, if any
    NOTES = "notes.txt"  # what is odd about the speaker's recordings, if anything

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def speaker_dir(self, speaker: str) -> Path:
        return within(self.root, speaker)

    def log(self, corpus: str) -> Path:
        return within(self.root, f"Log_{corpus}.txt")


class SynthesizerData:
    """Waves, mels and speaker embeddings of utterances, one file each, and the manifest that lists them."""

    def __init__(self, root: Path) -> None:
        self.root = root = Path(root)
        self.manifest, self.alignments, self.log = (root / name for name in ("train.txt", "alignments.txt", "Log.txt"))
        self.parameters = root / "parameters.json"  # {"mel": fields of MelFormat, "preprocess": settings, ...}
        self.parts_dir = root / "parts"  # a file per finished speaker, from which interrupted preprocessing continues
        self.audio_dir, self.mels_dir, self.embeds_dir = (root / name for name in ("audio", "mels", "embeds"))
        # SHA-256 of the weights and, on the last line, of the file of the encoder that made the embeddings
        self.embeds_encoder = self.embeds_dir / "encoder.sha256"

    @property
    def encoder_digests(self) -> list[str]:
        """What is in embeds_encoder; empty if there is no such file."""
        path = within(self.embeds_dir, self.embeds_encoder.name, to_write=True)  # what it holds goes into checkpoints
        return path.read_text(encoding="utf-8", errors="replace").split() if path.is_file() else []

    def part(self, speaker: str) -> Path:
        return within(self.parts_dir, f"{speaker}.tsv")

    def old_part(self, speaker: str) -> Path:
        """The part of a speaker whose files are being deleted."""
        return within(self.parts_dir, f"{speaker}.old")

    def audio(self, utterance: str) -> Path:
        return within(self.audio_dir, f"audio-{utterance}.npy")  # int16 (n_samples,)

    def mel(self, utterance: str) -> Path:
        return within(self.mels_dir, f"mel-{utterance}.npy")  # float16 (T, 80)

    def embed(self, utterance: str) -> Path:
        return within(self.embeds_dir, f"embed-{utterance}.npy")  # float32 (256,)


class VocoderData:
    """Ground-truth-aligned mels, named like the true mels in SynthesizerData."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.manifest, self.mels_gta_dir = self.root / "synthesized.txt", self.root / "mels_gta"


def own_folders(root: Path, *names: str) -> None:
    """Make the folders of `root` that preprocessing writes to and deletes from. UserError for a link that leads elsewhere."""
    for name in names:
        within(root, name, to_write=True).mkdir(parents=True, exist_ok=True)
    make_durable(Path(root))


def make_durable(*folders: Path) -> None:
    """After this, a power loss undoes nothing that was made, renamed or deleted in these folders before.

    To be called before a file that says that others are there, or gone.
    """
    for folder in folders if os.name == "posix" else ():  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        with suppress(OSError):  # some network disks cannot
            os.fsync(descriptor)
        os.close(descriptor)


@contextmanager
def write_atomically(path: Path, size: int = 0) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which is flushed and renamed to `path` if the block succeeds, else removed.

    DiskFull if there is no room for it; `size` is how many bytes it takes, if that is known.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path, os.getpid())
    temporary.unlink(missing_ok=True)  # it might be a link, which would be followed
    try:
        yield temporary
        with temporary.open("rb+") as written:  # Windows flushes no file that is open for reading alone
            os.fsync(written.fileno())
        temporary.replace(path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename, error.filename2 = str(path), None  # the path that the user knows
        no_room = None
        with suppress(OSError):  # the first error matters more
            if isinstance(error, OSError | RuntimeError):
                n_written = temporary.stat().st_size if temporary.exists() else 0
                no_room = disk.full(path, size, n_written, error)
            temporary.unlink(missing_ok=True)
        if no_room:
            raise no_room from error
        raise


def save_npy(path: Path, array: np.ndarray) -> None:
    """np.save, atomically."""
    with write_atomically(path, array.nbytes + 128) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def save_text(path: Path, text: str) -> None:
    """Write UTF-8 text with plain newlines, atomically. What is no text in names, in this locale, is written as escapes."""
    content = text.encode("utf-8", "backslashreplace")
    with write_atomically(path, len(content)) as temporary:
        temporary.write_bytes(content)


def append_text(path: Path, text: str) -> None:
    """Add UTF-8 text to the end of a file, and wait until the disk has it. A process that is killed may leave a part of it."""
    content = text.encode("utf-8", "backslashreplace")
    try:
        with path.open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise disk.full(path, len(content), 0, error) or error from error


def read_text(path: Path, at_most: int = 10**8) -> str:
    """The text of a UTF-8 file that the user wrote. UserError if it is not UTF-8, or has more characters than `at_most`."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(at_most + 1)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    if len(text) > at_most:
        raise UserError(f"{path}: has more than {at_most:,} characters; cut it")
    return text


def refuse_address(path: Path) -> None:
    """UserError for an https:// or hf:// address in place of a path."""
    if found := re.match(r"(\w{2,}:)/+(.*)", str(path)):  # Path makes one slash of two
        address = "{}//{}".format(*found.groups())
        raise UserError(f"{address}: is an address, and nothing is fetched by itself; `python -m utils.fetch` does it")


def sha256(path: Path) -> str:
    """Digest of a file's content, which tells one checkpoint from another whatever it is called."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def one_field(text: str) -> str:
    """Text as one field of a line in a UTF-8 table: white space of any kind becomes one space.

    File names may hold bytes that are not text, which are written as escapes.
    """
    return " ".join(text.split()).encode("utf-8", "backslashreplace").decode()


def temporary_path(path: Path, process: int) -> Path:
    """Where a process of this machine writes `path` until it is finished; its name includes the process number."""
    return path.with_name(f".{path.name}.{machine()}.{process}.tmp")


@lru_cache
def machine() -> str:
    """Eight hexadecimal digits for this machine and container, as each container numbers its own processes."""
    processes = Path("/proc/self/ns/pid")
    container = os.readlink(processes) if processes.is_symlink() else ""
    name = str(uuid.getnode()) if sys.platform == "darwin" else platform.node()  # macOS takes its name from the network
    return f"{zlib.crc32(f'{name} {container}'.encode()):08x}"


def remove_leftovers(root: Path, names: str = "*") -> None:
    """Delete temporary files that killed processes left anywhere under `root`, for files that match `names`.

    Files being written at this moment stay, also those of other machines that share the disk.
    """
    for path in list(Path(root).rglob(f".{names}.tmp")):
        with suppress(FileNotFoundError):  # finished or removed meanwhile
            if _is_leftover(path):
                path.unlink()


def _is_leftover(path: Path) -> bool:
    name = re.fullmatch(r"\..+\.(?P<machine>[0-9a-f]{8})\.(?P<process>[0-9]+)\.tmp", path.name)
    if name is None:  # not from write_atomically
        return False
    if name["machine"] == machine() and os.name == "posix":
        return not is_running(int(name["process"]))
    return time.time() - path.stat().st_mtime > STALE_AFTER


def is_running(process: object) -> bool:
    """Whether there is a process of this number, which may be anything, as it comes from a file."""
    try:
        os.kill(process, 0)  # signal 0 only asks
    except (ProcessLookupError, OverflowError, TypeError):
        return False
    except PermissionError:  # it is another user's
        return True
    return True
