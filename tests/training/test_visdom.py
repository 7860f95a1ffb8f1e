"""Drawing on a real Visdom server, which may die while training goes on."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from tests import ROOT
from utils.boards import plot
from utils.boards.board import Board
from utils.data.mel_format import MelFormat

# What `python -m visdom.server` runs after it has downloaded the scripts of its page, which needs the internet.
SERVE = "from visdom.server.run_server import start_server; start_server({port}, '127.0.0.1', '', {env!r})"


@contextmanager
def serving(folder):
    """A server process and its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = SERVE.format(port=port, env=str(folder))
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    yield server, port
    server.kill()
    server.wait()


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("visdom")) as (_, port):
        yield port


def windows(port, run="run"):
    from visdom import Visdom

    client = Visdom(server="http://127.0.0.1", port=port, env=f"{run}_encoder", use_incoming_socket=False)
    return json.loads(client.get_window_data(None, f"{run}_encoder"))


def test_the_page_opens(port):
    page = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/", timeout=20)
    assert page.status == 200 and b"js/main.js" in page.read()


def test_numbers_pictures_and_sounds_arrive(tmp_path, port):
    board = Board(tmp_path / "run", "encoder", f"http://127.0.0.1:{port}", every=2)
    board.parameters({"learning_rate": 0.1, "init_from": "<odd> & name.pt"})
    for step in range(1, 7):
        board.scalars(step, {"loss": 1 / step})
    board.figure(6, "mel", lambda: plot.mels({"predicted": np.zeros((50, 80)), "target": np.ones((50, 80))}, MelFormat()))
    board.audio(6, "tone", np.sin(np.arange(1600) / 10), 16000)
    board.close()
    shown = windows(port)
    assert set(shown) == {"parameters", "train/loss", "picture/mel", "sound/tone"}
    assert shown["train/loss"]["content"]["data"][0]["x"] == [2, 4, 6]
    assert "<td>learning_rate</td>" in shown["parameters"]["content"] and "&lt;odd&gt; &amp;" in shown["parameters"]["content"]


def test_measures_that_belong_together_share_a_window(tmp_path, port):
    board = Board(tmp_path / "shared", "encoder", f"http://127.0.0.1:{port}", every=1)
    for step, skipped in ((1, 0), (2, 0), (3, 1)):
        board.scalars(step, {"steps_per_second": 2.0, "skipped_steps": skipped})
        measured = {"eer": 0.1, "eer_low": 0.05, "eer_high": 0.2, "same_cosine": 0.9, "different_cosine": 0.2}
        board.scalars(step, {name: value / step for name, value in measured.items()}, held_out=True)
    board.close()
    shown = windows(port, "shared")
    assert set(shown) == {"train/steps_per_second", "train/skipped_steps", "eval/eer", "eval/cosine"}
    traces = {trace["name"]: trace for trace in shown["eval/eer"]["content"]["data"]}
    assert list(traces) == ["EER", "95 % interval", "its upper end"]
    assert traces["EER"]["x"] == [1, 2, 3] and traces["EER"]["y"] == [0.1, 0.1 / 2, 0.1 / 3]
    assert traces["95 % interval"]["line"]["dash"] == "dot" and traces["EER"]["line"].get("dash") != "dot"
    assert shown["eval/eer"]["content"]["layout"]["yaxis"]["rangemode"] == "tozero"
    assert shown["train/skipped_steps"]["content"]["data"][0]["x"] == [3]  # not before there were any


def test_the_offline_script_lays_every_file_that_the_server_would_download(tmp_path, monkeypatch):
    """npm and cp are stand-ins: the test is which files go where."""
    import requests
    from visdom.server.build import download_scripts

    empty = SimpleNamespace(read=lambda: b"", content=b"")
    monkeypatch.setattr(urllib.request.OpenerDirector, "open", lambda *args, **kwargs: empty)
    monkeypatch.setattr(requests, "get", lambda *args, **kwargs: empty)
    download_scripts(install_dir=str(tmp_path / "downloaded"))
    (tmp_path / "bin").mkdir()
    for name, text in (("npm", "mkdir -p package && tar -czf a.tgz package && echo a.tgz"), ("cp", ': >"$2"')):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHON": sys.executable}
    laid = tmp_path / "laid"
    subprocess.run([ROOT / "docs" / "visdom-offline.sh", laid], env=environment, check=True, capture_output=True, timeout=60)
    wanted = tmp_path / "downloaded" / "static"
    missing = {path.relative_to(wanted) for path in wanted.rglob("*") if path.is_file()} - {
        path.relative_to(laid) for path in laid.rglob("*")
    }
    assert not missing and (laid / "version.built").read_text() == (wanted / "version.built").read_text() + "\n"


def test_a_server_that_dies_is_given_up_in_one_line(tmp_path, capfd):
    with serving(tmp_path) as (server, port):
        lose(server, port, tmp_path / "run")
    assert capfd.readouterr().err.count("Visdom is given up") == 1
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 99


def lose(server, port, folder):
    """Train 99 steps, the server being killed after the first."""
    board = Board(folder, "encoder", f"http://127.0.0.1:{port}", every=1)
    board.scalars(1, {"loss": 1.0})
    while "train/loss" not in windows(port):
        time.sleep(0.1)
    server.kill()
    server.wait()
    started = time.perf_counter()
    for step in range(2, 100):
        board.scalars(step, {"loss": 1 / step})
    assert time.perf_counter() - started < 1
    board.close()
