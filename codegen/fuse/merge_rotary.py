"""Merges rotary embeddings: one kernel rotates the queries and the keys, and writes the keys into their cache.

If heads are normalized before (Qwen 3, Gemma 3), the kernel normalizes them as it reads them.
"""

from __future__ import annotations

from dataclasses import replace

from intaglio.compiler.ir.dims import divides
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import CacheWrite, Node
from intaglio.compiler.ir.operators import Attention, HeadNorm, Rotary, Write
from intaglio.compiler.ir.values import Value
from intaglio.compiler.passes.canonical import reshape
from intaglio.compiler.rewrite.builder import GraphBuilder


def merge_rotary(graph: Graph) -> int:
    """Merge the rotary embeddings of queries and keys, the cache writes of keys, and the norms of heads.

    Returns the number of changes.
    """
    changed = 0
    for node in graph.nodes:
        if attention := Attention.of(node):
            changed += _merge(graph, graph.producer(attention.q), graph.producer(attention.k))
    rotaries = [(node, rotary) for node in graph.nodes if (rotary := Rotary.of(node)) and rotary.cached]
    changed += sum(_absorb_norms(graph, node, rotary) for node, rotary in rotaries)
    graph.prune()
    return changed


def _merge(graph: Graph, rotates: Node | None, writes: Node | None) -> int:
    """Merge the node that rotates an attention's queries with the ones that rotate and write its keys."""
    queries, write = Rotary.of(rotates), Write.of(writes)
    if rotates is None or queries is None or writes is None or write is None:
        return 0
    rotates_keys = graph.producer(write.rows)
    keys = Rotary.of(rotates_keys)
    if rotates_keys is None or keys is None or queries.cached or keys.cached:
        return 0
    if replace(keys, rows=queries.rows, heads=queries.heads) != queries or write.at != queries.past:
        return 0
    if graph.consumers(write.rows) != [writes] or write.rows in graph.outputs:
        return 0
    rows, heads = queries.rows + keys.rows, queries.heads + keys.heads
    cached = (CacheWrite(len(queries.rows), write.state, write.at),)
    for node in (writes, rotates_keys, rotates):
        graph.remove(node)
    merged = replace(queries, rows=rows, heads=heads, cached=cached)
    graph.add(Node.of(merged, (*rotates.outputs, writes.output), (*rotates.sources, *rotates_keys.sources)))
    return 2


def _absorb_norms(graph: Graph, node: Node, rotary: Rotary[Value]) -> bool:
    """Let the kernel compute the norms of the heads of queries and keys. Returns whether it absorbed norms."""
    if rotary.norm is not None:
        return False
    views = [v for x in rotary.rows if (v := graph.producer(x)) and v.op == "Reshape"]
    norms = [n for v in views if (n := graph.producer(v.inputs[0])) and n.op == "RMSNormalization"]
    head_dim = rotary.rows[0].shape[-1] // rotary.heads[0]
    if not divides(4, head_dim) or not divides(2 if rotary.interleaved else 4, rotary.cos.shape[1]):
        return False
    if len(norms) < len(rotary.rows) or any(n.inputs[1].shape != (head_dim,) for n in norms):
        return False
    values = [v for n in (*views, *norms) for v in n.outputs]
    private = all(len(graph.consumers(v)) == 1 and v not in graph.outputs for v in values)
    if not private or len({n.attrs["epsilon"] for n in norms}) > 1:
        return False
    builder = GraphBuilder(graph, node)
    rows = tuple(reshape(builder, n.inputs[0], x) for n, x in zip(norms, rotary.rows, strict=True))
    norm = HeadNorm(norms[0].attrs["epsilon"], tuple(n.inputs[1] for n in norms))
    sources = (*(s for n in norms for s in n.sources), *node.sources)
    graph.replace(node, Node.of(replace(rotary, rows=rows, norm=norm), node.outputs, sources))
    return True
