"""Roundings to known steps are written as the arithmetic that they are, so that they can be the tail of a layer."""

from __future__ import annotations

from intaglio.compiler.ir.graph import Graph, Node
from intaglio.compiler.ir.operators import Elementwise, FakeQuantize
from intaglio.compiler.rewrite.elementwise_chains import is_rounding, spelled


def spell_roundings(graph: Graph) -> int:
    """Returns the number of roundings that became elementwise expressions."""
    nodes = [n for n in graph.nodes if is_rounding(n)]
    for node in nodes:
        rounding = FakeQuantize.of(node)
        graph.replace(node, Node.of(Elementwise((rounding.x,), spelled(rounding, "x0")), node.outputs, node.sources))
    return len(nodes)
