"""The graph: Values and Nodes, bipartite over networkx, in an order that depends only on how it was built.

A Value outlives its producer: a rewrite gives the same Value a new producer, so its readers and its type stay.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Generic, Self, TypeVar, cast

import ml_dtypes
import networkx as nx
import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim, Symbol
from intaglio.compiler.ir.encoded import EncodedWeight
from intaglio.compiler.ir.errors import BadModel, UnsupportedOperator
from intaglio.compiler.ir.expression import Expression
from intaglio.compiler.ir.packed import PackedMatrix

DTYPES = {
    "f32": np.float32,
    "f16": np.float16,
    "f64": np.float64,
    "bf16": ml_dtypes.bfloat16,
    "i64": np.int64,
    "i32": np.int32,
    "i16": np.int16,
    "i8": np.int8,
    "i4": ml_dtypes.int4,
    "u64": np.uint64,
    "u32": np.uint32,
    "u16": np.uint16,
    "u8": np.uint8,
    "u4": ml_dtypes.uint4,
    "bool": np.bool_,
}
FLOATS = frozenset({"f32", "f16", "f64", "bf16"})
_NAMES = {np.dtype(v): k for k, v in DTYPES.items()}


@dataclass(frozen=True)
class TensorType:
    """An element type (a key of DTYPES) and a shape; prints as f32[T,384]."""

    dtype: str
    shape: tuple[Dim, ...]

    @property
    def size(self) -> Dim:
        """The number of elements."""
        return dims.product(self.shape)

    @property
    def symbols(self) -> set[Symbol]:
        """The symbols that the shape depends on."""
        return {s for d in self.shape for s in dims.symbols(d)}

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


Content = np.ndarray | PackedMatrix | EncodedWeight  # the content of a constant


def type_of(array: Content) -> TensorType:
    """Return the type of a constant. An array of dimensions (dtype object) counts as i64.

    Raises UnsupportedOperator for an element type that is not in DTYPES.
    """
    if array.dtype == object:
        return TensorType("i64", array.shape)
    if array.dtype not in _NAMES:
        raise UnsupportedOperator(f"tensors of type {array.dtype} are not supported")
    return TensorType(_NAMES[array.dtype], array.shape)


View = tuple[str, tuple[Dim, ...]]  # ("perm", axes), ("shape", dims), ("columns", (first, end)) or ("first", dims)


@dataclass(frozen=True)
class Origin:
    """A value of an ONNX model after the permutations, reshapes and slices of `views`, in order."""

    model: str
    name: str
    views: tuple[View, ...] = ()

    def seen(self, view: View) -> Origin:
        """Return the origin with one more view."""
        return Origin(self.model, self.name, (*self.views, view))


@dataclass(eq=False)
class Value:
    """A tensor. const: the content if it is known: a weight, a folded constant, or dimensions (dtype object).

    origin: the ONNX value that this one equals, if any. With a KV cache this value has only the newest rows.
    """

    name: str
    type: TensorType
    const: Content | None = None
    origin: Origin | None = None

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.type.shape

    @property
    def fixed_shape(self) -> tuple[int, ...]:
        """The shape as ints. Raises NotLinear if it depends on a symbol."""
        return tuple(map(dims.fixed, self.shape))

    @property
    def dtype(self) -> str:
        return self.type.dtype

    @property
    def scalar(self) -> float | int | bool | None:
        """The number in a constant with one element, else None."""
        if not isinstance(self.const, np.ndarray) or self.const.size != 1 or self.const.dtype == object:
            return None
        return self.const.reshape(-1)[0].item()

    @property
    def array(self) -> np.ndarray:
        """The content of a constant that is neither packed nor quantized. Raises TypeError for other values."""
        if not isinstance(self.const, np.ndarray):
            raise TypeError(f"{self} is not a constant that holds an array")
        return self.const

    @property
    def numbers(self) -> np.ndarray | PackedMatrix:
        """The content of a constant as kernels read it. Raises TypeError for other values."""
        return self.const if isinstance(self.const, PackedMatrix) else self.array

    def __str__(self) -> str:
        return f"{self.name}: {self.type}"


T = TypeVar("T")  # the type of an operand: Value in a graph, array in an evaluation
_SLOT = "T | None"  # the annotation of an operand that may be absent


@dataclass(frozen=True)
class CacheWrite(Generic[T]):
    """Output number `output` is `state` with new rows from row `at` on."""

    output: int
    state: T
    at: Dim


@dataclass(frozen=True)
class Tail(Generic[T]):
    """An elementwise expression of the result of a node, which is "acc". The arguments x0 to x2 are inputs of the node,
    and x3 is the first of `operands`."""

    steps: Expression
    operands: tuple[T, ...] = ()


@dataclass(frozen=True)
class Operator(Generic[T]):
    """One of our own operators: a frozen dataclass that names its operands, of type T, and its attributes.

    Operands and attributes may be nested in tuples and dataclasses.
    """

    @classmethod
    def of(cls, node: Node | None) -> Self | None:
        """Return the operator of `node` if it is of this class, else None."""
        own = node.own if node is not None else None
        return cast("Self", own) if isinstance(own, cls) else None

    @classmethod
    def expect(cls, node: Node) -> Self:
        """Return the operator of `node`. Raises TypeError if it is of another class."""
        if not isinstance(node.own, cls):
            raise TypeError(f"{node.name} computes {node.op}, expected {cls.__name__}")
        return cast("Self", node.own)

    @property
    def inputs(self) -> tuple[T, ...]:
        """The operands in order. An absent operand is None, and is left out at the end: see Node."""
        slots: list[Any] = []
        for f in fields(self):
            part = getattr(self, f.name)
            slots += [None] if part is None and f.type == _SLOT else [v for v in leaves(part) if isinstance(v, Value)]
        while slots and slots[-1] is None:
            slots.pop()
        return tuple(slots)

    @property
    def writes(self) -> tuple[CacheWrite[T], ...]:
        """The outputs that are states with rows written into them."""
        return ()

    @property
    def settings(self) -> dict[str, Any]:
        """The attributes that differ from their defaults."""
        items = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}
        return {
            name: item
            for name, (item, default) in items.items()
            if item is not default and item != default and not _is_operand(item)
        }

    def with_inputs(self, inputs: Mapping[Any, Any]) -> Self:
        """Return the operator with its operands replaced, for example by arrays."""
        return replaced(self, lambda leaf: inputs.get(leaf, leaf) if isinstance(leaf, Value) else leaf)

    def with_sizes(self, sizes: Mapping[str, Dim]) -> Self:
        """Return the operator with symbols replaced by name."""
        return replaced(self, lambda leaf: dims.substitute(leaf, sizes) if isinstance(leaf, dims.Expr) else leaf)


def leaves(part: Any) -> Iterator[Any]:
    """Yield the operands and attributes of an operator in order, including nested ones."""
    if is_dataclass(part) and not isinstance(part, Value | dims.Expr):
        for f in fields(part):
            yield from leaves(getattr(part, f.name))
    elif isinstance(part, tuple):
        for item in part:
            yield from leaves(item)
    else:
        yield part


def replaced(part: Any, change: Callable[[Any], Any]) -> Any:
    """Return an operator with `change` applied to each of its leaves."""
    if is_dataclass(part) and not isinstance(part, type | Value | dims.Expr):
        return replace(part, **{f.name: replaced(getattr(part, f.name), change) for f in fields(part)})
    return tuple(replaced(item, change) for item in part) if isinstance(part, tuple) else change(part)


def _is_operand(item: Any) -> bool:
    return isinstance(item, Value) or (isinstance(item, tuple) and any(isinstance(v, Value) for v in item))


@dataclass(eq=False)
class Node:
    """An operation. `sources` names the ONNX nodes that it comes from.

    An absent optional input is None in `inputs`, although the type does not say so. `input(i)` has the precise type.

    own: the operator if it is one of ours; `op` and `inputs` are then its name and operands. Otherwise `attrs` has the
    attributes of an ONNX operator. tail: an expression that is applied to each element of the result.
    """

    op: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    own: Operator[Value] | None = None
    tail: Tail[Value] | None = None

    @classmethod
    def of(
        cls,
        own: Operator[Value],
        outputs: tuple[Value, ...],
        sources: tuple[str, ...] = (),
        tail: Tail[Value] | None = None,
    ) -> Node:
        """Return a node of one of our own operators."""
        return cls(type(own).__name__, own.inputs, outputs, {}, sources, own, tail)

    @property
    def output(self) -> Value:
        return self.outputs[0]

    @property
    def reads(self) -> tuple[Value | None, ...]:
        """The inputs, padded to three if there is a tail, and the operands of the tail."""
        if self.tail is None:
            return self.inputs
        return (*self.inputs, *[None] * (3 - len(self.inputs)), *self.tail.operands)

    @property
    def written(self) -> dict[Value, Value]:
        """The outputs that are states with rows written into them: output -> state."""
        return {self.outputs[w.output]: w.state for w in self.own.writes} if self.own is not None else {}

    @property
    def settings(self) -> dict[str, Any]:
        """The operator, its attributes and its tail: everything but the inputs."""
        own = self.own.settings if self.own is not None else {}
        return self.attrs | own | ({"tail": self.tail.steps} if self.tail is not None else {})

    @property
    def computes(self) -> Hashable:
        """A key of the operation without its inputs, equal for nodes with the same operation."""
        own = self.own.with_inputs({v: i for i, v in enumerate(self.inputs)}) if self.own is not None else None
        return self.op, repr(sorted(self.attrs.items())), own, len(self.outputs)

    @property
    def symbols(self) -> set[Symbol]:
        """The symbols that the operator depends on, except those of its operands."""
        parts = [*self.attrs.values(), *(leaves(self.own) if self.own is not None else ())]
        return {s for part in parts for s in dims.symbols(part)}

    @property
    def name(self) -> str:
        """The name for users: the ONNX nodes that it comes from."""
        return ", ".join(self.sources) or self.output.name

    def input(self, i: int) -> Value | None:
        """Return the i-th input, or None if it is absent."""
        return self.inputs[i] if i < len(self.inputs) else None

    def reading(self, change: Mapping[Value, Value], outputs: tuple[Value, ...] | None = None) -> Node:
        """Return the operation with values replaced in its inputs, and with other outputs if they are given."""
        outputs = self.outputs if outputs is None else outputs
        tail = replaced(self.tail, lambda leaf: change.get(leaf, leaf) if isinstance(leaf, Value) else leaf)
        if self.own is not None:
            return Node.of(self.own.with_inputs(change), outputs, self.sources, tail)
        inputs = operands(change.get(v, v) if v is not None else None for v in self.inputs)
        return Node(self.op, inputs, outputs, self.attrs, self.sources, None, tail)

    def with_sizes(self, sizes: Mapping[str, Dim]) -> Node:
        """Return the operation with symbols of its attributes replaced."""
        if self.own is not None:
            return Node.of(self.own.with_sizes(sizes), self.outputs, self.sources, self.tail)
        attrs = {k: dims.substitute(a, sizes) if isinstance(a, dims.Expr) else a for k, a in self.attrs.items()}
        return replace(self, attrs=attrs)

    def __str__(self) -> str:
        ins = ", ".join(argument(v) for v in self.reads)
        settings = "".join(f" {k}={short(v)}" for k, v in sorted(self.settings.items()))
        return f"{', '.join(map(str, self.outputs))} = {self.op}({ins}){settings}"


def operands(values: Iterable[Value | None]) -> tuple[Value, ...]:
    """Return the inputs of a node. Absent optional inputs are None: see Node."""
    return cast("tuple[Value, ...]", tuple(values))


def argument(value: Value | None) -> str:
    """Return an input of a node as text: the content of a small constant, else the name."""
    if value is None:
        return "_"
    if value.const is not None and value.const.size <= 4:
        return str(value.array.tolist())
    return value.name


def short(attr: Any) -> str:
    """Return an attribute as text: the type of an array, the name of a value."""
    if isinstance(attr, np.ndarray):
        return str(type_of(attr))
    if isinstance(attr, Value):
        return attr.name
    if isinstance(attr, tuple) and any(map(is_dataclass, attr)):
        return f"[{', '.join(map(short, attr))}]"
    if is_dataclass(attr) and not isinstance(attr, dims.Expr):
        parts = [(f.name, getattr(attr, f.name)) for f in fields(attr)]
        return f"({', '.join(f'{name}={short(part)}' for name, part in parts if part is not None)})"
    return str(attr)


class Graph:
    """Nodes over values. The caller feeds `inputs` and reads `outputs`. `states` keep their content between runs; one
    Write writes each of them. `model` is the name under which the graph was loaded, which its copies keep.

    Invariants (see `verify`): each value read is a constant, an input, a state or the output of exactly one node. There
    are no cycles.
    """

    def __init__(self, name: str = "main") -> None:
        self.name = self.model = name
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.states: list[Value] = []
        self._net = nx.DiGraph()
        self._age: dict[Node, int] = {}
        self._clock = itertools.count()
        self._taken: dict[str, int] = {}
        self._order: dict[Node, int] | None = None  # the position of each node; None after a change

    # building

    def value(self, name: str, type: TensorType) -> Value:
        """Return a new value with a unique name that begins with `name`."""
        stem = name
        while name in self._taken:
            self._taken[stem] += 1
            name = f"{stem}.{self._taken[stem]}"
        self._taken[name] = 0
        return Value(name, type)

    def constant(self, array: Content, name: str = "const") -> Value:
        """Return a constant. Names of constants need not be unique."""
        return Value(name, type_of(array), array)

    def add(self, node: Node) -> Node:
        """Insert a node and return it. Its inputs may be new to the graph. Raises ValueError for a second producer."""
        self._order = None
        self._age[node] = next(self._clock)
        for value in node.reads:
            if value is not None:
                self._net.add_edge(value, node)
        for value in node.outputs:
            if self.producer(value) is not None:
                raise ValueError(f"{value.name} has two producers")
            self._net.add_edge(node, value)
        return node

    def remove(self, node: Node) -> None:
        self._order = None
        del self._age[node]
        self._net.remove_node(node)

    def replace(self, old: Node, new: Node) -> Node:
        """Replace `old` by `new`, which has the same outputs, at the same place in the order; return `new`."""
        age = self._age[old]
        self.remove(old)
        self.add(new)
        self._age[new] = age
        return new

    def redirect(self, old: Value, new: Value) -> None:
        """Replace `old` by `new` in all readers and in the outputs of the graph.

        An output keeps its name: if users already know `new` by its name, `old` becomes a copy of it.
        """
        if new.origin is None and new.shape == old.shape:
            new.origin = old.origin
        for reader in self.consumers(old):
            self.replace(reader, reader.reading({old: new}))
        if old in self.outputs and self.is_named(new):
            maker = self.expect_producer(old)
            self.replace(maker, Node("Identity", (new,), (old,), {}, maker.sources))
        elif old in self.outputs:
            new.name = old.name
            self.outputs = [new if v is old else v for v in self.outputs]

    def is_named(self, value: Value) -> bool:
        """Return whether users see the name of the value: it is an input, an output or a state."""
        return value in self.inputs or value in self.states or value in self.outputs

    # reading

    def producer(self, value: Value) -> Node | None:
        return next(self._net.predecessors(value), None) if value in self._net else None

    def expect_producer(self, value: Value) -> Node:
        """Return the node that produces `value`. Raises ValueError if there is none."""
        node = self.producer(value)
        if node is None:
            raise ValueError(f"no node makes {value}")
        return node

    def consumers(self, value: Value) -> list[Node]:
        """Return the nodes that read `value`, each once, oldest first."""
        return sorted(self._net.successors(value), key=self._age.__getitem__) if value in self._net else []

    @property
    def nodes(self) -> list[Node]:
        """All nodes in topological order. The oldest comes first where several are possible."""
        return list(self._places())

    def _places(self) -> dict[Node, int]:
        if self._order is None:
            self._order = {node: i for i, node in enumerate(self._sorted(self._age))}
        return self._order

    def _sorted(self, nodes: Collection[Node]) -> list[Node]:
        """Return `nodes` in topological order. Raises BadModel if they form a cycle."""
        net, age = self._net, self._age
        # For each node, the number of its inputs that are not computed yet.
        missing = {node: sum(self.producer(v) in nodes for v in net.predecessors(node)) for node in nodes}
        by_age = {age[node]: node for node in nodes}
        ready = [when for when, node in by_age.items() if not missing[node]]
        heapq.heapify(ready)
        result: list[Node] = []
        while ready:
            node = by_age[heapq.heappop(ready)]
            result.append(node)
            for reader in itertools.chain.from_iterable(map(net.successors, net.successors(node))):
                if reader in missing:
                    missing[reader] -= 1
                    if not missing[reader]:
                        heapq.heappush(ready, age[reader])
        if len(result) < len(missing):
            raise BadModel(f"graph {self.name} has a cycle")
        return result

    def values(self) -> Iterator[Value]:
        """Yield every value that a node reads or produces, in order."""
        seen: set[int] = set()
        for node in self.nodes:
            for value in (*node.reads, *node.outputs):
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield value

    def ancestors(self, value: Value, stop: Iterable[Value] = ()) -> list[Node]:
        """Return the nodes that `value` depends on, in the graph's order, without those before the values in `stop`."""
        barrier, seen, todo = set(map(id, stop)), set(), [value]
        while todo:
            v = todo.pop()
            node = None if id(v) in barrier else self.producer(v)
            if node is not None and node not in seen:
                seen.add(node)
                todo.extend(x for x in node.reads if x is not None)
        if self._order is None and not barrier:
            return self._sorted(seen)  # only they decide their order, and sorting the whole graph is slow
        return sorted(seen, key=self._places().__getitem__)

    def prune(self) -> int:
        """Remove nodes whose outputs are not read; return their number."""
        outputs, order = set(self.outputs), self._places()
        for node in reversed(order):
            if not node.written and not any(v in outputs or self._net.out_degree(v) for v in node.outputs):
                self._net.remove_nodes_from(node.outputs)
                self.remove(node)
        self._order = {n: i for n, i in order.items() if n in self._age}  # the order of the rest is the same
        return len(order) - len(self._order)

    def copy(self, name: str, symbols: Mapping[str, Dim] | None = None) -> Graph:
        """Return an independent graph that shares the constants, with dimensions substituted by symbol name."""
        renamed: dict[Value, Value] = {}
        change = symbols or {}

        def of(value: Value) -> Value:
            if value not in renamed:
                const = value.const
                if isinstance(const, np.ndarray) and const.dtype == object:
                    const = known([dims.substitute(d, change) for d in const.reshape(-1)], const.shape)
                    const = const if const.dtype == object else const.astype(DTYPES[value.dtype])
                shape = tuple(dims.substitute(d, change) for d in value.shape)
                renamed[value] = Value(value.name, TensorType(value.dtype, shape), const, value.origin)
            return renamed[value]

        result = Graph(name)
        result.model = self.model
        result._taken = dict(self._taken)
        result.inputs, result.outputs, result.states = (
            [of(v) for v in vs] for vs in (self.inputs, self.outputs, self.states)
        )
        for n in self.nodes:
            inner = {v: of(v) for v in n.reads if v is not None}
            result.add(n.with_sizes(change).reading(inner, tuple(map(of, n.outputs))))
        return result

    def verify(self) -> None:
        """Raise BadModel if an invariant of the class is broken."""
        known_values = {id(v) for v in (*self.inputs, *self.states)}
        for node in self.nodes:
            for v in node.reads:
                if v is not None and v.const is None and id(v) not in known_values:
                    raise BadModel(
                        f"{node.op} ({', '.join(node.sources) or node.output.name}) reads {v.name}, "
                        "which no node produces"
                    )
            known_values.update(map(id, node.outputs))
        for v in self.outputs:
            if v.const is None and id(v) not in known_values:
                raise BadModel(f"no node produces the output {v.name}")

    def __str__(self) -> str:
        lines = [f"graph {self.name}"]
        for kind, values in (("input", self.inputs), ("state", self.states)):
            lines += [f"  {kind} {v}" for v in values]
        lines += [f"  const {v}" for v in self.values() if v.const is not None and v.const.size > 4]
        lines += [f"  {node}" for node in self.nodes]
        lines += [f"  output {v.name}" for v in self.outputs]
        return "\n".join(lines) + "\n"


def known(items: Iterable[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of dimensions: i64 if all are numbers, dtype object if symbols remain."""
    items = list(items)
    if not any(isinstance(d, dims.Expr) for d in items):
        return np.array(items, np.int64).reshape(shape)
    array = np.empty(len(items), object)
    array[:] = items
    return array.reshape(shape)


OPSET = 28  # the operator version that load.py converts models to
