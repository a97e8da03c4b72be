"""ONNX -> Graph. Every difference between opsets and exporters that is mere spelling ends here.

The conditions of `If` are known once the inputs that decide them are bound, so branches are inlined while loading.
"""

from __future__ import annotations

import math
from collections import ChainMap, Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from intaglio.compiler.dims import Dim, Symbol, dim
from intaglio.compiler.evaluate import OPSET
from intaglio.compiler.infer import infer
from intaglio.compiler.ir import DTYPES, BadModel, Graph, Node, TensorType, UnsupportedOperator, Value
from intaglio.compiler.types import axis_of, element

MAX_UNBOUND = 1024  # what a dynamic dimension may grow to when it is not bound
OLDEST = 7  # the first opset in which operands broadcast as they do today
NOT_READ = frozenset({"Attention"})  # since opset 23: it shares its name, but not its attributes, with ours

Scope = ChainMap[str, Value]


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
    if any(isinstance(text, bytes) for g in (model.graph, *model.functions) for text in _names(g)):
        raise BadModel("the model is broken: a name in it is no text")
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except (RuntimeError, ValueError, onnx.checker.ValidationError) as e:
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


def _names(graph: GraphProto | onnx.FunctionProto) -> Iterator[str | bytes]:
    """Every name and other short text; protobuf gives bytes where they are no text."""
    for n in graph.node:
        yield from (n.name, n.op_type, n.domain, *n.input, *n.output)
        for a in n.attribute:
            yield a.name
            yield from _names(a.g)
    if isinstance(graph, GraphProto):
        for t in graph.initializer:
            yield from (t.name, *(text for e in t.external_data for text in (e.key, e.value)))
        for v in (*graph.input, *graph.output):
            yield from (v.name, *(d.dim_param for d in v.type.tensor_type.shape.dim))


