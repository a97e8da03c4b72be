"""Control flow ends while loading: a branch is inlined if its condition is constant, a loop unrolled if its length is.

Conditions and trip counts follow from shapes and from inputs that are bound.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from onnx import GraphProto, NodeProto

from intaglio.compiler.ir.errors import BadModel, UnsupportedOperator
from intaglio.compiler.ir.expression import COMPARISONS
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import TensorType, Value
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.semantics.shapes import axis_of

MOST_UNROLLED = 20_000  # nodes that loops become

Inputs = tuple[Value | None, ...]
Results = Sequence[Value | None]
Scope = ChainMap[str, Value | None]


class Loader(Protocol):
    """What reads the nodes of the graphs inside a node: see compiler/reader/load.py."""

    graph: Graph
    opset: int

    def define(self, name: str, value: Value | None, scope: Scope) -> None: ...

    def initializers(self, proto: GraphProto, scope: Scope) -> None: ...

    def body(self, proto: GraphProto, scope: Scope) -> None: ...

    def get(self, name: str, scope: Scope, reader: str) -> Value: ...

    def unroll(self, nodes: int) -> None: ...


def _branch(loader: Loader, proto: NodeProto, source: str, inputs: Inputs, scope: Scope) -> Results:
    if len(inputs) != 1 or inputs[0] is None or inputs[0].scalar is None:
        raise UnsupportedOperator(_undecided(loader, inputs[0] if inputs else None))
    branch = "then_branch" if inputs[0].scalar else "else_branch"
    return _run(loader, _graph(proto, branch), (), source, scope)


def _undecided(loader: Loader, condition: Value | None) -> str:
    """Return why a condition is not known. Some models have other tables for sequences above a certain length."""
    node = loader.graph.producer(condition) if condition is not None else None
    limits = [v.scalar for v in node.inputs if v is not None and v.scalar is not None] if node is not None else []
    sizes = node is not None and all(v is not None and v.const is not None for v in node.inputs)
    if node is None or node.op not in COMPARISONS or not sizes or len(limits) != 1:
        return "the condition is computed at run time"
    limit = int(limits[0]) - (node.op in ("Less", "GreaterOrEqual"))
    return (
        f"it distinguishes sizes up to {limit} from larger ones; compile with --max-length {limit}, or --bind the size"
    )


def _loop(loader: Loader, proto: NodeProto, source: str, inputs: Inputs, scope: Scope) -> Results:
    body = _graph(proto, "body")
    count, condition, *state = (*inputs, None, None)[: max(2, len(inputs))]
    scanned: list[list[Value]] = [[] for _ in body.output[1 + len(state) :]]
    step = 0
    while (count is None or step < _known(count, "trip count")) and (
        condition is None or _known(condition, "condition")
    ):
        loader.unroll(1 + len(body.node))
        number = np.full((1,) * _rank(body), step, np.int64)
        now = condition if condition is not None else loader.graph.constant(np.array(True))
        results = _run(loader, body, (loader.graph.constant(number, "step"), now, *state), source, scope)
        condition = results[0] if condition is not None else None
        state = results[1 : 1 + len(state)]
        for values, value in zip(scanned, results[1 + len(state) :], strict=True):
            values.append(value)
        step += 1
    return [*state, *(_stack(loader, values, 0, source) for values in scanned)]


def _scan(loader: Loader, proto: NodeProto, source: str, inputs: Inputs, scope: Scope) -> Results:
    body, over = _graph(proto, "body"), next((a.i for a in proto.attribute if a.name == "num_scan_inputs"), 0)
    if loader.opset < 9:
        raise UnsupportedOperator("Scan of opset 8 is not supported; export the model with opset 9 or newer")
    present = [v for v in inputs if v is not None]
    if not 0 < over <= len(present) or len(present) < len(inputs):
        raise BadModel(f"Scan ({source}): num_scan_inputs is {over}, but it has {len(inputs)} inputs")
    state, sequences = present[:-over], present[-over:]
    scanned: list[list[Value]] = [[] for _ in body.output[len(state) :]]
    axes = _listed(proto, "scan_input_axes", over)
    axes = [axis_of(a, len(v.shape)) for a, v in zip(axes, sequences, strict=True)]
    backward = _listed(proto, "scan_input_directions", over)
    out_axes = _listed(proto, "scan_output_axes", len(scanned))
    prepended = _listed(proto, "scan_output_directions", len(scanned))
    length = sequences[0].shape[axes[0]]
    if not isinstance(length, int) or any(v.shape[a] != length for a, v in zip(axes, sequences, strict=True)):
        raise UnsupportedOperator(f"the number of iterations, {length}, is dynamic")
    builder = _builder(loader, source)
    for step in range(length):
        loader.unroll(1 + len(body.node))
        places = [length - 1 - step if b else step for b in backward]
        parts = [
            builder.Gather(v, builder.constant(np.array(place)), axis=axis)
            for v, place, axis in zip(sequences, places, axes, strict=True)
        ]
        results = _run(loader, body, (*state, *parts), source, scope)
        state = results[: len(state)]
        for values, value in zip(scanned, results[len(state) :], strict=True):
            values.append(value)
    ordered = [values[::-1] if back else values for values, back in zip(scanned, prepended, strict=True)]
    return [*state, *(_stack(loader, v, axis, source) for v, axis in zip(ordered, out_axes, strict=True))]


CONTROL: dict[str, Callable[[Loader, NodeProto, str, Inputs, Scope], Results]] = {
    "If": _branch,
    "Loop": _loop,
    "Scan": _scan,
}


def _run(loader: Loader, body: GraphProto, arguments: Sequence[Value | None], source: str, scope: Scope) -> list[Value]:
    """The outputs of a graph inside a node. It has its own names and sees those around it."""
    inner = scope.new_child()
    if len(body.input) != len(arguments):
        raise BadModel(f"{source}: its body has {len(body.input)} inputs, expected {len(arguments)}")
    for declared, value in zip(body.input, arguments, strict=True):
        loader.define(declared.name, value, inner)
    loader.initializers(body, inner)
    loader.body(body, inner)
    return [loader.get(o.name, inner, source) for o in body.output]


def _stack(loader: Loader, values: list[Value], axis: int, source: str) -> Value:
    """The values side by side along a new axis."""
    if not values:
        raise UnsupportedOperator("a loop without iterations gives its outputs no shape")
    builder = _builder(loader, source)
    axes = builder.constant(np.array([axis], np.int64))
    return builder.Concat(*(builder.Unsqueeze(v, axes) for v in values), axis=axis)


def _builder(loader: Loader, source: str) -> GraphBuilder:
    return GraphBuilder(loader.graph, Node("", (), (Value(source, TensorType("f32", ())),), {}, (source,)))


def _graph(proto: NodeProto, name: str) -> GraphProto:
    graphs = [a.g for a in proto.attribute if a.name == name]
    if not graphs:
        raise BadModel(f"{proto.op_type} ({proto.name}) lacks the attribute {name}")
    return graphs[0]


def _listed(proto: NodeProto, name: str, count: int) -> list[int]:
    """An attribute with a number for each of `count` values: zeros where it is left out."""
    numbers = next((list(a.ints) for a in proto.attribute if a.name == name), [0] * count)
    if len(numbers) != count:
        raise BadModel(f"{proto.op_type} ({proto.name}): {name} has {len(numbers)} numbers, expected {count}")
    return numbers


def _known(value: Value, what: str) -> float:
    if value.scalar is None:
        raise UnsupportedOperator(f"the {what} is computed at run time")
    return value.scalar


def _rank(body: GraphProto) -> int:
    """That of the step's number: 0, or 1 where the body says so."""
    return min(1, len(body.input[0].type.tensor_type.shape.dim)) if body.input else 0
