"""Origins: which ONNX value each value equals. Passes keep them, so that any step can be compared with the model.

A rewrite keeps the value that it rewrites. A new value is often the same behind a Reshape or Transpose, which later
passes remove, so its origin is recorded while the view is there.
"""

from __future__ import annotations

import numpy as np

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Write
from intaglio.compiler.ir.values import Origin, Value, View
from intaglio.compiler.rewrite.views import permutation

_VIEWS = ("Reshape", "Transpose")  # what they make holds every element once


def forward_origin(node: Node) -> None:
    """Set the origin of a new node's output, if the node is a view or a copy of its input."""
    origin = node.inputs[0].origin if node.inputs and node.inputs[0] else None
    if origin and node.op in _VIEWS:
        node.output.origin = origin.seen(_view(node, node.output, permutation(node)))
    elif origin and (write := Write.of(node)):
        node.output.origin = origin if len(write.state.shape) == len(write.rows.shape) else _by_heads(origin, write)


def backward_origin(graph: Graph, value: Value) -> None:
    """Set the origin of the value behind the view `value`, if it has none."""
    while value.origin and (node := graph.producer(value)) and (view := _behind(node)):
        source = node.inputs[0]
        if source.origin is None:
            source.origin = value.origin.seen(view)
        value = source


def _by_heads(origin: Origin, write: Write[Value]) -> Origin:
    """The origin of rows that a cache has head by head."""
    _, heads, _, width = write.state.shape
    return origin.seen(("shape", (*write.rows.shape[:-1], heads, width))).seen(("perm", (0, 2, 1, 3)))


def columns(origin: Origin | None, chosen: np.ndarray) -> Origin | None:
    """The origin of some columns of a value, if they are neighbours."""
    return origin.seen(("columns", span)) if origin and (span := ends(chosen)) else None


def ends(numbers: np.ndarray) -> tuple[int, int] | None:
    """The first number and the one after the last, if they count up."""
    first, end = int(numbers[0]), int(numbers[0]) + len(numbers)
    return (first, end) if np.array_equal(numbers, np.arange(first, end)) else None


def _behind(node: Node) -> View | None:
    """The view that leads from a view's output back to its input; None if there is none."""
    if node.op == "Expand" and len(node.inputs[0].shape) == len(node.output.shape):
        return ("first", node.inputs[0].shape)
    if node.op not in _VIEWS:
        return None
    perm = permutation(node)
    return _view(node, node.inputs[0], [perm.index(i) for i in range(len(perm))])


def _view(node: Node, value: Value, perm: list[int]) -> View:
    return ("perm", tuple(perm)) if node.op == "Transpose" else ("shape", value.shape)