def _check_operators(graph: GraphProto) -> None:
    unknown: Counter[str] = Counter()
    names: dict[str, str] = {}

    def visit(g: GraphProto) -> None:
        for n in g.node:
            inner = [a.g for a in n.attribute if a.type == AttributeProto.GRAPH]
            standard = n.domain in ("", "ai.onnx") and onnx.defs.has(n.op_type)
            if not standard or n.op_type in NOT_READ or (inner and n.op_type != "If"):
                op = n.op_type if n.domain in ("", "ai.onnx") else f"{n.domain}.{n.op_type}"
                unknown[op] += 1
                names.setdefault(op, n.name or ", ".join(n.output))
            for g in inner:
                visit(g)

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
        self.checker = onnx.checker.C.CheckerContext()
        self.checker.ir_version, self.checker.opset_imports = onnx.IR_VERSION, {"": opset, "ai.onnx": opset}

    def main(self, proto: GraphProto) -> Graph:
        scope: Scope = ChainMap()
        self.initializers(proto, scope)
        weights = set(scope)
        for declared in proto.input:
            if declared.name in weights:
                continue
            if declared.name in self.bind:
                self.define(declared.name, self.graph.constant(self.bind[declared.name], declared.name), scope)
                continue
            value = self.graph.value(declared.name, self.declared(declared))
            self.graph.inputs.append(value)
            self.define(declared.name, value, scope)
        self.body(proto, scope)
        if len({o.name for o in proto.output}) != max(len(proto.output), 1):
            raise BadModel("the model's outputs have no names of their own")
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
            if proto.dim_value < 0:
                raise BadModel(f"input {name} has the size {proto.dim_value}")
            return proto.dim_value
        symbol = proto.dim_param or f"{name}_{axis}"
        if symbol in self.bind:
            return self.bind[symbol]
        if symbol not in self.symbols:
            identifier = "n_" + "".join(c if c.isalnum() else "_" for c in symbol)
            while identifier in map(str, self.symbols.values()):
                identifier += "_"
            self.symbols[symbol] = dim(Symbol(identifier, 1, MAX_UNBOUND))
        return self.symbols[symbol]

    def initializers(self, proto: GraphProto, scope: Scope) -> None:
        if proto.sparse_initializer:
            raise UnsupportedOperator("sparse weights are not supported")
        for tensor in proto.initializer:
            self.define(tensor.name, self.graph.constant(array(tensor, self.folder), tensor.name), scope)

    def define(self, name: str, value: Value, scope: Scope) -> None:
        if name in scope.maps[0]:
            raise BadModel(f"{name} is made twice")
        if name:
            scope[name] = value

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
            self.inline(proto, source, inputs, scope)
            return
        try:
            onnx.checker.check_node(proto, self.checker)
            _check_attributes(proto, self.opset)
            attrs = {a.name: _attribute(a, self.folder) for a in proto.attribute}
        except (onnx.checker.ValidationError, BadModel, ValueError) as e:
            raise BadModel(f"{proto.op_type} ({source}): {str(e).splitlines()[0]}") from e
        if proto.op_type == "Constant":
            self.define(proto.output[0], self.graph.constant(_constant(attrs, source), proto.output[0]), scope)
            return
        if proto.op_type == "Identity":
            self.define(proto.output[0], inputs[0], scope)
            return
        outputs = tuple(self.graph.value(o or "unused", TensorType("f32", ())) for o in proto.output)
        node = Node(proto.op_type, inputs, outputs, attrs, (source,))
        if proto.op_type in _NORMALISE:
            _NORMALISE[proto.op_type](node, self.opset, self.graph)
        _check_types(node)
        infer(node)
        self.graph.add(node)
        for name, value in zip(proto.output, outputs, strict=True):
            self.define(name, value, scope)

    def inline(self, proto: NodeProto, source: str, inputs: tuple[Value | None, ...], scope: Scope) -> None:
        if len(inputs) != 1 or inputs[0] is None or inputs[0].scalar is None:
            raise UnsupportedOperator(f"If ({source}): the condition is computed at run time")
        wanted = "then_branch" if inputs[0].scalar else "else_branch"
        branch = next((a.g for a in proto.attribute if a.name == wanted), GraphProto())
        if len(branch.output) != len(proto.output):
            raise BadModel(f"If ({source}): the {wanted} does not make {', '.join(proto.output)}")
        inner = scope.new_child()
        self.initializers(branch, inner)
        self.body(branch, inner)
        for name, result in zip(proto.output, branch.output, strict=True):
            self.define(name, self.get(result.name, inner, source), scope)


def _check_attributes(proto: NodeProto, opset: int) -> None:
    """ONNX's own check leaves out the operators that it also defines by others, LayerNormalization for one."""
    known = onnx.defs.get_schema(proto.op_type, opset, "").attributes
    for a in proto.attribute:
        if a.name not in known or a.type != known[a.name].type.value:
            raise BadModel(f"there is no attribute {a.name} of type {AttributeProto.AttributeType.Name(a.type)}")


def _check_types(node: Node) -> None:
    """Raise BadModel where the operator does not take an input of that element type, or not beside the others."""
    try:
        formals = onnx.defs.get_schema(node.op, OPSET).inputs
    except onnx.defs.SchemaError as e:
        raise UnsupportedOperator(f"no kernel for {node.op} ({node.sources[0]})") from e
    bound: dict[str, str] = {}
    for i, value in enumerate(node.inputs):
        if value is None or (value.const is not None and value.const.dtype == object):
            continue
        formal = formals[min(i, len(formals) - 1)]
        code = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(DTYPES[value.dtype]))
        taken = f"tensor({TensorProto.DataType.Name(code).lower()})" in formal.types
        if not taken or (formal.is_homogeneous and bound.setdefault(formal.type_str, value.dtype) != value.dtype):
            raise BadModel(f"{node.op} ({node.sources[0]}) does not take {value} as its {formal.name}")


def array(tensor: TensorProto, folder: Path | None) -> np.ndarray:
    """The content of a weight; from an external file it is mapped, not read. Raises BadModel."""
    try:
        dtype, shape = np.dtype(DTYPES[element(tensor.data_type)]), tuple(tensor.dims)
        if any(d < 0 for d in shape):
            raise BadModel(f"{list(shape)} is no shape")
        if tensor.data_location == TensorProto.EXTERNAL:
            return _external(tensor, dtype, shape, folder)
        if tensor.HasField("raw_data"):
            return np.frombuffer(tensor.raw_data, dtype).reshape(shape)
        return onnx.numpy_helper.to_array(tensor)
    except (BadModel, ValueError, TypeError, OSError) as e:
        raise BadModel(f"the weight {tensor.name}: {e}") from e


