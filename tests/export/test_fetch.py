"""Downloads are kept only with the expected checksum."""

import hashlib
import io
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
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


class Answers(BaseHTTPRequestHandler):
    """/whole is the content, /cut ends early, /away leads to an address without encryption, all else is not there."""

    def do_GET(self):
        code = {"/whole": 200, "/cut": 200, "/away": 302}.get(self.path, 404)
        self.send_response(code)
        self.send_header("Content-Length", str(len(CONTENT) if code == 200 else 0))
        self.send_header("Location", "http://127.0.0.1/whole")
        self.end_headers()
        if code == 200:
            self.wfile.write(CONTENT if self.path == "/whole" else CONTENT[:1000])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch) -> str:
    """The address of an HTTPS server on this machine, whose certificate is trusted."""
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    options = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=here -addext subjectAltName=IP:127.0.0.1".split()
    subprocess.run(["openssl", *options, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as http:
        http.socket = context.wrap_socket(http.socket, server_side=True)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_from_a_real_server(server, tmp_path, monkeypatch):
    path = tmp_path / "models" / "v"
    for name, sha256, told in (
        ("whole", "0" * 64, f"has the SHA-256 {SHA}, not 0000"),
        ("cut", SHA, "has the SHA-256 .*nothing was kept"),
        ("none", SHA, r"was not fetched \(HTTP Error 404"),
        ("away", SHA, "was not fetched .*leads to http://127.0.0.1/whole, which is no https"),
    ):
        with pytest.raises(UserError, match=told) as caught:
            fetch(f"{server}/{name}", path, sha256)
        assert str(caught.value).startswith(f"{server}/{name}: ") and "\n" not in str(caught.value)
    assert not [*path.parent.iterdir()]
    fetch(f"{server}/whole", path, SHA)
    assert path.read_bytes() == CONTENT
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(UserError, match=r"was not fetched \(.*certificate verify failed"):
        fetch(f"{server}/whole", Path(f"{path}2"), SHA)
