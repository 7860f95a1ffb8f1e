"""config.json and README.md beside exported models, as model hubs show them."""

import json
import re
from pathlib import Path
from typing import Any

from utils.data.names import within
from utils.data.paths import read_text, save_text, sha256
from utils.errors import UserError

MARKS = ("<!-- files: begin -->", "<!-- files: end -->")  # around the table of files in a card
FRONT = """---
library_name: sv2tts
pipeline_tag: text-to-speech
tags:
- text-to-speech
- voice-cloning
---
"""
CARD = f"""
# A voice cloner

Speaks any text in the voice of a few seconds of speech. Made with SV2TTS, whose docs/sharing.md explains these files.

{MARKS[0]}
{MARKS[1]}

Before you publish this: say what the models were trained on, how good they are, and under which licence they may be used, here
and as `license:` above. Do not clone a voice without its owner's consent.
"""
HEAD = "| file | steps | precision | size | SHA-256 |\n|---|---|---|---|---|\n"
ROW = "| `{file}` | {step:,} | {precision} | {megabytes:.1f} MB | `{sha256}` |\n"
SETTINGS = ("model", "mel", "symbols", "training")


def listed(folder: Path, replace: bool) -> dict[str, dict[str, Any]]:
    """What config.json says of the files that are still there. UserError, without `replace`, if it is not one of an export."""
    path = folder / "config.json"
    if not path.exists():
        return {}
    try:
        files = json.loads(read_text(path))["files"]
        paths = {name: within(folder, name) for name, each in files.items() if each["file"] == name and _row(each)}
        return {name: files[name] for name, path in paths.items() if path.is_file() and sha256(path) == files[name]["sha256"]}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, UserError) as error:
        if replace:
            return {}
        raise UserError(f"{path}: was not written by an export; name another folder, or pass --replace") from error


def write_card(
    folder: Path, earlier: dict, written: dict[str, Path], contents: dict[str, dict], card: Path | None, precision: str
) -> None:
    """Write config.json and README.md: of the files that are `listed` and of those written now, by their names.

    contents: of each stage, that of its checkpoint. A README that is there gets the new table between its MARKS, if it has
    them; otherwise it is made of `card`, or is one to be completed.
    """
    now = {path.name: _described(path, contents[name.partition("_")[0]], precision) for name, path in written.items()}
    files = dict(sorted((earlier | now).items()))
    save_text(folder / "config.json", json.dumps({"files": files}, indent=2, ensure_ascii=False) + "\n")
    readme, table = folder / "README.md", HEAD + "".join(map(_row, files.values()))
    new = _adapted(read_text(card)) if card and card.is_file() else FRONT + CARD
    text = read_text(readme) if readme.exists() else new
    save_text(readme, filled(text, MARKS, table) or text)


def _described(path: Path, content: dict[str, Any], precision: str) -> dict[str, Any]:
    size = round(path.stat().st_size / 1e6, 3)
    file = {"file": path.name, "sha256": sha256(path), "megabytes": size, "step": int(content["step"]), "precision": precision}
    return file | {name: content[name] for name in SETTINGS if name in content}


def _row(described: dict[str, Any]) -> str:
    return ROW.format(**described)


def _adapted(card: str) -> str:
    """The card of the models for another folder: with what hubs read at the top, a place for the table of files under the
    title, and without links to what is not there."""
    card = re.sub(r"!?\[([^\]]*)\]\((?!\w+:|#)[^)]*\)", r"\1", card)
    card = re.sub(f"{MARKS[0]}\n.*?{MARKS[1]}\n\n?", "", card, flags=re.DOTALL)
    card = re.sub(r"(^# .*\n|\Z)", rf"\1\n{MARKS[0]}\n{MARKS[1]}\n", card, count=1, flags=re.MULTILINE)
    return card if card.startswith("---\n") else f"{FRONT}\n{card}"


def filled(text: str, marks: tuple[str, str], content: str) -> str:
    """The text with `content` between two marks, each on a line of its own; "" if it has no such marks."""
    before, first, rest = text.partition(f"{marks[0]}\n")
    _, last, after = rest.partition(f"{marks[1]}\n")
    return f"{before}{first}{content}{last}{after}" if first and last else ""
