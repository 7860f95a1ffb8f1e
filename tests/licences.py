"""`make licences`: the licences of the installed packages that the requirements need, and those that are not permissive."""

import re
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import ROOT
from utils import cli

PERMISSIVE = re.compile(r"MIT|BSD|Apache|ISC|PSF|Python Software|Zlib|Unlicense|HPND|CC0|MPL|Mozilla", re.IGNORECASE)
COPYLEFT = re.compile(r"GPL|GNU", re.IGNORECASE)


def needed(files: Iterable[Path]) -> list[str]:
    """The names of the installed packages that requirements files need, with those that they need, sorted."""
    lines = [line.partition(" #")[0] for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    waiting = [Requirement(line) for line in lines if line and line[0] not in "#-"]
    found: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            package = canonicalize_name(requirement.name), extra
            with suppress(metadata.PackageNotFoundError):
                if package not in found:
                    of_package = map(Requirement, metadata.requires(requirement.name) or [])
                    waiting += [each for each in of_package if not each.marker or each.marker.evaluate({"extra": extra})]
                    found.add(package)
    return sorted({name for name, _ in found})


def licence(name: str) -> str:
    """What the package says of itself, in a few words."""
    about = metadata.metadata(name)
    classifiers = [line.split(" :: ")[2:] for line in about.get_all("Classifier") or [] if line.startswith("License")]
    stated = about.get("License-Expression") or ", ".join(map(" ".join, filter(None, classifiers))) or about.get("License")
    stated = stated or "not stated"
    return " ".join(stated.split())[:70]


def not_permissive(names: Iterable[str]) -> dict[str, str]:
    """The licences of those packages whose users have duties beyond naming the authors, by name."""
    stated = {name: licence(name) for name in names}
    return {name: words for name, words in stated.items() if COPYLEFT.search(words) or not PERMISSIVE.search(words)}


def main() -> None:
    names = needed(ROOT.glob("requirements*.txt"))
    for name in names:
        print(f"{name:28} {metadata.version(name):16} {licence(name)}")
    others = not_permissive(names)
    print(f"\n{len(names)} packages, {len(names) - len(others)} of them permissive")
    print(*(f"    {name}: {stated}" for name, stated in others.items()), sep="\n")


if __name__ == "__main__":
    cli.run(main)
