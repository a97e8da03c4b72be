"""Remove nodes whose results are known at compile time, and compute equal expressions once."""

from __future__ import annotations

from typing import Any

import numpy as np

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value


def fold(graph: Graph) -> int:
    """Remove nodes with known outputs, duplicates and unused nodes; return the number of changes."""
    changed = 0
    for node in graph.nodes:
        if all(v.const is not None for v in node.outputs):
            graph.remove(node)
            changed += 1
    return changed + _merge_equal(graph) + graph.prune()


def _merge_equal(graph: Graph) -> int:
    """Merge nodes that apply the same operation to the same values into the first; return the number merged."""
    firsts: dict[tuple[Any, ...], Node] = {}
    merged = 0
    for listed in graph.nodes:
        node = graph.expect_producer(listed.output)  # after earlier merges, which replace nodes
        key = (node.computes, tuple(map(identity, node.inputs)))
        first = firsts.setdefault(key, node)
        if first is node or any(v in graph.outputs for v in node.outputs):
            continue
        for old, new in zip(node.outputs, first.outputs, strict=True):
            graph.redirect(old, new)
        merged += 1
    return merged


def identity(value: Value | None) -> object:
    """Return a key that is equal only for values with the same content. Small constants are compared by content."""
    if value is None or not isinstance(value.const, np.ndarray) or value.const.size > 16:
        return id(value)
    if value.const.dtype == object:
        return tuple(map(str, value.const.reshape(-1))), value.shape
    return value.const.tobytes(), str(value.type)
