"""ONNX -> Graph. Differences between opsets and exporters that are mere spelling end here."""

from __future__ import annotations

import heapq
import itertools
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.errors import BadModel, MissingFile, UnsupportedOperator
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import OPSET, Node, operands
from intaglio.compiler.ir.refusals import Refusals
from intaglio.compiler.ir.values import DTYPES, Origin, TensorType, Value
from intaglio.compiler.reader import contrib, enum_attributes, onnx_functions
from intaglio.compiler.reader.control import CONTROL, MOST_UNROLLED, Scope
from intaglio.compiler.reader.free_sizes import MAX_UNBOUND, Narrow, narrowed, size_of
from intaglio.compiler.reader.operators import how
from intaglio.compiler.reader.opsets import OLDEST, normalise
from intaglio.compiler.reader.pointers import refuse_pointer
from intaglio.compiler.reader.tensors import array, attribute
from intaglio.compiler.semantics.infer import infer
from intaglio.compiler.semantics.types import element
from intaglio.runtime.contract import FREE

_MOST_NARROWINGS = 64  # times that the loader begins again with narrower sizes

_LOST = Value("", TensorType("f32", ()))  # the output of a node that was refused

_OPTIONAL = onnx.defs.OpSchema.FormalParameterOption.Optional
_VARIADIC = onnx.defs.OpSchema.FormalParameterOption.Variadic


class _LostError(Exception):
    """A node reads the output of a node that was refused."""


class _NarrowError(Exception):
    """A node needs narrower free sizes, by label."""

    def __init__(self, sizes: dict[str, Narrow]) -> None:
        self.sizes = sizes


def read(path: Path) -> ModelProto:
    """The model in a file. Weights in external files are not read. Raises BadModel, MissingFile."""
    if not path.is_file():
        raise MissingFile(f"{path} does not exist")
    refuse_pointer(path)
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except (DecodeError, OSError) as e:
        raise BadModel(f"{path} is not an ONNX model: {e}; name a .onnx file, or copy this one again") from e
    if not model.HasField("graph") or not model.graph.node:
        raise BadModel(f"{path} is not an ONNX model: it has no nodes; copy the file again")
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

    folder: of external data. shapes: replace the declared shapes of inputs, by name. bind: by name, an int
    or a Dim that fixes a dimension, a range that limits it, or an array that fixes an input. A free size is narrower
    than its range if the model needs that.
    Raises BadModel, and UnsupportedOperator for operators that are not supported and for sizes that depend on data.
    """
    if any(isinstance(text, bytes) for g in (model.graph, *model.functions) for text in _names(g)):
        raise BadModel("the model is broken: a name in it is not valid UTF-8; export it again")
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except (RuntimeError, ValueError, onnx.checker.ValidationError) as e:
            raise BadModel(f"the model's own functions cannot be inlined: {e}") from e
    opset = _opset(model)
    if opset < 1:
        raise BadModel(f"opset {opset} does not exist; export the model again")
    if opset > OPSET:
        raise UnsupportedOperator(f"opset {opset} is not supported; export the model with opset {OPSET} or older")
    narrow: dict[str, Narrow] = {}
    for narrowings in itertools.count():
        loader = Loader(Graph(name), opset, folder, shapes or {}, bind or {}, narrow)
        loader.narrowings = narrowings
        try:
            return loader.main(model.graph)
        except _NarrowError as e:
            narrow |= e.sizes
    raise AssertionError("a count has no end")


def free_inputs(model: ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that are not weights."""
    weights = {t.name for t in model.graph.initializer}
    return [i for i in model.graph.input if i.name not in weights]


def input_types(model: ModelProto) -> dict[str, tuple[str, int]]:
    """Element type and rank of each input that is not a weight."""
    tensors = {i.name: i.type.tensor_type for i in free_inputs(model)}
    return {name: (element(t.elem_type), len(t.shape.dim)) for name, t in tensors.items()}


def is_free(size: onnx.TensorShapeProto.Dimension) -> bool:
    """Whether a file leaves a size free. Some converters write -1."""
    return not size.HasField("dim_value") or size.dim_value == -1


def label(size: onnx.TensorShapeProto.Dimension, name: str, axis: int) -> str:
    """What a size is called that the file leaves free: its own name, else the input's and the axis, such as x.1.

    Sizes called "?" are different ones.
    """
    return f"{name}.{axis}" if size.dim_param in ("", "?") else size.dim_param


