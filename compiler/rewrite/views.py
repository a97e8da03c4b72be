"""Chains of Reshape, Transpose and Expand, recognised by their effect on an index tensor, not by their spelling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value
from intaglio.compiler.semantics import evaluate

VIEWS = frozenset({"Reshape", "Transpose", "Expand"})


def permutation(node: Node) -> list[int]:
    """The axes that a Transpose reads, in order."""
    return node.attrs.get("perm") or list(range(len(node.inputs[0].shape)))[::-1]


def source(graph: Graph, value: Value) -> tuple[Value, list[Node]]:
    """The value behind a chain of views, and the chain, first view first."""
    chain: list[Node] = []
    while (node := graph.producer(value)) is not None and node.op in VIEWS:
        chain.insert(0, node)
        value = node.inputs[0]
    return value, chain


def maps(graph: Graph, value: Value, expected: Callable[[np.ndarray], np.ndarray]) -> Value | None:
    """The source of `value` if the views between them do what `expected` does to an array, else None.

    Tried with two sizes for every symbol, so that a size that happens to fit cannot deceive.
    """
    origin, chain = source(graph, value)
    for size in (3, 5):
        symbols = {s.name: size for v in (origin, value) for s in v.type.symbols}
        shape = tuple(dims.fixed(dims.substitute(d, symbols)) for d in origin.shape)
        index = np.arange(int(np.prod(shape))).reshape(shape)
        actual = evaluate.compute(graph, chain, {origin: index}, symbols)[value] if chain else index
        try:
            right = expected(index)
        except ValueError:
            return None
        if actual.shape != right.shape or not np.array_equal(actual, right):
            return None
    return origin
