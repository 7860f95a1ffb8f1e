"""`python -m encoder.download`: fetch the default encoder, which others published (see NOTICE)."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from utils import cli
from utils.config import default_model
from utils.errors import UserError

# The wheel with the weights; pip accepts only the file with this checksum.
REQUIREMENT = "resemblyzer==0.1.4 --hash=sha256:8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f"
MEMBER = "resemblyzer/pretrained.pt"
PIP = (
    *("-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"),
    *("--no-input", "--quiet", "--disable-pip-version-check", "--retries=1", "--timeout=15"),
)


def fetch(path: Path, requirement: str = REQUIREMENT) -> bool:
    """Write the weights to `path`; if it exists, change nothing and return False.

    UserError if the package index cannot be reached or sends another file; nothing is written then.
    """
    from utils.data.paths import write_atomically

    path = Path(path)
    if path.exists():
        return False
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(requirement, Path(folder), path)
        with write_atomically(path) as temporary, zipfile.ZipFile(wheel) as archive:
            temporary.write_bytes(archive.read(MEMBER))
    return True


def _download(requirement: str, folder: Path, path: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{requirement}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *PIP, "--requirement", str(requirements), "--dest", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        hint = "`make weights` tries again; until then, name another encoder"
        raise UserError(f"{path}: was not fetched: {_reason(done.stderr)}; {hint}")
    return next(folder.glob("*.whl"))


def _reason(errors: str) -> str:
    """The gist of pip's output."""
    if "DO NOT MATCH THE HASHES" in errors:
        return "the package index sent a file with another checksum than expected"
    if "No matching distribution" in errors:
        return "the package index was not reached, or lacks the file"
    lines = [line.removeprefix("ERROR: ") for line in errors.splitlines() if line.strip()]
    return f"pip failed ({lines[-1][:150] if lines else 'without a message'})"


def main() -> None:
    parser = cli.parser(
        "Fetch the default encoder of the demo and synthesizer_preprocess_embeds.py: the weights that Resemble AI published "
        "with Resemblyzer 0.1.4, 17 MB, from the package index that pip uses. An existing file is never replaced.",
        "python -m encoder.download",
    )
    parser.add_argument("path", nargs="?", type=Path, default=default_model("encoder"), metavar="FILE", help="where to write")
    path = parser.parse_args().path
    print(f"{path}: {'fetched' if fetch(path) else 'is there already'}")


if __name__ == "__main__":
    cli.run(main)
