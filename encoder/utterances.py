"""utterances.tsv: where each utterance of a speaker starts in mels.npy. Written last, so that it marks a finished speaker."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from utils.data.paths import save_text
from utils.data.tables import damaged, first_line, marked, read_marked

MARKED = " marked=True"  # at the end of the settings: the lines carry marks, which older versions did not write
COLUMNS = "name\tstart\tn_frames\tsource"
REMEDY = "delete the file, and run encoder_preprocess.py with --skip_existing, which makes this speaker again"


class Placed(NamedTuple):
    """One utterance."""

    name: str
    start: int  # frame
    n_frames: int
    source: str  # audio file, from datasets_root


class Table(NamedTuple):
    made_with: str  # settings, as one line
    rows: Sequence[Placed]  # one after another in mels.npy


def write_table(path: Path, table: Table) -> None:
    rows = ("\t".join(map(str, row)) for row in table.rows)
    save_text(path, "".join(marked([table.made_with + MARKED, COLUMNS, *rows])))


def read_table(path: Path) -> Table:
    """Inverse of write_table. UserError, with file and line, if anything in it is damaged."""
    made_with, rows, end, number = "", [], 0, 0
    for number, line in read_marked(path, REMEDY, must_be_marked=MARKED in first_line(path)):
        if number == 1:
            made_with = line.removesuffix(MARKED)
        elif number > 2 or line != COLUMNS:
            rows.append(_row(path, number, line, end))
            end += rows[-1].n_frames
    if number < 2:
        raise damaged(path, number + 1, REMEDY, "is missing, the file is cut short")
    return Table(made_with, rows)


def _row(path: Path, number: int, line: str, expected_start: int) -> Placed:
    try:
        name, start, n_frames, source = line.split("\t")
        row = Placed(name, int(start), int(n_frames), source)
    except ValueError as error:
        raise damaged(path, number, REMEDY) from error
    if row.start != expected_start or not 0 <= row.n_frames < 2**40:
        raise damaged(path, number, REMEDY, "is damaged, it does not start where the line before it ends")
    return row
