"""Replace values that depend only on the number of tokens by tables, of which a run reads rows P to P+T.

Such values are learned positions, sinusoids and rotary tables. The table is the value for the longest sequence. The
pass evaluates shorter sequences to check that they read the first rows of the table.
"""

from __future__ import annotations

import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim, Symbol
from intaglio.compiler.ir.errors import BadModel, UnsupportedOperator
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value, known
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.semantics import evaluate

_SIZES = (1, 2, 5)


def positions(graph: Graph, tokens: Symbol, past: Dim) -> int:
    """Replace each value that depends on no data by the rows of a constant from `past` on; return the number replaced.

    Raises UnsupportedOperator if the value for a short sequence is not the beginning of the table, such as for an
    unrecognised mask. Raises BadModel if a value cannot be computed.
    """
    free = data_free(graph)
    changed = 0
    for node in [n for n in graph.nodes if n in free]:
        for value in node.outputs:
            if any(reader not in free for reader in graph.consumers(value)):
                builder = GraphBuilder(graph, node)
                builder.rebind(value, _rows(builder, value, tokens, past))
                changed += 1
    graph.prune()
    return changed


def data_free(graph: Graph) -> set[Node]:
    """Return the nodes that depend on no input and no state."""
    free: set[Node] = set()
    for node in graph.nodes:
        makers = [(v, graph.producer(v)) for v in node.inputs if v is not None]
        if all(v.const is not None or maker in free for v, maker in makers):
            free.add(node)
    return free


def _rows(builder: GraphBuilder, value: Value, tokens: Symbol, past: Dim) -> Value:
    nodes = builder.graph.ancestors(value)

    def at(size: int) -> np.ndarray:
        try:
            return evaluate.compute(builder.graph, nodes, {}, {tokens.name: size})[value]
        except (IndexError, ValueError) as e:
            where = ", ".join(value_sources(nodes))
            raise BadModel(
                f"{where} cannot be computed for {size} tokens: {str(e).rpartition(': ')[2]}; "
                "compile with a smaller --max-length"
            ) from e

    axes = [i for i, d in enumerate(value.shape) if d == dims.dim(tokens)]
    if len(axes) > 1:  # a table of pairs of tokens, which may not fit memory
        raise _more_than_positions(value, nodes)
    table = at(tokens.high)
    for size in _SIZES:
        if not np.array_equal(at(size), np.take(table, range(size), axes[0]) if axes else table):
            raise _more_than_positions(value, nodes)
    if not axes:
        return builder.constant(table, value.name)
    ends = known([past + dims.dim(tokens)], (1,))
    bounds = [known([past], (1,)), ends, np.array(axes, np.int64)]
    return builder.Slice(builder.constant(table, value.name), *map(builder.constant, bounds))


def _more_than_positions(value: Value, nodes: list[Node]) -> UnsupportedOperator:
    where = ", ".join(value_sources(nodes))
    return UnsupportedOperator(f"{value} ({where}) depends on more than the position of each token")


def value_sources(nodes: list[Node]) -> list[str]:
    """Return the names of the ONNX nodes that the last of `nodes` comes from."""
    return list(nodes[-1].sources)