def _external(tensor: TensorProto, dtype: np.dtype, shape: tuple[int, ...], folder: Path | None) -> np.ndarray:
    if folder is None:
        raise BadModel("it lies in an external file; compile the model from its path")
    info = {e.key: e.value for e in tensor.external_data}
    root = folder.resolve()
    path = (root / info.get("location", "")).resolve()
    if not path.is_relative_to(root):
        raise BadModel(f"it lies outside of the model's folder, in {path}; put that file beside the model")
    if not path.is_file():
        raise BadModel(f"{path} is missing; put it beside the model")
    offset, size = int(info.get("offset", 0)), math.prod(shape) * dtype.itemsize
    if int(info.get("length", size)) != size:
        raise BadModel(f"{info['length']} bytes are no {dtype}{list(shape)}")
    if offset < 0 or offset + size > path.stat().st_size:
        raise BadModel(f"{path} is too short; copy the file again")
    return np.memmap(path, dtype, "r", offset, shape) if size else np.empty(shape, dtype)


def _attribute(proto: AttributeProto, folder: Path | None) -> Any:
    if proto.name == "to":
        return element(proto.i)
    value = onnx.helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, TensorProto):
        return array(value, folder)
    return list(value) if proto.type in (AttributeProto.INTS, AttributeProto.FLOATS) else value


def _constant(attrs: Mapping[str, Any], source: str) -> np.ndarray:
    kind, value = next(iter(attrs.items()), ("none", None))
    if kind == "value":
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
            values = [(n, node.attrs.pop(n, None)) for n in names]
            kinds = [np.int64 if isinstance(v, list) else DTYPES[node.inputs[0].dtype] for _, v in values]
            consts = [
                graph.constant(np.array(v, kind), n) if v is not None else None
                for (n, v), kind in zip(values, kinds, strict=True)
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
    axis = axis_of(node.attrs.get("axis", 1 if opset < 13 else -1), rank)
    if opset < 13 and axis != rank - 1:
        raise UnsupportedOperator(f"{node.op} ({node.sources[0]}) over several axes; export with opset 13 or newer")
    node.attrs["axis"] = axis - rank


def _dropout(node: Node, opset: int, graph: Graph) -> None:
    if (training := node.input(2)) is not None and training.scalar is not False:
        raise UnsupportedOperator(f"Dropout ({node.sources[0]}) of a model in training; export it for inference")
    node.op, node.attrs = "Identity", {}
    node.inputs, node.outputs = node.inputs[:1], node.outputs[:1]


def _reshape(node: Node, opset: int, graph: Graph) -> None:
    if len(node.inputs) == 1:
        node.inputs = (node.inputs[0], graph.constant(np.array(node.attrs.pop("shape"), np.int64), "shape"))


def _reduce(node: Node, opset: int, graph: Graph) -> None:
    _axes_to_input(node, opset, graph)
    node.attrs.setdefault("keepdims", 1)


def _cast(node: Node, opset: int, graph: Graph) -> None:
    node.attrs = {"to": node.attrs["to"]}


_NORMALISE: dict[str, Callable[[Node, int, Graph], None]] = {
    **{f"Reduce{kind}": _reduce for kind in "Sum Mean Max Min Prod L1 L2 LogSum LogSumExp SumSquare".split()},
    "Squeeze": _axes_to_input,
    "Unsqueeze": _axes_to_input,
    "Slice": _attrs_to_inputs("starts", "ends", "axes"),
    "Split": _attrs_to_inputs("split"),
    "Pad": _attrs_to_inputs("pads", "value"),
    "Clip": _clip,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Hardmax": _softmax,
    "Dropout": _dropout,
    "Reshape": _reshape,
    "Cast": _cast,
}
