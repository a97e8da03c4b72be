"""Replace operators that are combinations of other operators by those operators; see compiler/expansions."""

from __future__ import annotations

from intaglio.compiler.expansions import EXPANSIONS
from intaglio.compiler.ir.dims import NotLinear
from intaglio.compiler.ir.errors import UNDECIDED, BadModel, UnsupportedOperator
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.rewrite.builder import GraphBuilder


def expand(graph: Graph) -> int:
    """Replace each node that has an expansion; return the number of replaced nodes.

    Raises UnsupportedOperator if an expansion needs sizes that are unknown at compile time. Raises BadModel if an
    expansion has another type than the model declares.
    """
    total = 0
    while changed := sum(_expand(graph, node) for node in graph.nodes if node.op in EXPANSIONS):
        total += changed
    graph.prune()
    return total


def _expand(graph: Graph, node: Node) -> bool:
    try:
        results = EXPANSIONS[node.op](GraphBuilder(graph, node), node)
    except NotLinear as e:
        raise UnsupportedOperator(UNDECIDED.format(e), node.op, ", ".join(node.sources)) from e
    if results is None:
        return False
    graph.remove(node)
    for out, result in zip(node.outputs, results, strict=False):
        if result.type != out.type:
            raise BadModel(f"{node.op} ({node.name}): its output is {result.type}, but the model declares {out.type}")
        graph.add(Node("Identity", (result,), (out,), {}, node.sources))
    return True
