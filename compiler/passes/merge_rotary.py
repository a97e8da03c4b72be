"""Merge rotary embeddings: queries and keys are turned in one kernel, which writes the keys into their cache."""

from __future__ import annotations

from intaglio.compiler.ir import Graph, Node, Value


def merge_rotary(graph: Graph) -> int:
    """Returns the number of nodes that were absorbed."""
    changed = 0
    for node in graph.nodes:
        if node.op == "Attention":
            makers = [graph.producer(v) for v in node.inputs[:2]]
            changed += _merge(graph, *makers) if None not in makers else 0
    return changed


def _merge(graph: Graph, queries: Node, write: Node) -> int:
    """`queries` turns the queries of an attention, `write` caches its keys."""
    turned, state = write.inputs if write.op == "Write" else (None, None)
    keys = graph.producer(turned) if turned is not None else None
    if keys is None or any(n.op != "Rotary" or "states" in n.attrs for n in (queries, keys)):
        return 0
    if queries.inputs[:2] != keys.inputs[:2] or queries.attrs["interleaved"] != keys.attrs["interleaved"]:
        return 0
    if graph.consumers(turned) != [write] or turned in graph.outputs:
        return 0
    inputs = (*queries.inputs, keys.inputs[2], state)
    attrs = queries.attrs | {"heads": queries.attrs["heads"] + keys.attrs["heads"], "states": (0, len(inputs) - 1)}
    outputs: tuple[Value, ...] = (queries.output, write.output)
    for node in (write, keys, queries):
        graph.remove(node)
    graph.add(Node("Rotary", inputs, outputs, attrs, (*queries.sources, *keys.sources)))
    return 2
