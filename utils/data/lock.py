"""One writer at a time, and the same settings: an output folder says who writes to it, and what it was made with."""

import json
import os
import platform
import shlex
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from utils.data.disk import full
from utils.data.paths import is_running, machine, save_text
from utils.data.tables import json_object
from utils.errors import UserError

HEARTBEAT = 15  # s between two signs of life
LARGEST = 10_000  # bytes of the file that names the writer
STALE_AFTER = 180  # s without one, after which a writer on another host counts as gone: network disks show times late


@contextmanager
def only_writer(folder: Path, name: str) -> Iterator[None]:
    """Holds the lock on the output `name` in this folder, which is there meanwhile; UserError if another process has it.

    On one host the operating system tells whether the other still lives. Of other hosts, whose locks a shared disk may not
    show, `.<name>.owner` is younger than STALE_AFTER as long as they live. A lock whose holder is gone is taken over.
    """
    from filelock import FileLock, Timeout

    folder = Path(folder)
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    owner, lock = _Owner(folder, name), FileLock(folder / f".{name}.lock")
    for path in (owner.path, Path(lock.lock_file)):
        if path.is_symlink():  # a stranger's, that may lead to a file of somebody else's
            path.unlink()
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise owner.refusal() from error
    except (NotImplementedError, OSError) as error:  # a file system without locks
        if isinstance(error, PermissionError | FileNotFoundError):
            raise
        owner.os_locks = False
    try:
        owner.take()
        with owner.heartbeat():
            yield
    finally:
        owner.leave()
        lock.release()
        if made and [*folder.iterdir()] == [folder / f".{name}.lock"]:  # nothing was written, as something was refused
            with suppress(OSError):
                (folder / f".{name}.lock").unlink()
                for each in made:
                    each.rmdir()


class _Owner:
    """The file that names the holder of a lock: host, process, start, command."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.path = Path(folder), Path(folder) / f".{name}.owner"
        self.os_locks = True
        self.me = {
            "host": platform.node(),
            "machine": machine(),
            "process": os.getpid(),
            "started": time.strftime("%Y-%m-%d %H:%M:%S"),
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:500],
            "token": uuid.uuid4().hex,
        }

    def take(self) -> None:
        """Write the file, which only one process can do. UserError if there is one whose writer lives."""
        while True:
            try:
                self._create()
                return
            except FileExistsError:
                holder = self.read()
                if self.path.is_dir() or self._is_alive(holder):
                    raise self.refusal() from None
                print(f"{self.folder}: taken over from {_named(holder)} which is gone")
                self.path.unlink(missing_ok=True)

    def _create(self) -> None:
        text = json.dumps(self.me).encode()
        handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        try:
            os.write(handle, text)
        except OSError as error:
            self.path.unlink()
            raise full(self.path, len(text), 0, error) or error from error
        finally:
            os.close(handle)

    def read(self) -> dict[str, Any]:
        """What the file says; empty if it is missing or damaged."""
        try:
            return json_object(self.path) if self.path.stat().st_size <= LARGEST else {}
        except (OSError, ValueError):
            return {}

    def _is_alive(self, holder: dict[str, Any]) -> bool:
        if holder.get("machine") == machine():  # the lock of the operating system is free, so it is gone
            return not self.os_locks and os.name == "posix" and is_running(holder.get("process"))
        return abs(self._seconds_since_sign()) < STALE_AFTER  # times of the future come from an archive

    def _seconds_since_sign(self) -> float:
        """By the clock of the disk, as hosts' clocks differ."""
        probe = self.path.with_suffix(f".{self.me['token']}")
        probe.touch()
        try:
            return probe.stat().st_mtime - self.path.stat().st_mtime
        except FileNotFoundError:  # it has just left
            return STALE_AFTER
        finally:
            probe.unlink(missing_ok=True)

    def refusal(self) -> UserError:
        """What to tell whoever comes second."""
        holder = self.read()
        if not holder and self.path.exists():
            return UserError(f"{self.path}: does not say which process writes here; if none does, delete it")
        age = "" if holder.get("machine") == machine() else f" (if it is gone, try again in {STALE_AFTER // 60} minutes)"
        return UserError(
            f"{self.folder}: {_named(holder)} is writing here; wait until it has ended, or stop it, or choose another "
            f"output{age}"
        )

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Shows signs of life meanwhile. Ends the process if another has taken over, as after a sleep of this machine."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(HEARTBEAT):
                holder = self.read()
                if holder and holder.get("token") != self.me["token"]:
                    print(f"error: {self.folder}: {_named(holder)} has taken over; this process ends", file=sys.stderr)
                    os._exit(1)
                with suppress(OSError):  # a full or absent disk, which those who write report
                    os.utime(self.path)

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def leave(self) -> None:
        """Remove the file, if it is ours."""
        if self.read().get("token") == self.me["token"]:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)


def save_settings(path: Path, values: dict[str, Any]) -> None:
    """Write what an output is made with, as JSON."""
    save_text(path, json.dumps(values, indent=2) + "\n")


def changed_settings(path: Path, values: dict[str, Any]) -> str:
    """The names of the values that are not those in the file, joined by commas; empty if all are the same."""
    try:
        found = json_object(path)
    except ValueError:
        return "the file is damaged"
    return ", ".join(name for name, value in values.items() if found.get(name) != value)


def _named(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process,"
    shown = (
        "".join(filter(str.isprintable, str(holder.get(name))))[:500] for name in ("process", "host", "started", "command")
    )
    process, host, started, command = shown
    return f"process {process} on {host}, started {started} ({command}),"
