"""ONNX -> Graph. Every difference between opsets and exporters that is mere spelling ends here.

The conditions of `If` are known once the inputs that decide them are bound, so branches are inlined while loading.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from intaglio.compiler.dims import Dim, Symbol, dim
from intaglio.compiler.infer import element, infer
from intaglio.compiler.ir import DTYPES, BadModel, Graph, Node, TensorType, UnsupportedOperator, Value, type_of

MAX_UNBOUND = 1024  # what a dynamic dimension may grow to when it is not bound
OLDEST = 7  # the first opset in which operands broadcast as they do today
NOT_READ = frozenset({"Attention", "Loop", "Scan"})  # the first shares its name, but not its inputs, with ours

Scope = MutableMapping[str, Value | None]


def read(path: Path) -> ModelProto:
    """The model in a file, weights in external files left where they are. Raises BadModel."""
    if not path.is_file():
        raise BadModel(f"{path} does not exist")
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except (DecodeError, OSError) as e:
        raise BadModel(f"{path} is no ONNX model: {e}") from e
    if not model.HasField("graph") or not model.graph.node:
        raise BadModel(f"{path} is no ONNX model: it holds no graph")
    return model


def load(
    model: ModelProto,
    name: str = "main",
    *,
    folder: Path | None = None,
    shapes: Mapping[str, tuple[Dim, ...]] | None = None,
    bind: Mapping[str, Any] | None = None,
) -> Graph:
    """The graph of an ONNX model.

    folder: where files with external data lie. shapes: overrides the declared shape of inputs, by name. bind: fixes a
    named dimension (an int or a Dim) or an input (an array, which becomes a constant).
    Raises BadModel, or UnsupportedOperator for operators that ONNX does not define or sizes that depend on data.
    """
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except (RuntimeError, ValueError) as e:
            raise BadModel(f"the model's own functions are broken: {e}") from e
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    if opset < OLDEST:
        raise UnsupportedOperator(f"opset {opset} is too old; export the model with opset {OLDEST} or newer")
    _check_operators(model.graph)
    return _Loader(Graph(name), opset, folder, shapes or {}, bind or {}).main(model.graph)


def input_types(model: ModelProto) -> dict[str, tuple[str, int]]:
    """Element type and rank of each input that is not a weight."""
    weights = {t.name for t in model.graph.initializer}
    result = {}
    for i in model.graph.input:
        if i.name not in weights:
            result[i.name] = (element(i.type.tensor_type.elem_type), len(i.type.tensor_type.shape.dim))
    return result


def _check_operators(graph: GraphProto) -> None:
    unknown: Counter[str] = Counter()
    names: dict[str, str] = {}

    def visit(g: GraphProto) -> None:
        for n in g.node:
            op = n.op_type if n.domain in ("", "ai.onnx") else f"{n.domain}.{n.op_type}"
            if n.domain not in ("", "ai.onnx") or not onnx.defs.has(n.op_type) or n.op_type in NOT_READ:
                unknown[op] += 1
                names.setdefault(op, n.name or ", ".join(n.output))
            for a in n.attribute:
                if a.type == AttributeProto.GRAPH:
                    visit(a.g)

    visit(graph)
    if unknown:
        listed = ", ".join(f"{op} ({count} nodes: {names[op]}, ...)" for op, count in sorted(unknown.items()))
        raise UnsupportedOperator(f"no kernel for {listed}; export the model with standard ONNX operators")


class _Loader:
    def __init__(
        self,
        graph: Graph,
        opset: int,
        folder: Path | None,
        shapes: Mapping[str, tuple[Dim, ...]],
        bind: Mapping[str, Any],
    ) -> None:
        self.graph, self.opset, self.folder, self.shapes, self.bind = graph, opset, folder, shapes, bind
        self.symbols: dict[str, Dim] = {}

    def main(self, proto: GraphProto) -> Graph:
        scope: Scope = {}
        self.initializers(proto, scope)
        for declared in proto.input:
            if declared.name in scope:
                continue
            if declared.name in self.bind:
                scope[declared.name] = self.graph.constant(self.bind[declared.name], declared.name)
                continue
            value = self.graph.value(declared.name, self.declared(declared))
            self.graph.inputs.append(value)
            scope[declared.name] = value
        self.body(proto, scope)
        for declared in proto.output:
            value = self.get(declared.name, scope, "the outputs")
            if self.graph.is_named(value):
                copy = self.graph.value(declared.name, value.type)
                self.graph.add(Node("Identity", (value,), (copy,), {}, (declared.name,)))
                value = copy
            value.name = declared.name
            self.graph.outputs.append(value)
        self.graph.verify()
        return self.graph

    def declared(self, proto: onnx.ValueInfoProto) -> TensorType:
        tensor = proto.type.tensor_type
        if not proto.type.HasField("tensor_type") or not tensor.HasField("shape"):
            raise BadModel(f"input {proto.name} is no tensor of known rank")
        dtype = element(tensor.elem_type)
        if proto.name in self.shapes:
            return TensorType(dtype, tuple(self.shapes[proto.name]))
        return TensorType(dtype, tuple(self.size(d, proto.name, i) for i, d in enumerate(tensor.shape.dim)))

    def size(self, proto: Any, name: str, axis: int) -> Dim:
        if proto.HasField("dim_value"):
            return proto.dim_value
        symbol = proto.dim_param or f"{name}_{axis}"
        if symbol in self.bind:
            return self.bind[symbol]
        identifier = "".join(c if c.isalnum() else "_" for c in symbol)
        return self.symbols.setdefault(symbol, dim(Symbol(f"n_{identifier}", 1, MAX_UNBOUND)))

    def initializers(self, proto: GraphProto, scope: Scope) -> None:
        if proto.sparse_initializer:
            raise UnsupportedOperator("sparse weights are not supported")
        for tensor in proto.initializer:
            scope[tensor.name] = self.graph.constant(array(tensor, self.folder), tensor.name)

    def get(self, name: str, scope: Scope, reader: str) -> Value:
        value = scope.get(name)
        if value is None:
            raise BadModel(f"{reader} reads {name}, which nothing makes")
        return value

    def body(self, proto: GraphProto, scope: Scope) -> None:
        for i, n in enumerate(proto.node):
            self.node(n, n.name or f"{n.op_type}_{i}", scope)

    def node(self, proto: NodeProto, source: str, scope: Scope) -> None:
        inputs = tuple(self.get(i, scope, source) if i else None for i in proto.input)
        if proto.op_type == "If":
            self.inline(proto, source, inputs[0], scope)
            return
        attrs = {a.name: _attribute(a) for a in proto.attribute}
        if proto.op_type == "Constant":
            scope[proto.output[0]] = self.graph.constant(_constant(attrs, source), proto.output[0])
            return
        if proto.op_type == "Identity":
            scope[proto.output[0]] = inputs[0]
            return
        outputs = tuple(self.graph.value(o or "unused", TensorType("f32", ())) for o in proto.output)
        node = Node(proto.op_type, inputs, outputs, attrs, (source,))
        if proto.op_type in _NORMALISE:
            _NORMALISE[proto.op_type](node, self.opset, self.graph)
        infer(node)
        self.graph.add(node)
        scope.update(zip(proto.output, outputs, strict=True))

    def inline(self, proto: NodeProto, source: str, condition: Value, scope: Scope) -> None:
        if condition.scalar is None:
            raise UnsupportedOperator(f"If ({source}): the condition {condition.name} is computed at run time")
        branch = next(a.g for a in proto.attribute if a.name == ("then_branch" if condition.scalar else "else_branch"))
        inner: Scope = ChainMap({}, scope)
        self.initializers(branch, inner)
        self.body(branch, inner)
        for name, result in zip(proto.output, branch.output, strict=True):
            scope[name] = self.get(result.name, inner, source)


def array(tensor: TensorProto, folder: Path | None) -> np.ndarray:
    """The content of a weight; from an external file it is mapped, not read. Raises BadModel."""
    if tensor.data_location != TensorProto.EXTERNAL:
        try:
            if tensor.HasField("raw_data"):
                dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
                result = np.frombuffer(tensor.raw_data, dtype).reshape(tuple(tensor.dims))
            else:
                result = onnx.numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as e:
            raise BadModel(f"the weight {tensor.name} is broken: {e}") from e
        type_of(result)
        return result
    if folder is None:
        raise BadModel(f"the weight {tensor.name} lies in an external file; compile the model from its path")
    info = {e.key: e.value for e in tensor.external_data}
    root = folder.resolve()
    path = (root / info.get("location", "")).resolve()
    if not path.is_relative_to(root):
        raise BadModel(f"the weight {tensor.name} points out of the model's folder: {info['location']}")
    if not path.is_file():
        raise BadModel(f"{path} with the weight {tensor.name} is missing; put it beside the model")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    offset, shape = int(info.get("offset", 0)), tuple(tensor.dims)
    if offset < 0 or offset + int(np.prod(shape)) * dtype.itemsize > path.stat().st_size:
        raise BadModel(f"{path} is too short for the weight {tensor.name}; copy the file again")
    type_of(np.empty(0, dtype))
    return np.memmap(path, dtype, "r", offset, shape) if np.prod(shape) else np.empty(shape, dtype)


def _attribute(proto: AttributeProto) -> Any:
    if proto.name == "to":
        return type_of(np.empty(0, onnx.helper.tensor_dtype_to_np_dtype(proto.i))).dtype
    value = onnx.helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, TensorProto):
        return onnx.numpy_helper.to_array(value)
    return list(value) if proto.type in (AttributeProto.INTS, AttributeProto.FLOATS) else value


def _constant(attrs: Mapping[str, Any], source: str) -> np.ndarray:
    (kind, value) = next(iter(attrs.items()))
    if kind == "value":
        type_of(value)
        return value
    if kind in ("value_float", "value_floats"):
        return np.array(value, np.float32)
    if kind in ("value_int", "value_ints"):
        return np.array(value, np.int64)
    raise UnsupportedOperator(f"Constant ({source}) of kind {kind}")


# older opsets, written as OPSET writes them


def _axes_to_input(node: Node, opset: int, graph: Graph) -> None:
    if "axes" in node.attrs:
        axes = graph.constant(np.array(node.attrs.pop("axes"), np.int64), "axes")
        node.inputs = (node.inputs[0], axes)


def _attrs_to_inputs(*names: str) -> Callable[[Node, int, Graph], None]:
    def move(node: Node, opset: int, graph: Graph) -> None:
        if len(node.inputs) == 1:
            values = [node.attrs.pop(n, None) for n in names]
            consts = [
                graph.constant(np.array(v), n) if v is not None else None for n, v in zip(names, values, strict=True)
            ]
            while consts and consts[-1] is None:
                consts.pop()
            node.inputs = (node.inputs[0], *consts)

    return move


def _clip(node: Node, opset: int, graph: Graph) -> None:
    dtype = DTYPES[node.inputs[0].dtype]
    bounds = [node.attrs.pop(n, None) for n in ("min", "max")]
    if opset < 11:
        consts = [graph.constant(np.array(b, dtype)) if b is not None else None for b in bounds]
        node.inputs = (node.inputs[0], *consts)


def _softmax(node: Node, opset: int, graph: Graph) -> None:
    rank = len(node.inputs[0].shape)
    axis = node.attrs.get("axis", 1 if opset < 13 else -1) % rank
    if opset < 13 and axis != rank - 1:
        raise UnsupportedOperator(f"{node.op} ({node.sources[0]}) over several axes; export with opset 13 or newer")
    node.attrs["axis"] = axis - rank


def _dropout(node: Node, opset: int, graph: Graph) -> None:
    node.op, node.attrs = "Identity", {}
    node.inputs, node.outputs = node.inputs[:1], node.outputs[:1]


def _reshape(node: Node, opset: int, graph: Graph) -> None:
    if len(node.inputs) == 1:
        node.inputs = (node.inputs[0], graph.constant(np.array(node.attrs.pop("shape"), np.int64), "shape"))


def _cast(node: Node, opset: int, graph: Graph) -> None:
    node.attrs = {"to": node.attrs["to"]}


_NORMALISE: dict[str, Callable[[Node, int, Graph], None]] = {
    **{f"Reduce{kind}": _axes_to_input for kind in "Sum Mean Max Min Prod L1 L2 LogSum LogSumExp SumSquare".split()},
    "Squeeze": _axes_to_input,
    "Unsqueeze": _axes_to_input,
    "Slice": _attrs_to_inputs("starts", "ends", "axes"),
    "Split": _attrs_to_inputs("split"),
    "Pad": _attrs_to_inputs("pads", "value"),
    "Clip": _clip,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Dropout": _dropout,
    "Reshape": _reshape,
    "Cast": _cast,
}
