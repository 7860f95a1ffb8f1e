"""The other ranks of a run: checks that all start alike, and reports a lost one."""

import hashlib
import itertools
import json
import os
import platform
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from utils.data.worker import end_with
from utils.errors import UserError
from utils.models.checkpoint import tensors

INTERVAL = 2.0  # s between two signs of life
GRACE = 10.0  # s without progress after a signal, which the launcher also sends when a rank has died
LOST = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")


def has_launcher() -> bool:
    """Whether torchrun, or another launcher that sets its variables, has started this process."""
    return "WORLD_SIZE" in os.environ


class NoPeers:
    """A run of one rank."""

    def __init__(self, rank: int = 0) -> None:
        self.rank = rank

    def compare(self, mine: Callable[[], Mapping[str, Any]]) -> None: ...

    def watch(self, held: Callable[[], str], has_signal: Callable[[], bool], timeout: float) -> None:
        """From now on, stop if the launcher ends."""
        if has_launcher():
            end_with(os.getppid(), _terminate)

    def hold(self, words: str) -> None: ...

    def held(self) -> str: ...

    def arrive(self, place: int) -> None: ...

    def is_first_to_leave(self) -> bool:
        return True

    def lost(self, error: BaseException | None) -> str: ...

    def leave(self) -> None: ...


