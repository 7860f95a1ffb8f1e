"""`python -m utils.fetch`: download a file that somebody shares, and keep it only if its checksum is the expected one."""

import argparse
import hashlib
import re
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from utils import cli
from utils.errors import UserError

BLOCK = 1 << 20  # bytes
SECONDS = 30  # without an answer, after which the server is given up
HUB = "https://huggingface.co/{}/{}/resolve/main/{}"


class _OnlyHttps(HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> Request | None:
        if not args[-1].startswith("https://"):
            raise URLError(f"it leads to {args[-1]}, which is no https:// address")
        return super().redirect_request(*args)


def fetch(address: str, path: Path, sha256: str) -> None:
    """Write what is at an https:// address, or in a repository hf://OWNER/NAME/FILE, to `path`.

    UserError, and nothing is written, if the path exists, the server is not reached, or the content has another checksum.
    """
    from utils.data.paths import write_atomically

    if path.exists():
        raise UserError(f"{path}: is there already; name another file")
    if in_hub := re.fullmatch(r"hf://([^/]+)/([^/]+)/(.+)", address):
        address = HUB.format(*in_hub.groups())
    if not address.startswith("https://"):
        raise UserError(f"{address}: is no https:// address, and no hf://OWNER/NAME/FILE", exit_code=2)
    digest = hashlib.sha256()
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        try:
            with build_opener(_OnlyHttps).open(address, timeout=SECONDS) as answer:
                while block := answer.read(BLOCK):
                    digest.update(block)
                    file.write(block)
        except (URLError, HTTPException, TimeoutError, ValueError) as error:  # ValueError: no address
            raise UserError(f"{address}: was not fetched ({error}); check the address and the connection") from error
        if digest.hexdigest() != sha256:
            raise UserError(f"{address}: has the SHA-256 {digest.hexdigest()}, not {sha256}; nothing was kept")


def checksum(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not 64 hexadecimal digits")
    return text.lower()


def main() -> None:
    parser = cli.parser(
        "Download a model that somebody shares. It is kept only if its SHA-256 is the one you give.", "python -m utils.fetch"
    )
    parser.add_argument(
        "address", metavar="ADDRESS", help="https://... or hf://OWNER/NAME/FILE, a file in a Hugging Face repository"
    )
    parser.add_argument("path", type=Path, metavar="FILE", help="where to write; an existing file is never replaced")
    checksum_help = "the file's SHA-256, from someone you trust; a card and config.json show it"
    parser.add_argument("--sha256", type=checksum, required=True, metavar="HEX", help=checksum_help)
    args = parser.parse_args()
    fetch(args.address, args.path, args.sha256)
    print(f"{args.path}: fetched")


if __name__ == "__main__":
    cli.run(main)
