"""metrics.jsonl: a line of JSON for the numbers of a step. Damaged lines are left out, and removed when a run goes on."""

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from utils.data.paths import write_atomically


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The rows: {"stage": name, "step": number, measure: finite number or None, ...}. None of them if there is no file.

    A line may be cut short because a process was killed, or hold anything after a power loss.
    """
    if not Path(path).is_file():
        return
    with Path(path).open(encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            with suppress(ValueError, RecursionError):
                row = json.loads(line)
                if isinstance(row, dict) and isinstance(row.get("stage"), str) and isinstance(row.get("step"), int):
                    yield {name: value for name, value in row.items() if name == "stage" or _is_number(value)}


def forget_steps_after(first_step: int, path: Path, stage: str) -> None:
    """Drop this stage's rows of later steps, which are trained again, and what is damaged."""
    kept = [json.dumps(row) + "\n" for row in read_metrics(path) if row["stage"] != stage or row["step"] <= first_step]
    if path.exists() and sum(len(line) for line in kept) != path.stat().st_size:
        with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(kept)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and abs(value) <= sys.float_info.max)
