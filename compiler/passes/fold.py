"""Fold: what is known at compile time leaves the graph, and what is computed twice is computed once."""

from __future__ import annotations

from typing import Any

import numpy as np

from intaglio.compiler.ir.graph import Graph, Node, Value


def fold(graph: Graph) -> int:
    """Remove nodes whose outputs are known; returns the number of changes."""
    changed = 0
    for node in graph.nodes:
        if all(v.const is not None for v in node.outputs):
            graph.remove(node)
            changed += 1
    return changed + _merge_equal(graph) + graph.prune()


def _merge_equal(graph: Graph) -> int:
    """Common subexpressions: of nodes that do the same to the same values, keep the first."""
    firsts: dict[tuple[Any, ...], Node] = {}
    merged = 0
    for listed in graph.nodes:
        node = graph.expect_producer(listed.output)  # as it is after the merges before it
        key = (node.computes, tuple(map(identity, node.inputs)))
        first = firsts.setdefault(key, node)
        if first is node or any(v in graph.outputs for v in node.outputs):
            continue
        for old, new in zip(node.outputs, first.outputs, strict=True):
            graph.redirect(old, new)
        merged += 1
    return merged


def identity(value: Value | None) -> object:
    """Equal for values that surely hold the same: small constants are compared by content."""
    if value is None or not isinstance(value.const, np.ndarray) or value.const.size > 16:
        return id(value)
    if value.const.dtype == object:
        return tuple(map(str, value.const.reshape(-1))), value.shape
    return value.const.tobytes(), str(value.type)
