"""Downloads are kept only with the expected checksum."""

import hashlib
import io
from urllib.error import URLError

import pytest

from utils import fetch as module
from utils.errors import UserError
from utils.fetch import fetch

CONTENT = b"weights" * 500_000
SHA = hashlib.sha256(CONTENT).hexdigest()


def test_a_file_is_kept_only_with_the_expected_checksum(tmp_path, monkeypatch):
    asked, path = [], tmp_path / "models" / "vocoder.safetensors"

    def answer(address, timeout):
        asked.append(address)
        return io.BytesIO(CONTENT)

    monkeypatch.setattr(module, "urlopen", answer)
    with pytest.raises(UserError, match=f"has the SHA-256 {SHA}, not 000.*nothing was kept"):
        fetch("https://example.com/v", path, "0" * 64)
    for address in ("http://example.com/v", "file:///etc/passwd", "hf://short"):
        with pytest.raises(UserError, match="is no https:// address"):
            fetch(address, path, SHA)
    assert not [each for each in tmp_path.rglob("*") if each.is_file()]
    fetch("hf://someone/voice/sub/v.safetensors", path, SHA)
    assert asked == ["https://example.com/v", "https://huggingface.co/someone/voice/resolve/main/sub/v.safetensors"]
    assert path.read_bytes() == CONTENT
    with pytest.raises(UserError, match="is there already"):
        fetch("https://example.com/v", path, SHA)


def test_an_unreachable_server_is_one_line(tmp_path, monkeypatch):
    def answer(address, timeout):
        raise URLError("no route")

    monkeypatch.setattr(module, "urlopen", answer)
    with pytest.raises(UserError, match=r"was not fetched \(.*no route.*\); check"):
        fetch("https://example.com/v", tmp_path / "v", SHA)
    assert not [*tmp_path.iterdir()]
