"""The demo's questions and answers."""

import contextlib
import os
import select
import shlex
import sys
from pathlib import Path

from demo.cloner import Cloner, Voice, read_references
from demo.delivery import deliver
from demo.playing import Player
from utils.data import audio
from utils.errors import UserError

HELP = """\
Voice:  a recording of 0.5 s or more, best 5 to 15 s of clean speech; several are averaged. Quote names with spaces.
        Enter keeps the last voice.
Text:   a word, a sentence or pages; paste as much as you like.
p or /play  plays the last file again
?           shows this
Ctrl-C      while it speaks: stops, and keeps what has been said;
            while you type: drops the line; twice leaves
Ctrl-D      leaves"""
PASTED = 0.05  # s within which the next line comes if a text was pasted


def converse(cloner: Cloner, player: Player | None, speed: float = 1.0) -> None:
    """Ask for recordings and a text until the input ends. A mistake costs one line."""
    _edit_lines()
    print("Type ? for help.")
    conversation = _Conversation(cloner, player, speed)
    try:
        while True:
            conversation.ask_voice()
            conversation.ask_text()
    except EOFError:
        print()


class _Conversation:
    def __init__(self, cloner: Cloner, player: Player | None, speed: float) -> None:
        self._cloner, self._player, self._speed = cloner, player, speed
        self._voice: Voice | None = None
        self._recordings = ""  # as they were typed
        self._written: Path | None = None

    def ask_voice(self) -> None:
        """Until there are recordings that can be used."""
        while True:
            kept = f"Enter keeps {self._recordings}" if self._voice else "files"
            answer = self._ask(f"Recordings of the voice to clone ({kept}): ")
            if not answer and self._voice:
                return
            try:
                if paths := [Path(os.path.expanduser(part)) for part in _parts(answer)]:
                    recordings = read_references(paths)
                    self._voice = self._cloner.voice_of(recordings)
                    self._recordings = shlex.join(str(path) for path, _ in recordings)
                    return
            except (UserError, OSError) as error:
                print(f"error: {error}")

    def ask_text(self) -> None:
        """Until there is a text, and say it."""
        while not (text := self._ask("What to say: ", may_be_pasted=True)):
            pass
        try:
            self._written, _ = deliver(self._cloner, self._voice, text, player=self._player, speed=self._speed)
        except (UserError, OSError) as error:
            print(f"error: {error}")
        except KeyboardInterrupt:
            print("Stopped.")

    def _ask(self, question: str, may_be_pasted: bool = False) -> str:
        """The next answer that is not a command. EOFError at the end of the input, KeyboardInterrupt at the second Ctrl-C."""
        was_interrupted = False
        while True:
            try:
                answer = input(question).strip()
            except KeyboardInterrupt:
                if was_interrupted or not sys.stdin.isatty():
                    raise
                was_interrupted = True
                print("\nCtrl-C again leaves.")
                continue
            was_interrupted = False
            if answer == "?":
                print(HELP)
            elif answer in ("p", "/play"):
                self._play_again()
            else:
                return "\n".join([answer, *(_pasted() if may_be_pasted else ())])

    def _play_again(self) -> None:
        if not self._written:
            print("Nothing has been said yet.")
            return
        self._player = self._player or Player()
        with contextlib.suppress(KeyboardInterrupt), self._player.playing(self._cloner.sample_rate) as play:
            for block in audio.wav_blocks(self._written):
                play(block)


def _parts(answer: str) -> list[str]:
    """Words as a shell reads them: quotes and backslashes protect spaces."""
    try:
        return shlex.split(answer)
    except ValueError:  # a quote without its partner, as in a file's name
        return [answer]


def _pasted() -> list[str]:
    """The lines after the first one of a text that was pasted into a terminal."""
    lines = []
    if sys.stdin.isatty() and os.name == "posix":
        with contextlib.suppress(EOFError):
            while select.select([sys.stdin], [], [], PASTED)[0]:
                lines.append(input())
    return lines


def _edit_lines() -> None:
    """Arrow keys edit and recall lines, and Tab completes the names of files, where there is readline."""
    try:
        import readline
    except ImportError:
        return
    is_editline = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_editline else "tab: complete")
    readline.set_completer_delims(" \t\n'\"")
