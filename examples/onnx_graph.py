"""ONNX written by hand: a graph that collects nodes and weights, and the parts that all transformers have.

Names are those of Hugging Face's modules, so that what an exporter would write and what this writes read alike.
Shapes in comments: B batch, T new tokens, H heads, D their width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18


class Graph:
    """Collects nodes and weights; `op` adds a node, named after the module it belongs to, and returns its output.

    Given a file, `data`, weights go straight into it, one at a time, as ONNX's external data; it lies beside the model.
    """

    def __init__(self, weights: Mapping[str, np.ndarray], data: BinaryIO | None = None) -> None:
        self.weights = weights
        self.data = data
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.names: set[str] = set()
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: list[int | str], dtype: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, value: str, shape: list[int | str]) -> None:
        """Give `value` to the outside under `name`."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=f"/{name}/Identity"))
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def op(self, op_type: str, module: str, *inputs: str, **attributes: Any) -> str:
        path = "/" + module.replace(".", "/")
        name, count = f"{path}/{op_type}", 0
        while name in self.names:
            name, count = f"{path}/{op_type}_{count + 1}", count + 1
        self.names.add(name)
        self.nodes.append(helper.make_node(op_type, inputs, [f"{name}_output_0"], name=name, **attributes))
        return self.nodes[-1].output[0]

    def initializer(self, name: str, array: np.ndarray) -> str:
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def constant(self, value: float | int | list[int]) -> str:
        """A small constant: int64 for integers and lists, f32 for floats, shared by all who use the same value."""
        array = np.array(value, np.float32 if isinstance(value, float) else np.int64)
        return self.initializer(f"constant_{value}".replace(" ", ""), array)

    def weight(self, name: str, transpose: bool = False) -> str:
        stored = f"{name}.transposed" if transpose else name
        if stored not in self.initializers:
            array = np.asarray(self.weights[name], np.float32)
            array = array.T if transpose else array
            if self.data:
                self.initializers[stored] = self.external(stored, array, self.data)
            else:
                self.initializer(stored, array)
        return stored

    def external(self, name: str, array: np.ndarray, data: BinaryIO) -> onnx.TensorProto:
        start = data.tell()
        data.write(np.ascontiguousarray(array).data)
        tensor = TensorProto(name=name, dims=array.shape, data_type=TensorProto.FLOAT)
        tensor.data_location = TensorProto.EXTERNAL
        where = {"location": Path(data.name).name, "offset": start, "length": array.nbytes}
        tensor.external_data.extend(onnx.StringStringEntryProto(key=key, value=str(where[key])) for key in where)
        return tensor

    def size(self, module: str, value: str, axis: int) -> str:
        """The length of one axis, as an int64 scalar."""
        return self.op("Gather", module, self.op("Shape", module, value), self.constant(axis), axis=0)

    # The parts of a transformer. Each takes values f32[B,T,width] and the name of the module that holds its weights.

    def linear(self, module: str, x: str) -> str:
        x = self.op("MatMul", module, x, self.weight(f"{module}.weight", transpose=True))
        bias = f"{module}.bias"
        return self.op("Add", module, x, self.weight(bias)) if bias in self.weights else x

    def split_heads(self, module: str, x: str, heads: int) -> str:
        x = self.op("Reshape", module, x, self.constant([0, 0, heads, -1]))  # 0 keeps an axis as it is
        return self.op("Transpose", module, x, perm=[0, 2, 1, 3])  # f32[B,H,T,D]

    def model(self, producer: str) -> onnx.ModelProto:
        weights = list(self.initializers.values())
        graph = helper.make_graph(self.nodes, "main_graph", self.inputs, self.outputs, weights)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name=producer)