def identifier(label: str) -> str:
    """The name of the symbol of a size, unless another size has it already."""
    return FREE + "".join(c if c.isalnum() else "_" for c in label)


def _opset(proto: ModelProto | onnx.FunctionProto) -> int:
    return next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 1)


def _is_standard(proto: NodeProto) -> bool:
    return proto.domain in ("", "ai.onnx")


def _names(graph: GraphProto | onnx.FunctionProto) -> Iterator[str | bytes]:
    """Every name and other short text; protobuf gives bytes if one is not valid UTF-8."""
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


class Loader:
    """Adds the nodes of one graph, or of a function, to `graph`. The scope maps names to values.

    named: whether names are those of the file, so that values get an origin.
    """

    def __init__(
        self,
        graph: Graph,
        opset: int,
        folder: Path | None,
        shapes: Mapping[str, tuple[Dim, ...]],
        bind: Mapping[str, Any],
        narrow: Mapping[str, Narrow],
    ) -> None:
        self.graph, self.opset, self.folder, self.shapes, self.bind = graph, opset, folder, shapes, bind
        self.narrow = narrow
        self.symbols: dict[str, Dim] = {}
        self.refusals = Refusals()
        self.unrolled, self.narrowings = 0, 0
        self.named = True
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
        self.refusals.check(f"opset {self.opset}")
        if len({o.name for o in proto.output}) != max(len(proto.output), 1):
            raise BadModel("the model has no outputs, or two outputs with the same name; export it again")
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
        if proto.type.WhichOneof("value") in ("sequence_type", "optional_type", "map_type", "sparse_tensor_type"):
            raise UnsupportedOperator(f"input {proto.name} is not a tensor; export a model whose inputs are tensors")
        if not proto.type.HasField("tensor_type") or not tensor.HasField("shape"):
            raise BadModel(f"input {proto.name} has no shape; export the model with the rank of every input")
        dtype = element(tensor.elem_type)
        if proto.name in self.shapes:
            return TensorType(dtype, tuple(self.shapes[proto.name]))
        return TensorType(dtype, tuple(self.size(d, proto.name, i) for i, d in enumerate(tensor.shape.dim)))

    def size(self, proto: Any, name: str, axis: int) -> Dim:
        if not is_free(proto):
            if proto.dim_value < 0:
                raise BadModel(f"input {name} has the negative size {proto.dim_value}; export the model again")
            return proto.dim_value
        symbol = label(proto, name, axis)
        sizes = self.narrow.get(symbol) or self.bind.get(symbol, range(1, MAX_UNBOUND + 1))
        if isinstance(sizes, str):
            return self.symbols[sizes]
        if not isinstance(sizes, range):
            return sizes
        if symbol not in self.symbols:
            name = identifier(symbol)
            while any(symbol.name == name for size in self.symbols.values() for symbol in dims.symbols(size)):
                name += "_"
            self.symbols[symbol] = size_of(name, sizes)
        return self.symbols[symbol]

    def initializers(self, proto: GraphProto, scope: Scope) -> None:
        if proto.sparse_initializer:
            raise UnsupportedOperator("sparse weights are not supported")
        for tensor in proto.initializer:
            self.define(tensor.name, self.graph.constant(array(tensor, self.folder), tensor.name), scope)

    def define(self, name: str, value: Value | None, scope: Scope) -> None:
        if name in scope.maps[0]:
            raise BadModel(f"{name} is defined twice; export the model again")
        if name:
            scope[name] = value
            # Names in branches may come twice, and those in functions are not the file's.
            if self.named and value and value.origin is None and (len(scope.maps) == 1 or value.name == name):
                value.origin = Origin(self.graph.model, name)

    def get(self, name: str, scope: Scope, reader: str) -> Value:
        value = self.optional(name, scope, reader)
        if value is None:
            raise BadModel(f"{reader} needs the value {name}, which the model leaves out; export the model again")
        return value

    def optional(self, name: str, scope: Scope, reader: str) -> Value | None:
        """The value of that name; None if it is absent, as inputs of functions may be."""
        if name and name not in scope:
            raise BadModel(f"{reader} reads {name}, which no node produces; export the model again")
        value = scope[name] if name else None
        if value is _LOST:
            raise _LostError
        return value

    def body(self, proto: GraphProto, scope: Scope) -> None:
        for i in _order(proto.node):
            self.node(proto.node[i], proto.node[i].name or f"{proto.node[i].op_type}_{i}", scope)

    def node(self, proto: NodeProto, source: str, scope: Scope) -> None:
        """Add a node. If it is refused, note why and skip what depends on it, so that one error lists all refusals."""
        try:
            self.add(proto, source, scope)
            return
        except UnsupportedOperator as e:
            narrow = narrowed(e.__cause__, self.symbols, self.bind) if self.narrowings < _MOST_NARROWINGS else {}
            if narrow.items() - self.narrow.items():
                raise _NarrowError(narrow) from e
            self.refusals.add(e, proto.op_type if _is_standard(proto) else f"{proto.domain}.{proto.op_type}", source)
        except _LostError:
            pass
        scope.update({name: _LOST for name in proto.output if name})

    def add(self, proto: NodeProto, source: str, scope: Scope) -> None:
        if contrib.defines(proto, self.opset):
            self.write_out_contrib(proto, source, scope)
            return
        if not _is_standard(proto) or not onnx.defs.has(proto.op_type):
            raise UnsupportedOperator("this is not an ONNX operator; export the model with standard operators")
        read = [scope.get(name) for name in proto.input if name]
        if not how(proto.op_type) and (not read or any(v is None or v.const is None for v in read)):
            raise UnsupportedOperator("")
        inputs = tuple(self.optional(i, scope, source) for i in proto.input)
        if proto.op_type in CONTROL:
            results = CONTROL[proto.op_type](self, proto, source, inputs, scope)
            if len(results) < len(proto.output):
                raise BadModel(
                    f"{proto.op_type} ({source}): its body has too few outputs for {', '.join(proto.output)}"
                )
            for name, value in zip(proto.output, results, strict=False):
                self.define(name, value, scope)
            return
        if self.opset < OLDEST and not _kept(proto, self.opset):
            raise UnsupportedOperator(
                f"opset {self.opset} is not supported; export the model with opset {OLDEST} or newer"
            )
        try:
            onnx.checker.check_node(proto, self.checker)
            _check_attributes(proto, self.opset)
            attrs = {a.name: attribute(a, self.folder) for a in proto.attribute}
        except UnsupportedOperator:
            raise
        except (onnx.checker.ValidationError, BadModel, ValueError) as e:
            raise BadModel(f"{proto.op_type} ({source}): {str(e).splitlines()[0]}") from e
        if proto.op_type == "Constant":
            self.define(proto.output[0], self.graph.constant(_constant(attrs), proto.output[0]), scope)
            return
        if proto.op_type == "Identity":
            self.define(proto.output[0], inputs[0], scope)
            return
        outputs = tuple(self.graph.value(o or "unused", TensorType("f32", ())) for o in proto.output)
        node = Node(proto.op_type, operands(inputs), outputs, attrs, (source,))
        normalise(node, self.opset, self.graph)
        _check_types(node)
        if (function := self.function(node)) is not None:
            self.write_out(function, node, proto.output, scope)
            return
        infer(node)
        self.graph.add(node)
        for name, value in zip(proto.output, outputs, strict=True):
            self.define(name, value, scope)

    def unroll(self, nodes: int) -> None:
        """Count the nodes of unrolled loops. Raises UnsupportedOperator if there are too many."""
        self.unrolled += nodes
        if self.unrolled > MOST_UNROLLED:
            raise UnsupportedOperator(
                f"unrolling it takes more than {MOST_UNROLLED} nodes; bind a smaller number of iterations"
            )

    def function(self, node: Node) -> onnx.FunctionProto | None:
        try:
            return onnx_functions.body(node)
        except (BadModel, RuntimeError) as e:
            raise BadModel(f"{node.op} ({node.sources[0]}): {e}") from e

    def write_out(self, function: onnx.FunctionProto, node: Node, names: Sequence[str], scope: Scope) -> None:
        """Add the nodes that define `node` in its place."""
        source = node.sources[0]
        loader = Loader(self.graph, _opset(function), self.folder, {}, self.bind, self.narrow)
        loader.unrolled, loader.refusals, loader.named = self.unrolled, self.refusals, False
        loader.symbols, loader.narrowings = self.symbols, self.narrowings
        inner: Scope = ChainMap(dict(itertools.zip_longest(function.input, node.inputs)))
        for n in function.node:
            loader.node(n, source, inner)
        self.unrolled = loader.unrolled
        for name, result in zip(names, function.output, strict=False):
            self.define(name, self.get(result, inner, source), scope)

    def write_out_contrib(self, proto: NodeProto, source: str, scope: Scope) -> None:
        """Add an operator of ONNX Runtime as operators of ONNX."""
        inputs = tuple(self.optional(i, scope, source) for i in proto.input)
        outputs = tuple(Value(o or "unused", TensorType("f32", ())) for o in proto.output)
        attrs = {a.name: attribute(a, self.folder) for a in proto.attribute}
        results = contrib.write_out(self.graph, Node(proto.op_type, operands(inputs), outputs, attrs, (source,)))
        for name, value in itertools.zip_longest(proto.output, results[: len(proto.output)]):
            if name and value is None:
                raise UnsupportedOperator(f"its output {name} is not supported; export the model without it")
            self.define(name, value, scope)


