"""An ONNX file of this project: its names, which export and runner share, and how it is read, without torch and onnx."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from utils.config import with_tuples
from utils.data.paths import one_field
from utils.errors import UserError

FORMAT = "sv2tts-onnx-1"
KEY = "sv2tts"  # of the settings in the metadata
TABLES = ("first", "gates2", "hidden1", "hidden2")  # what the graph of conditioning tells that of sampling, besides the mel
LARGEST = 500_000_000  # bytes of a file

# Where protobuf messages of ONNX hold others, by the numbers of their fields; from onnx.proto
WITHIN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # fields of a tensor whose numbers are in another file
VARINT, BYTES = 0, 2  # types of fields
WIDTHS = {1: 8, 5: 4}  # of the others


class Model:
    """One graph, and the settings in its file."""

    def __init__(self, folder: Path, name: str, n_threads: int) -> None:
        """UserError if the file is missing, damaged, something else, or names other files."""
        import onnxruntime

        path = self._path = folder / f"{name}.onnx"
        if not path.is_file():
            raise UserError(f"{path}: no such file; python -m utils.export --format onnx writes it")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = n_threads, 4
        try:
            if path.stat().st_size > LARGEST:
                raise ValueError(f"it has more than {LARGEST:,} bytes")
            data = path.read_bytes()
            if refers_elsewhere(data):
                raise UserError(f"{path}: refers to other files, which is refused; export it again")
            self.session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
            self.settings = json.loads(self.session.get_modelmeta().custom_metadata_map[KEY])
            self.settings["model"] = with_tuples(self.settings["model"])
            if (self.settings["format"], self.settings["graph"]) != (FORMAT, name):
                raise ValueError(f"it is {self.settings['graph']!r} in the format {self.settings['format']!r}")
        except UserError:
            raise
        except Exception as error:  # onnxruntime has many kinds, and nothing was loaded
            reason = one_field(str(error))[:150]
            raise UserError(f"{path}: is no {name} of this project, or is damaged ({reason}); export it again") from error

    def __call__(self, **inputs: np.ndarray) -> list[np.ndarray]:
        try:
            return self.session.run(None, inputs)
        except Exception as error:  # the graph is not what its settings say
            raise UserError(f"{self._path}: does not run ({one_field(str(error))[:150]}); export it again") from error


def refers_elsewhere(data: bytes) -> bool:
    """Whether a tensor anywhere in a model is to be read from another file. ValueError if the bytes are no model."""
    waiting = [("model", memoryview(data))]
    while waiting:
        kind, message = waiting.pop()
        for field, value in _fields(message):
            if kind == "tensor" and field in (EXTERNAL_DATA, DATA_LOCATION) and value != 0:
                return True
            if (inner := WITHIN[kind].get(field)) and isinstance(value, memoryview):
                waiting.append((inner, value))
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The numbers of a message's fields, with their values."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == VARINT:
            value, at = _varint(message, at)
        elif kind in (BYTES, *WIDTHS):
            size, at = _varint(message, at) if kind == BYTES else (WIDTHS[kind], at)
            value, at = message[at : at + size], at + size
        else:
            raise ValueError("it is no protobuf message")
        if at > len(message):
            raise ValueError("it is cut short")
        yield (key & 0xFFFFFFFF) >> 3, value  # as a reader in C++ does


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number that begins there, seven bits a byte, and where it ends."""
    number = 0
    for shift, byte in enumerate(message[at : at + 10]):
        number |= (byte & 127) << 7 * shift
        if byte < 128:
            return number, at + shift + 1
    raise ValueError("it is cut short")
