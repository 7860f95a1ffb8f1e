"""Writes docs/architecture.md from the code itself: `python docs/architecture.py`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("encoder", "synthesizer", "vocoder", "utils", "demo")
MODELS = ("model", "layers", "attention", "decoder", "loss", "ge2e", "upsample", "distribution")  # come first in their rooms
INTRODUCTION = f"""\
# Architecture

Written by `python docs/architecture.py` from the code: a section for each folder, with the first sentence of each module's
docstring, models first; "imports" lists what it uses. `tests/test_architecture.py` checks the rules, and that this page fits
the code.

Each package has four kinds of module, and a new line of code belongs in one of them:

- **Models** ({", ".join(f"`{name}`" for name in MODELS)}): the papers in plain
  torch. They know nothing of files, command lines or speed.
- **Speed** (`cpu/`, `cuda`): the same results, faster. Only `accelerate` imports them, whose `accelerate`, `fuse` and
  `recorded_step` are called by training, inference and evaluation alone. Delete these folders and everything still runs.
- **Work** (`preprocess`, `dataset`, `train`, `evaluate`, `inference` and what they are made of, such as `schedule`, `speech`,
  `sampling`, `fold`): an utterance's way from disk to disk.
- **Utilities** (`utils/`): files in `data`, the training loop's surroundings in `training`, what is watched in `boards`,
  what is saved in `models`. They import no package.

The data goes one way:

    corpora -> preprocess -> .npy + train.txt -> dataset -> batch -> model -> checkpoint -> inference -> demo

A script parses its arguments and makes one call. Between packages there are two arrows: `synthesizer.preprocess` embeds
voices with `encoder.inference`, and `vocoder.preprocess` makes aligned mels with `synthesizer.inference`. Only `demo`
knows all three.
"""


def rooms() -> dict[str, list[Path]]:
    """Folders that hold modules, and the modules of each."""
    found: dict[str, list[Path]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            found.setdefault(path.parent.relative_to(ROOT).as_posix(), []).append(path)
    return dict(sorted(found.items(), key=lambda item: (PACKAGES.index(item[0].split("/")[0]), item[0])))


def place(path: Path) -> tuple[int, str]:
    """Models first, in their order, and then the others by name."""
    return MODELS.index(path.stem) if path.stem in MODELS else len(MODELS), path.stem


def purpose(path: Path) -> str:
    """The first sentence of a module's docstring, in one line."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())
    stops = (match.start() for match in re.finditer(r"(?<!al)\. ", text))
    end = next((stop for stop in stops if text[:stop].count('"') % 2 == 0), None)  # "No. 5" is no end
    return text if end is None else text[: end + 1]


def imported(path: Path) -> Iterator[str]:
    """Modules of this repository that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.split(".")[0] in PACKAGES)


def room_of(name: str) -> str:
    """The folder of a dotted name: synthesizer.text.clean is in synthesizer/text."""
    parts = name.split(".")
    while not (ROOT / Path(*parts)).is_dir():
        parts.pop()
    return "/".join(parts)


def architecture() -> str:
    lines = [INTRODUCTION]
    for room, paths in rooms().items():
        arrows = sorted({room_of(name) for path in paths for name in imported(path)} - {room})
        lines += [f"## {room}/", "", purpose(ROOT / room / "__init__.py"), ""]
        if arrows:
            lines += [f"imports {', '.join(f'`{arrow}`' for arrow in arrows)}", ""]
        modules = sorted((path for path in paths if path.stem != "__init__"), key=place)
        lines += ["| module | what it is |", "|---|---|", *(f"| `{path.stem}` | {purpose(path)} |" for path in modules), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    (ROOT / "docs" / "architecture.md").write_text(architecture(), encoding="utf-8", newline="\n")
