"""A real Visdom server is drawn on, and may die while training goes on."""

import json
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from utils import plot
from utils.board import Board

# What `python -m visdom.server` runs after it has downloaded the scripts of its page, which needs the internet.
SERVE = "from visdom.server.run_server import start_server; start_server({port}, '127.0.0.1', '', {env!r})"


@pytest.fixture
def visdom_server(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "env").mkdir()
    code = SERVE.format(port=port, env=str(tmp_path / "env"))
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


def windows(port):
    from visdom import Visdom

    client = Visdom(server="http://127.0.0.1", port=port, env="run_encoder", use_incoming_socket=False)
    return json.loads(client.get_window_data(None, "run_encoder"))


def test_numbers_pictures_and_sounds_arrive(tmp_path, visdom_server):
    _, port = visdom_server
    board = Board(tmp_path / "run", "encoder", f"http://127.0.0.1:{port}", every=2)
    board.parameters({"learning_rate": 0.1})
    for step in range(1, 7):
        board.scalars(step, {"loss": 1 / step})
    board.figure(6, "mel", lambda: plot.mels({"predicted": np.zeros((50, 80)), "target": np.ones((50, 80))}, 0.0125))
    board.audio(6, "tone", np.sin(np.arange(1600) / 10), 16000)
    board.close()
    shown = windows(port)
    assert set(shown) == {"parameters", "loss", "mel", "audio-tone"}
    assert shown["loss"]["content"]["data"][0]["x"] == [2, 4, 6]


def test_a_server_that_dies_is_given_up_in_one_line(tmp_path, visdom_server, capfd):
    server, port = visdom_server
    board = Board(tmp_path / "run", "encoder", f"http://127.0.0.1:{port}", every=1)
    board.scalars(1, {"loss": 1.0})
    while "loss" not in windows(port):
        time.sleep(0.1)
    server.kill()
    server.wait()
    started = time.perf_counter()
    for step in range(2, 100):
        board.scalars(step, {"loss": 1 / step})
    assert time.perf_counter() - started < 1
    board.close()
    assert capfd.readouterr().err.count("Visdom is given up") == 1
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 99
