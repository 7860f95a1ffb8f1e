"""Sound from the loudspeaker while the next is made."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

AHEAD = 64  # waves that wait to be played, at most; then making more has to wait


class Player:
    """Plays waves. What prevents it is said in one line, once."""

    def __init__(self) -> None:
        self.works = True
        try:
            import sounddevice

            self._sounddevice: Any = sounddevice
        except ImportError:
            self._give_up("sounddevice is not installed; pip install sounddevice")
        except OSError:  # sounddevice without the library it needs
            self._give_up("sounddevice does not find PortAudio; on Debian and Ubuntu: apt install libportaudio2")

    def _give_up(self, reason: str) -> None:
        self.works = False
        print(f"No sound will be played: {reason} (or pass --no_sound).")

    @contextlib.contextmanager
    def playing(self, sample_rate: int) -> Iterator[Callable[[np.ndarray], None]]:
        """`with player.playing(rate) as play:` plays the waves (n,) given to `play` one after another, and waits for the last.
        An error or Ctrl-C stops the sound."""
        waves: queue.Queue[np.ndarray | None] = queue.Queue(AHEAD)
        stop = threading.Event()
        thread = threading.Thread(target=self._play, args=(waves, stop, sample_rate), daemon=True)
        thread.start()
        try:
            yield waves.put
            waves.put(None)
            thread.join()
        except BaseException:
            stop.set()
            with contextlib.suppress(queue.Full):  # otherwise there is something that wakes the thread
                waves.put_nowait(None)
            thread.join()
            raise

    def _play(self, waves: queue.Queue, stop: threading.Event, sample_rate: int) -> None:
        stream, block = None, sample_rate // 10
        while (wav := waves.get()) is not None and not stop.is_set():
            try:
                if self.works and stream is None:
                    stream = self._sounddevice.OutputStream(samplerate=sample_rate, channels=1, dtype="float32")
                    stream.start()
                for start in range(0, len(wav) if self.works else 0, block):
                    if not stop.is_set():
                        stream.write(np.ascontiguousarray(wav[start : start + block, None], dtype=np.float32))
            except Exception as error:  # no device, device busy or gone: never a reason to fail
                self._give_up(str(error).splitlines()[0] if str(error) else type(error).__name__)
        if stream is not None:
            with contextlib.suppress(Exception):  # the device may be gone
                (stream.abort if stop.is_set() else stream.stop)()  # stop waits for what is still to be heard
                stream.close()
