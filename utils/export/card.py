"""config.json and README.md beside exported models, as model hubs show them."""

import json
from pathlib import Path
from typing import Any

from utils.data.paths import save_text, sha256

FRONT = """---
library_name: sv2tts
pipeline_tag: text-to-speech
tags:
- text-to-speech
- voice-cloning
- {format}
---
"""
CARD = """
# A voice cloner

Speaks any text in the voice of a few seconds of speech. Made with SV2TTS, whose docs/sharing.md explains these files.

{table}

Before you publish this: say what the models were trained on, how good they are, and under which licence they may be used.
Do not clone a voice without its owner's consent.
"""
ROW = "| {file} | {name}, {step:,} steps | {megabytes:.1f} MB | `{sha256}` |\n"


def write_card(written: dict[str, Path], contents: dict[str, dict[str, Any]], card: Path | None, precision: str) -> None:
    """Write config.json, and README.md unless it is there: a copy of `card`, or one to be completed.

    written: files by their names. contents: of each stage, that of its checkpoint.
    """
    folder, format = next(iter(written.values())).parent, next(iter(written.values())).suffix[1:]
    described = {name: _described(path, contents[name.partition("_")[0]]) for name, path in written.items()}
    settings = {"format": format, "precision": precision, "models": described}
    save_text(folder / "config.json", json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    readme = folder / "README.md"
    if readme.exists():
        return
    front = FRONT.format(format=format)
    if card and card.is_file():
        text = card.read_text(encoding="utf-8")
        save_text(readme, text if text.startswith("---") else f"{front}\n{text}")
        return
    rows = [ROW.format(name=name, megabytes=path.stat().st_size / 1e6, **described[name]) for name, path in written.items()]
    table = "| file | model | size | SHA-256 |\n|---|---|---|---|\n" + "".join(rows)
    save_text(readme, front + CARD.format(table=table.rstrip()))


def _described(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    shown = {name: content[name] for name in ("model", "mel", "symbols", "training") if name in content}
    return {"file": path.name, "sha256": sha256(path), "step": int(content["step"]), **shown}
