"""A text said into a file and to the loudspeaker, while it is made."""

import contextlib
import itertools
import sys
from pathlib import Path

from tqdm import tqdm

from demo.cloner import Cloner, Voice
from demo.playing import Player
from demo.spoken import Record, save_picture
from utils.data import audio
from utils.data.paths import read_text
from utils.errors import UserError

PICTURED = 60.0  # seconds; of a longer text, the picture shows the beginning
LONGEST_TEXT = 20_000_000  # characters, which take days to say
BAR = "{percentage:3.0f} % said |{bar}| {n_fmt} of {total_fmt} pieces, {remaining} left"


def text_in(path: Path) -> str:
    """The text in a file. Raises UserError if it is not UTF-8, blank or endless."""
    text = read_text(path, LONGEST_TEXT)
    if not text.strip():
        raise UserError(f"{path}: holds no text")
    return text


def deliver(
    cloner: Cloner,
    voice: Voice,
    text: str,
    output: Path | None = None,
    picture: Path | None = None,
    player: Player | None = None,
    speed: float = 1.0,
) -> tuple[Path, Record]:
    """Write the wave (output None: to the first free demo_output_NN.wav) and the picture, if asked for; play it, with a player.

    On Ctrl-C, writes what has been said so far and re-raises it. Raises UserError if nothing in the text can be read.
    """
    free = (path for n in itertools.count(1) if not (path := Path(f"demo_output_{n:02d}.wav")).exists())
    path, record, rate = output or next(free), cloner.record(PICTURED), cloner.sample_rate
    n_pieces, interrupted = cloner.synthesizer.n_pieces(text), False
    with player.playing(rate) if player else contextlib.nullcontext() as play:
        with audio.wav_writer(path, rate) as write:
            try:
                pieces = cloner.say(voice, text, speed)
                for line in cloner.unread(text):
                    print(line)
                for piece in tqdm(pieces, total=n_pieces, bar_format=BAR, disable=None if n_pieces > 1 else True, leave=False):
                    write(piece.wav)
                    record.add(piece)
                    if play:
                        play(piece.wav)
            except KeyboardInterrupt:
                if not record.n_pieces:  # there is nothing to write
                    raise
                interrupted = True
            write(cloner.tail)
        print(*record.report(voice.pace), sep="\n")
        print(f"Stopped by Ctrl-C. Written so far: {path}" if interrupted else f"Written: {path}")
        if picture:
            save_picture(picture, record.spoken(cloner.tail))
            part = f", of the first {PICTURED:.0f} s" if record.n_kept < record.n_pieces else ""
            print(f"Written: {picture}{part}")
        sys.stdout.flush()  # before the sound ends
        if interrupted:
            raise KeyboardInterrupt
    return path, record