class Peers(NoPeers):
    """Ranks talk through the launcher's store too, which still works when a rank no longer does."""

    def __init__(self, rank: int, world_size: int) -> None:
        super().__init__(rank)
        self.world_size = world_size
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        self._store = distributed.TCPStore(address, port, is_master=False, timeout=timedelta(seconds=30))
        self._place, self._arrived, self._over = 0, time.monotonic(), threading.Event()
        self._held = ""
        self._watching: threading.Thread | None = None
        self._n_beats = itertools.count()
        self._beat()
        self._launcher = os.getppid() if has_launcher() and os.name == "posix" else None

    # ---- at the start

    def compare(self, mine: Callable[[], Mapping[str, Any]]) -> None:
        """Raises UserError on rank 0, and ends the others, unless what `mine` returns is the same on all ranks."""
        found: list[Any] = [None] * self.world_size
        distributed.all_gather_object(found, (platform.node(), dict(mine())))
        (_, first), differing = found[0], []
        for rank, (host, other) in enumerate(found):
            names = [name for name in {**first, **other} if first.get(name) != other.get(name)]
            differing += [f"{name} is {first.get(name)} on rank 0, {other.get(name)} on rank {rank} ({host})" for name in names]
        if differing:
            problem = "; ".join(differing[:3]) + (f"; and {len(differing) - 3} more" if len(differing) > 3 else "")
            raise self._error(
                f"the ranks do not start alike: {problem}. All need the same arguments, data and models folder, such as a disk "
                "that all hosts share"
            )

    def _error(self, message: str) -> BaseException:
        return UserError(message) if self.is_first_to_leave() else SystemExit(1)

    # ---- meanwhile

    def watch(self, held: Callable[[], str], has_signal: Callable[[], bool], timeout: float) -> None:
        """From now on, stop if the launcher ends, and end with one line if there is no progress for `timeout` seconds."""
        self._watching = threading.Thread(target=self._watch, args=(held, has_signal, timeout), name="peers", daemon=True)
        self._arrived = time.monotonic()
        self._watching.start()

    def arrive(self, place: int) -> None:
        """This rank has come to a place, counted from the run's start, at which all meet."""
        self._place, self._arrived = place, time.monotonic()

    def hold(self, words: str) -> None:
        """Tell the other ranks what rank 0 has saved."""
        if self.rank == 0 and words != self._held:
            self._held = words
            with suppress(RuntimeError, OSError):  # without its store the run goes on, until its ranks meet
                self._store.set("sv2tts/held", words)

    def held(self) -> str:
        """What rank 0 has saved last, for other ranks; empty if that is not known."""
        with suppress(RuntimeError, OSError):
            return self._store.get("sv2tts/held").decode() if self.rank else ""
        return ""

    def leave(self) -> None:
        """Stop watching."""
        self._over.set()
        if self._watching:
            self._watching.join()

    def _watch(self, held: Callable[[], str], has_signal: Callable[[], bool], timeout: float) -> None:
        while not self._over.wait(min(INTERVAL, timeout / 3)):
            if self._launcher and self._launcher != os.getppid():  # an orphan is given another parent
                self._launcher = None
                _terminate()
            with suppress(RuntimeError, OSError):  # the store is gone
                self._beat()
                self._end_if_stuck(held, has_signal(), timeout)

    def _end_if_stuck(self, held: Callable[[], str], has_signal: bool, timeout: float) -> None:
        arrived = self._arrived
        idle = time.monotonic() - arrived
        who = ""
        if idle > timeout:
            who = self._missing(timeout)
        elif has_signal and idle > GRACE and self._silent(timeout):  # else all evaluate or save, which may take longer
            who = "another rank has ended"
        if who and arrived == self._arrived and not self._over.is_set():  # else it went on meanwhile
            if self.is_first_to_leave():
                print(f"error: {who}; {held()}; {continuing()}", file=sys.stderr, flush=True)
            os._exit(1)

    def _beat(self) -> None:
        sign = {"beat": next(self._n_beats), "place": self._place, "host": platform.node()}
        self._store.set(f"sv2tts/{self.rank}", json.dumps(sign))

    def _signs(self) -> list[dict[str, Any]]:
        return [json.loads(self._store.get(f"sv2tts/{rank}")) for rank in range(self.world_size)]

    def _silent(self, timeout: float) -> list[int]:
        """The ranks that show no sign of life."""
        before = self._signs()
        for _ in range(3):
            self._over.wait(min(INTERVAL, timeout / 3))
            self._beat()  # as another rank may be looking too
        return [rank for rank, now in enumerate(self._signs()) if now["beat"] == before[rank]["beat"]]

    def _missing(self, timeout: float) -> str:
        """Which rank keeps the others waiting."""
        silent, now = self._silent(timeout), self._signs()
        last = max(sign["place"] for sign in now)
        behind = silent or [r for r in range(self.world_size) if now[r]["place"] < last]
        if not behind:
            return f"all ranks wait for each other, without progress for {timeout:.0f} s"
        names = ", ".join(f"rank {r} ({now[r]['host']})" for r in behind)
        return f"{names} has not answered for {timeout:.0f} s, and the other ranks wait for it"

    # ---- at the end

    def lost(self, error: BaseException | None) -> str:
        """Words on an error that means that another rank is gone; empty for any other error."""
        is_lost = isinstance(error, distributed.DistError) or any(word in str(error) for word in LOST)
        return "another rank has ended" if isinstance(error, RuntimeError) and is_lost else ""

    def is_first_to_leave(self) -> bool:
        """Whether no rank has said yet why the run ends."""
        try:
            return self._store.add("sv2tts/ended", 1) == 1
        except (RuntimeError, OSError):
            return True


def continuing() -> str:
    """The command that continues a run of several ranks."""
    command = f"torchrun --nproc_per_node {os.environ.get('LOCAL_WORLD_SIZE', 1)} {shlex.join(sys.argv)}"
    several = int(os.environ.get("GROUP_WORLD_SIZE", 1)) > 1
    return f"continue with {command}" + (" (and your options for several hosts) on each host" if several else "")


def digest(content: Any, lines: Iterable[Any] = ()) -> str:
    """Sixteen hexadecimal digits for the tensors in plain containers and for the lines."""
    found = hashlib.sha256()
    for name, each in tensors(content):
        found.update(name.encode())
        found.update(each.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    for line in lines:
        found.update(f"{line}\n".encode("utf-8", "backslashreplace"))
    return found.hexdigest()[:16]


def _terminate() -> None:
    os.kill(os.getpid(), 15)
