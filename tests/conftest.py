import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import ROOT

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is first imported, by whichever test


@pytest.fixture(scope="session")
def samples() -> Path:
    """The datasets_root that comes with the repository."""
    return ROOT / "samples"


@pytest.fixture(scope="session")
def expected() -> dict[str, np.ndarray]:
    """What the published models answer: signal processing, text, encoder, synthesizer, vocoder (data/README.md)."""
    with np.load(ROOT / "tests" / "data" / "expected.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def preprocessed(samples, tmp_path_factory) -> Path:
    """The ten training speakers of the samples as the encoder's preprocessing writes them."""
    from encoder.preprocess import preprocess

    out = tmp_path_factory.mktemp("encoder")
    preprocess(samples, out, ["LibriSpeech/train-clean-100"], n_processes=1)
    return out


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    """Small models are fastest on one thread, and tests do not depend on each other's random numbers."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