def _order(nodes: Sequence[NodeProto]) -> list[int]:
    """The nodes in their order, except that each comes after its inputs: converters append casts at the end."""
    makers = {name: i for i, n in enumerate(nodes) for name in n.output if name}
    waits = [{makers[name] for name in _reads(n) if name in makers} for n in nodes]
    readers: dict[int, list[int]] = {}
    for i, before in enumerate(waits):
        for maker in before:
            readers.setdefault(maker, []).append(i)
    ready, order = [i for i, before in enumerate(waits) if not before], []
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        for reader in readers.get(i, ()):
            waits[reader].remove(i)
            if not waits[reader]:
                heapq.heappush(ready, reader)
    return order + [i for i, before in enumerate(waits) if before]  # the rest is a cycle, which its reader will report


def _reads(node: NodeProto) -> Iterator[str]:
    """The names that a node reads, including those that its bodies read."""
    yield from node.input
    for a in node.attribute:
        for inner in a.g.node:
            yield from _reads(inner)


def _kept(proto: NodeProto, opset: int) -> bool:
    """Whether an operator of an old opset is the same in OLDEST."""
    try:
        versions = {onnx.defs.get_schema(proto.op_type, o).since_version for o in (opset, OLDEST)}
    except onnx.defs.SchemaError:
        return False
    return len(versions) == 1


