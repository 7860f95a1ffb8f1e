"""Builds ONNX graphs, node by node. A value of a graph is known by its name."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

OPSET, IR_VERSION = 17, 8  # of 2022, which runtimes two years old read
FLOAT, INT32, INT64, BOOL = 1, 6, 7, 9  # of onnx.TensorProto, for `op("Cast", ..., to=)`
TYPES = {"float": FLOAT, "int64": INT64, "bool": BOOL}
LARGEST_INT8 = 63  # 7 bits: without VNNI, sums of products of 8 bits overflow on a CPU

Value = str


class Graph:
    """A graph under construction. precision says how matrices are stored: fp32; fp16, which calculates in fp32; or int8, for
    the products of `linear`, whose other inputs are rounded to 8 bits too (the rest is as in fp16)."""

    def __init__(self, name: str, precision: str = "fp32", outer: "Graph | None" = None) -> None:
        self._name, self._precision, self._root = name, precision, outer._root if outer else self
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        if not outer:
            self._constants: dict[str, onnx.TensorProto] = {}
            self._by_content: dict[tuple, Value] = {}
            self._n_values = 0

    def inner(self, name: str) -> "Graph":
        """A graph inside this one, for Loop and Scan; it may use this one's values."""
        return Graph(name, self._precision, self)

    def input(self, name: str, shape: Sequence[int | str], type: str = "float") -> Value:
        """shape: numbers, and names of sizes that differ from call to call."""
        self._inputs.append(helper.make_tensor_value_info(name, TYPES[type], shape))
        return name

    def output(self, value: Value, name: str, shape: Sequence[int | str] | None = None, type: str = "float") -> None:
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, TYPES[type], shape))

    def op(self, kind: str, *inputs: Value | None, n: int = 1, **attributes: Any) -> Any:
        """A node of this kind -> its output, or its n outputs."""
        outputs = [self._root._new_name(kind) for _ in range(n)]
        attributes = {name: each._finished() if isinstance(each, Graph) else each for name, each in attributes.items()}
        self._nodes.append(helper.make_node(kind, [each or "" for each in inputs], outputs, **attributes))
        return outputs[0] if n == 1 else outputs

    # ---- constants

    def constant(self, values: Any, dtype: type = np.float32) -> Value:
        """Exact, whatever the precision."""
        return self._root._stored(np.asarray(values, dtype=dtype))

    def ints(self, *values: int) -> Value:
        """int64 (n,), as shapes and axes are given."""
        return self.constant(values, np.int64)

    def weight(self, values: Tensor | np.ndarray) -> Value:
        """A matrix or kernel, in half precision unless the precision is fp32."""
        values = as_array(values)
        if self._precision == "fp32":
            return self.constant(values)
        root = self._root
        half = root._stored(values.astype(np.float16))
        if (key := ("cast", half)) not in root._by_content:
            root._by_content[key] = root.op("Cast", half, to=FLOAT)
        return root._by_content[key]

    # ---- what models are made of

    def linear(self, x: Value, weight: Tensor, bias: Tensor | None = None, exact: bool = False) -> Value:
        """x (..., inputs), weight (outputs, inputs) -> (..., outputs). exact: not in int8."""
        y = (
            self._in_int8(x, weight)
            if self._precision == "int8" and not exact
            else self.op("MatMul", x, self.weight(weight.t()))
        )
        return y if bias is None else self.op("Add", y, self.constant(as_array(bias)))

    def _in_int8(self, x: Value, weight: Tensor) -> Value:
        columns = as_array(weight.t())
        scale = np.maximum(np.abs(columns).max(axis=0), 1e-8) / LARGEST_INT8  # of each output
        rounded = self.constant(np.rint(columns / scale), np.int8)
        x8, x_scale, x_zero = self.op("DynamicQuantizeLinear", x, n=3)
        sums = self.op("MatMulInteger", x8, rounded, x_zero, self.constant(0, np.int8))
        return self.op("Mul", self.op("Cast", sums, to=FLOAT), self.op("Mul", x_scale, self.constant(scale)))

    def layer(self, x: Value, layer: nn.Linear, exact: bool = False) -> Value:
        return self.linear(x, layer.weight, layer.bias, exact)

    def norm(self, x: Value, norm: nn.BatchNorm1d) -> Value:
        """(B, C, T), as trained -> (B, C, T)"""
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        shift = norm.bias - norm.running_mean * scale
        scaled = self.op("Mul", x, self.constant(as_array(scale[:, None])))
        return self.op("Add", scaled, self.constant(as_array(shift[:, None])))

    def lstm_or_gru(self, x: Value, modules: Sequence[nn.Module], layer: int = 0, lengths: Value | None = None) -> Value:
        """x (T, B, C) -> (T, directions, B, H). modules: nn.LSTM or nn.GRU of each direction. lengths (B,): int32"""
        is_lstm = isinstance(modules[0], nn.LSTM)
        order = (0, 3, 1, 2) if is_lstm else (1, 0, 2)  # gates: ours i f g o and r z n, theirs i o f g and z r n

        def stacked(kind: str) -> Tensor:
            gates = [getattr(module, f"{kind}_l{layer}").unflatten(0, (len(order), -1))[list(order)] for module in modules]
            return torch.stack([gate.flatten(0, 1) for gate in gates])

        biases = torch.cat([stacked("bias_ih"), stacked("bias_hh")], dim=1)
        inputs = (
            x,
            self.weight(stacked("weight_ih")),
            self.weight(stacked("weight_hh")),
            self.constant(as_array(biases)),
            lengths,
        )
        attributes = {"hidden_size": modules[0].hidden_size, "direction": "bidirectional" if len(modules) == 2 else "forward"}
        return self.op("LSTM" if is_lstm else "GRU", *inputs, **attributes, **({} if is_lstm else {"linear_before_reset": 1}))

    def projected_lstm(self, x: Value, lstm: nn.LSTM, layer: int) -> Value:
        """x (T, B, C) -> (T, B, P), of an nn.LSTM with a proj_size, which the LSTM of ONNX lacks."""
        kinds = ("weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh")
        of_input, of_hidden, of_output, *biases = (getattr(lstm, f"{kind}_l{layer}") for kind in kinds)
        batch = self.op("Slice", self.op("Shape", x), self.ints(1), self.ints(2))
        sizes = {"hidden_": lstm.proj_size, "cell_": lstm.hidden_size}
        start = (
            self.op("Expand", self.constant(0), self.op("Concat", batch, self.ints(size), axis=0)) for size in sizes.values()
        )
        step = self.inner("step")
        hidden, cell = (step.input(name, ("B", size)) for name, size in sizes.items())
        given = step.input("gates_", ("B", 4 * lstm.hidden_size))
        hidden, cell = step.lstm_cell(step.op("Add", given, step.linear(hidden, of_hidden)), cell)
        hidden = step.linear(hidden, of_output)
        for value, name, size in zip((hidden, cell), sizes, sizes.values(), strict=True):
            step.output(value, f"next_{name}", ("B", size))
        step.output(hidden, "output_", ("B", lstm.proj_size))
        gates = self.linear(x, of_input, sum(biases))
        return self.op("Scan", *start, gates, n=3, body=step, num_scan_inputs=1)[2]

    def lstm_cell(self, gates: Value, cell: Value) -> tuple[Value, Value]:
        """utils.models.recurrent.lstm_cell: (B, 4 C), (B, C) -> next hidden, next cell"""
        i, f, new, o = self.op("Split", gates, n=4, axis=1)
        kept = self.op("Mul", self.op("Sigmoid", f), cell)
        cell = self.op("Add", kept, self.op("Mul", self.op("Sigmoid", i), self.op("Tanh", new)))
        return self.op("Mul", self.op("Sigmoid", o), self.op("Tanh", cell)), cell

    def mask(self, lengths: Value, like: Value, axis: int) -> Value:
        """bool (B, T): the positions in the sequences, with T as along an axis of `like`."""
        size = self.op("Gather", self.op("Shape", like), self.constant(axis, np.int64))
        positions = self.op("Range", self.constant(0, np.int64), size, self.constant(1, np.int64))
        return self.op("Less", self.op("Unsqueeze", positions, self.ints(0)), self.op("Unsqueeze", lengths, self.ints(1)))

    def as_float(self, value: Value) -> Value:
        return self.op("Cast", value, to=FLOAT)

    # ---- the result

    def model(self, metadata: dict[str, str]) -> onnx.ModelProto:
        """The whole model, checked. Raises onnx.checker.ValidationError if the graph is not valid."""
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(self._finished(), opset_imports=opset, ir_version=IR_VERSION, producer_name="sv2tts")
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _finished(self) -> onnx.GraphProto:
        constants = list(self._constants.values()) if self._root is self else []
        return helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, constants)

    def _stored(self, values: np.ndarray) -> Value:
        key = values.dtype.str, values.shape, values.tobytes()
        if key not in self._by_content:
            name = self._by_content[key] = self._new_name("constant")
            self._constants[name] = numpy_helper.from_array(values.copy(), name)
        return self._by_content[key]

    def _new_name(self, kind: str) -> Value:
        self._n_values += 1
        return f"{kind}_{self._n_values}"


def as_array(values: Tensor | np.ndarray) -> np.ndarray:
    return values.detach().float().numpy() if isinstance(values, Tensor) else values
