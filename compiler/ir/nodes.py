"""Nodes: operations on values. Operators of ONNX have attributes; our own are dataclasses that name their operands."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Generic, Self, TypeVar, cast

import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.expression import Expression
from intaglio.compiler.ir.values import Value, type_of

OPSET = 28  # the operator version that load.py converts models to
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
    def sizes(self) -> tuple[Dim, ...]:
        """The sizes among the settings of the operator, without numbers."""
        parts = [*self.attrs.values(), *(leaves(self.own) if self.own is not None else ())]
        return tuple(part for part in parts if isinstance(part, dims.Expr))

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
