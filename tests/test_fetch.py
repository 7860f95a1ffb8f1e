"""Downloads are kept only with the expected checksum."""

import hashlib
import io
from types import SimpleNamespace
from urllib.error import URLError
from urllib.request import Request

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

    monkeypatch.setattr(module, "build_opener", lambda handler: SimpleNamespace(open=answer))
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

    monkeypatch.setattr(module, "build_opener", lambda handler: SimpleNamespace(open=answer))
    with pytest.raises(UserError, match=r"was not fetched \(.*no route.*\); check"):
        fetch("https://example.com/v", tmp_path / "v", SHA)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("leads_to, allowed", [("https://cdn.example.com/v", True), ("http://example.com/v", False)])
def test_a_redirect_must_stay_https(leads_to, allowed):
    def follow():
        return module._OnlyHttps().redirect_request(Request("https://example.com/v"), None, 302, "Found", {}, leads_to)

    if allowed:
        assert follow().full_url == leads_to
    else:
        with pytest.raises(URLError, match="leads to http://example.com/v, which is no https://"):
            follow()
