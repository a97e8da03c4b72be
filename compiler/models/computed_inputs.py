"""Inputs of a model that follow from the number of tokens: masks of ones, and positions from 0 on.

A node that computes the value replaces the input, so the passes see what the model does without padding.
"""

from __future__ import annotations

import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import TensorType, Value, known


def fill(graph: Graph, value: Value, number: int = 1) -> None:
    """Replace an input by its shape filled with `number`."""
    node = Node("ConstantOfShape", (_shape(graph, value),), (), {"value": np.full(1, number, np.int64)})
    _replace(graph, value, node)


def count(graph: Graph, value: Value, first: int = 0) -> None:
    """Replace an input whose last axis is the tokens by the positions `first`, `first` + 1, ..."""
    tokens = value.shape[-1]
    ends = tuple(graph.constant(known([d], ())) for d in (first, tokens + first, 1))
    counted = graph.value("positions", TensorType("i64", (tokens,)))
    graph.add(Node("Range", ends, (counted,), {}, ("positions",)))
    op = "Reshape" if dims.product(value.shape[:-1]) == 1 else "Expand"
    _replace(graph, value, Node(op, (counted, _shape(graph, value)), ()))


def _shape(graph: Graph, value: Value) -> Value:
    return graph.constant(known(value.shape, (len(value.shape),)))


def _replace(graph: Graph, value: Value, node: Node) -> None:
    graph.inputs.remove(value)
    made = graph.value(f"{value.name}.made", TensorType("i64", value.shape))
    graph.add(Node(node.op, node.inputs, (made,), node.attrs, (value.name,)))
    graph.add(Node("Cast", (made,), (value,), {"to": value.dtype}, (value.name,)))
