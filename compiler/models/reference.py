"""The reference: a model's own ONNX files, the inputs that they take in each golden run, and what they must give.

The loader and the passes do not touch these files. The oracle runs them. Each family has its own reference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import onnx.inliner
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from intaglio.compiler.reader import external_data, load

_CODES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
_TYPES = ("to", "dtype", "output_dtype")  # attributes that name an element type

Arrays = Mapping[str, np.ndarray]
Run = Callable[[str, Arrays], Arrays]  # runs a part by name on inputs; returns its values by name
Opened = Callable[[], tuple[ModelProto, Path | None]]  # reads a model; returns it and the folder of its external data


def _nothing(_: ModelProto) -> Arrays:
    return {}


class Part:
    """An ONNX model of a reference, with its external data in `folder`.

    It is read again when it runs, because its weights would take memory until then. header: the model without nodes and
    weights. file: where onnxruntime can read the model as it came, or None if f16 becomes f32 or external data lies
    elsewhere.
    """

    def __init__(self, opened: Opened, file: Path | None = None, known: Callable[[ModelProto], Arrays] = _nothing):
        """opened: reads the model. file: where it is. known: from the header, the inputs that decide an If."""
        model, self.folder = opened()
        wide = in_f32(model)
        self.header = _header(wide)
        self.file = file if wide is model and not external_data.locations(model) else None
        self._opened, self._known = opened, known(self.header)

    @property
    def model(self) -> ModelProto:
        return inlined(in_f32(self._opened()[0]), self._known)


@dataclass(frozen=True)
class Observed:
    """The values of a part in a run, including its inputs, and the values of the symbols of its graph."""

    values: Arrays
    symbols: Mapping[str, int]


class Reference(Protocol):
    """A reference. parts: the ONNX models under the names of their graphs."""

    parts: dict[str, Part]

    def observe(self, program: str, symbols: Mapping[str, int], inputs: Arrays, run: Run) -> dict[str, Observed]:
        """Return what the parts of `program` compute in a golden run. Call this for the golden runs in order."""
        ...

    def outputs(self, program: str, observed: Mapping[str, Observed]) -> dict[str, np.ndarray]:
        """Return what the outputs of `program` must be, by name, from the models' own outputs.

        This must not ask our reader which output is which, because golden values would then repeat its mistakes.
        """
        ...


def _header(model: ModelProto) -> ModelProto:
    """Return the inputs that are not weights, and the outputs."""
    header = ModelProto()
    header.graph.input.extend(load.free_inputs(model))
    header.graph.output.extend(model.graph.output)
    return header


def exposed(part: Part, names: Collection[str]) -> ModelProto:
    """Return the part's model with those of the values `names` that it has as further outputs."""
    if not names:
        return part.model
    model = ModelProto()
    model.CopyFrom(part.model)
    made = {name for node in model.graph.node for name in node.output} - {o.name for o in model.graph.output}
    model.graph.output.extend(map(helper.make_empty_tensor_value_info, sorted(made & set(names))))
    return model


def in_f32(model: ModelProto) -> ModelProto:
    """Return the model with f16 and bf16 computed in f32 from the same weights, as bundles compute them.

    Remove accuracy_level, which allows onnxruntime to round the factors of packed weights to 8 bits. If nothing is to
    be changed, the result is `model` itself.
    """
    if not _is_narrow(model.graph):
        return model
    result = ModelProto()
    result.CopyFrom(model)
    _widen(result.graph)
    return result


def _is_narrow(graph: GraphProto) -> bool:
    """Return whether `_widen` would change the graph."""
    attributes = [a for node in graph.node for a in node.attribute]
    return (
        any(tensor.data_type in _CODES for tensor in graph.initializer)
        or any(v.type.tensor_type.elem_type in _CODES for v in (*graph.input, *graph.output))
        or any(a.name == "accuracy_level" or a.t.data_type in _CODES for a in attributes)
        or any(a.name in _TYPES and a.i in _CODES for a in attributes)
        or any(_is_narrow(a.g) for a in attributes if a.HasField("g"))
    )


def _widen(graph: GraphProto) -> None:
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type in _CODES:  # weights may lie in other files
            name, tensor.name = tensor.name, f"{tensor.name}.narrow"
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    weights = {tensor.name for tensor in graph.initializer}
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in _CODES and value.name not in weights:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]
    for node in graph.node:
        for a in node.attribute:
            if a.HasField("g"):
                _widen(a.g)
            if a.name in _TYPES and a.i in _CODES:
                a.i = TensorProto.FLOAT
            if a.HasField("t") and a.t.data_type in _CODES:
                a.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(a.t).astype(np.float32), a.t.name))
        attributes = [a for a in node.attribute if a.name != "accuracy_level"]
        del node.attribute[:]
        node.attribute.extend(attributes)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def inlined(model: ModelProto, known: Arrays) -> ModelProto:
    """Return the model with its functions inlined and each If on a value in `known` replaced by the branch taken."""
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    if not any(node.op_type == "If" and node.input[0] in known for node in model.graph.node):
        return model
    result = ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    outputs = {name for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type != "If" or node.input[0] not in known:
            result.graph.node.append(node)
            continue
        branch_name = "then_branch" if known[node.input[0]].all() else "else_branch"
        branch = next(a.g for a in node.attribute if a.name == branch_name)
        result.graph.initializer.extend(branch.initializer)
        result.graph.node.extend(_branch(branch, node, outputs))
    return result


def _branch(branch: GraphProto, reader: NodeProto, outputs: set[str]) -> list[NodeProto]:
    """Return the nodes of a branch that replace its If, with new names for values whose names clash."""
    inner = {name for node in branch.node for name in node.output}
    names = {name: f"{name}.{reader.output[0]}" for name in inner & outputs - set(reader.output)}
    nodes = []
    for node in branch.node:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [names.get(name, name) for name in node.input]
        copy.output[:] = [names.get(name, name) for name in node.output]
        nodes.append(copy)
    results = [
        (names.get(result.name, result.name), name) for result, name in zip(branch.output, reader.output, strict=True)
    ]
    return nodes + [helper.make_node("Identity", [made], [name]) for made, name in results if made != name]