def _check_attributes(proto: NodeProto, opset: int) -> None:
    """Raise BadModel for a wrong attribute. ONNX's own check skips operators that are defined by others."""
    attributes = onnx.defs.get_schema(proto.op_type, opset, "").attributes
    for a in proto.attribute:
        # onnx does not declare that the types of attributes are an enumeration.
        if a.name not in attributes or a.type != attributes[a.name].type.value:  # pyright: ignore[reportAttributeAccessIssue]
            raise BadModel(f"it has no attribute {a.name} of type {AttributeProto.AttributeType.Name(a.type)}")
    enum_attributes.check(proto)


def _check_types(node: Node) -> None:
    """Raise BadModel if the element type of an input is not allowed, or not together with those of the others."""
    try:
        schema = onnx.defs.get_schema(node.op, OPSET)
    except onnx.defs.SchemaError as e:
        raise UnsupportedOperator("", node.op) from e
    if schema.deprecated or node.attrs.keys() - schema.attributes.keys():
        raise UnsupportedOperator("this old form is not supported; export the model with a newer opset")
    if not all(any(t.startswith("tensor(") for t in formal.types) for formal in schema.outputs):
        raise UnsupportedOperator("operators whose output is not a tensor are not supported")
    for i, formal in enumerate(schema.inputs):
        values = node.inputs[i:] if formal.option == _VARIADIC else node.inputs[i : i + 1]
        if formal.option != _OPTIONAL and (not values or None in values):
            raise BadModel(f"{node.op} ({node.name}) lacks its input {formal.name}")
    bound: dict[str, str] = {}
    for i, value in enumerate(node.inputs):
        if value is None:
            continue
        formal = schema.inputs[min(i, len(schema.inputs) - 1)]
        code = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(DTYPES[value.dtype]))
        accepted = f"tensor({TensorProto.DataType.Name(code).lower()})" in formal.types
        if not accepted or (formal.is_homogeneous and bound.setdefault(formal.type_str, value.dtype) != value.dtype):
            raise BadModel(f"{node.op} ({node.sources[0]}): its input {formal.name} does not accept {value}")


def _constant(attrs: Mapping[str, Any]) -> np.ndarray:
    kind = next(iter(attrs), "none")
    if kind == "value":
        return attrs[kind]
    if kind in ("value_float", "value_floats"):
        return np.array(attrs[kind], np.float32)
    if kind in ("value_int", "value_ints"):
        return np.array(attrs[kind], np.int64)
    raise UnsupportedOperator(f"a constant of kind {kind} is not supported")
