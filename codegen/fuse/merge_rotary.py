"""Merge rotary embeddings: queries and keys are turned in one kernel, which writes the keys into their cache.

Norms of heads before them (Qwen 3, Gemma 3) are taken by the kernel as it reads the heads.
"""

from __future__ import annotations

from intaglio.compiler.ir.graph import Graph, Node, Value
from intaglio.compiler.passes.canonical import reshape
from intaglio.compiler.rewrite.builder import GraphBuilder


def merge_rotary(graph: Graph) -> int:
    """Returns the number of nodes that were absorbed."""
    changed = 0
    for node in graph.nodes:
        if node.op == "Attention":
            makers = [graph.producer(v) for v in node.inputs[:2]]
            changed += _merge(graph, *makers) if None not in makers else 0
    changed += sum(_absorb_norms(graph, node) for node in graph.nodes if node.op == "Rotary" and "states" in node.attrs)
    graph.prune()
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


def _absorb_norms(graph: Graph, node: Node) -> bool:
    """Let the kernel take the norms of the heads of queries and keys; whether there are such."""
    if "norm" in node.attrs:
        return False
    cos, sin, q, k, state = node.inputs
    views = [graph.producer(x) for x in (q, k)]
    norms = [graph.producer(v.inputs[0]) if v is not None and v.op == "Reshape" else None for v in views]
    head_dim = q.shape[-1] // node.attrs["heads"][0]
    if head_dim % 4 or cos.shape[1] % (2 if node.attrs["interleaved"] else 4):
        return False
    if any(n is None or n.op != "RMSNormalization" or n.inputs[1].shape != (head_dim,) for n in norms):
        return False
    values = [v for n in (*views, *norms) for v in n.outputs]
    private = all(len(graph.consumers(v)) == 1 and v not in graph.outputs for v in values)
    if not private or len({n.attrs["epsilon"] for n in norms}) > 1:
        return False
    builder = GraphBuilder(graph, node)
    rows = [reshape(builder, n.inputs[0], x) for n, x in zip(norms, (q, k), strict=True)]
    attrs = node.attrs | {"norm": {"epsilon": norms[0].attrs["epsilon"], "scales": (5, 6)}}
    inputs = (cos, sin, *rows, state, *(n.inputs[1] for n in norms))
    sources = (*(s for n in norms for s in n.sources), *node.sources)
    graph.replace(node, Node("Rotary", inputs, node.outputs, attrs, sources))
    return True
