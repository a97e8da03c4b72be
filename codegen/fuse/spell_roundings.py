"""Writes roundings to known steps as arithmetic, so that they can become the tail of a layer."""

from __future__ import annotations

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Elementwise
from intaglio.compiler.rewrite.elementwise_chains import rounding, spelled


def spell_roundings(graph: Graph) -> int:
    """Replace roundings by elementwise expressions. Returns the number that were replaced."""
    roundings = [(node, own) for node in graph.nodes if (own := rounding(node))]
    for node, own in roundings:
        graph.replace(node, Node.of(Elementwise((own.x,), spelled(own, "x0")), node.outputs, node.sources))
    return len(roundings)
