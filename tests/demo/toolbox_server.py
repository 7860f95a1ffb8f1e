"""The toolbox with models that answer at once: `python -m tests.demo.toolbox_server <folder> <port>`.

The folder gets the models, and `connections`, a line for each connection of this process to another machine.
"""

import dataclasses
import itertools
import sys
import types
from pathlib import Path

import numpy as np

from demo.cloner import Cloner
from demo.toolbox.models import Choice, Models
from encoder.inference import SpeakerEmbedder
from tests import ROOT
from tests.demo.demo_fakes import FakeSynthesizer, FakeVocoder
from tests.vocoder_data import FORMAT, TINY, write_encoder, write_synthesizer, write_vocoder
from utils.data import audio
from vocoder.model import WaveRNN, WaveRNNConfig

SPEECH = ROOT / "samples/LibriSpeech/test-clean/90012/100120/90012-100120-0000.flac"
DEFAULT = Choice("default", "default", "default")


class SpeechVocoder(FakeVocoder):
    """Whatever is to be said, it is the beginning of a recording."""

    def __init__(self) -> None:
        self._wav = audio.load(SPEECH)

    def infer_waveform(self, mel, **options) -> np.ndarray:
        return np.resize(self._wav, mel.shape[1] * 200)


class Synthesizer(FakeSynthesizer):
    path = Path("default/synthesizer.pt")
    model = types.SimpleNamespace(config=types.SimpleNamespace(speaker_size=256))


class FakeModels(Models):
    """Those of a folder, but the default ones answer at once, or after some seconds for each piece."""

    seconds = 0.0

    def cloner(self, choice: Choice) -> Cloner:
        if choice != DEFAULT:
            return super().cloner(choice)
        with self.turn:
            encoder = self._model("encoder", "default", SpeakerEmbedder)
            return self._kept("cloner", choice, lambda: Cloner(encoder, Synthesizer(seconds=self.seconds), SpeechVocoder()))


def write_models(folder: Path) -> Path:
    """Runs: default; other, which has another encoder; foreign, a vocoder of another mel format; damaged."""
    for seed, run in enumerate(("default", "other")):
        write_encoder(folder / run / "encoder.pt", seed)
    write_synthesizer(folder / "default" / "synthesizer.pt")
    vocoder = WaveRNN(WaveRNNConfig(**TINY)).eval()
    write_vocoder(folder / "default" / "vocoder.pt", vocoder)
    write_vocoder(folder / "foreign" / "vocoder.pt", vocoder, dataclasses.replace(FORMAT, fmin=0.0))
    (folder / "damaged").mkdir()
    (folder / "damaged" / "encoder.pt").write_bytes(b"no model")
    return folder


def note_connections(path: Path) -> None:
    """Write down every address that is not of this machine."""

    def hook(event: str, arguments: tuple) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            address = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
            host = str(address[0] if isinstance(address, tuple) else address)
            if not host.startswith(("127.", "localhost", "::1", "/", "0.0.0.0")):
                with path.open("a") as file:
                    file.write(f"{event} {address}\n")

    sys.addaudithook(hook)


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    note_connections(folder / "connections")
    import demo.toolbox.page as page
    from demo.toolbox import speaking

    page.Models, FakeModels.seconds = FakeModels, 0.25  # so that there is time to press a button
    numbers = itertools.count(1)
    speaking.random.randrange = lambda n: next(numbers)
    page.serve(ROOT / "samples", write_models(folder / "models"), "127.0.0.1", port, None, True, "", False)


if __name__ == "__main__":
    from utils import cli

    cli.run(main)
