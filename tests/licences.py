"""`make licences`: the licence of every installed package that requirements.txt needs, and those that are not permissive."""

import re
import sys
from importlib import metadata
from pathlib import Path

from tests import ROOT

PERMISSIVE = re.compile(r"MIT|BSD|Apache|ISC|PSF|Python Software|Zlib|Unlicense|HPND|CC0|MPL|Mozilla", re.IGNORECASE)
COPYLEFT = re.compile(r"GPL|GNU", re.IGNORECASE)


def needed(requirements: Path) -> list[str]:
    """The names of the packages that a requirements file needs, with those that they need, sorted."""
    waiting = [line for line in requirements.read_text(encoding="utf-8").splitlines() if line and line[0] not in "#-"]
    found: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-").replace(".", "-")
        if name in found or "extra ==" in requirement:
            continue
        try:
            waiting += metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another system or version of Python
            continue
        found.add(name)
    return sorted(found)


def licence(name: str) -> str:
    """What the package says of itself, in a few words."""
    about = metadata.metadata(name)
    classifiers = [line.split(" :: ")[2:] for line in about.get_all("Classifier") or [] if line.startswith("License")]
    stated = about.get("License-Expression") or ", ".join(map(" ".join, filter(None, classifiers))) or about.get("License")
    stated = stated or "not stated"
    return " ".join(stated.split())[:70]


def main() -> None:
    names = needed(ROOT / "requirements.txt")
    others = []
    for name in names:
        stated = licence(name)
        print(f"{name:28} {metadata.version(name):16} {stated}")
        if COPYLEFT.search(stated) or not PERMISSIVE.search(stated):
            others.append(f"{name}: {stated}")
    print(f"\n{len(names)} packages, {len(names) - len(others)} of them permissive", *others, sep="\n    ")
    sys.exit(0)


if __name__ == "__main__":
    main()
