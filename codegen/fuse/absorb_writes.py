"""Lets the layer that computes rows of a state write them there, so that a cache does not need separate dispatches."""

from __future__ import annotations

from dataclasses import replace

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import CacheWrite, Node
from intaglio.compiler.ir.operators import Linear, Write
from intaglio.compiler.ir.values import Value


def absorb_writes(graph: Graph) -> int:
    """Returns the number of writes that were absorbed."""
    writes = [(node, write) for node in graph.nodes if (write := Write.of(node))]
    return sum(_absorb(graph, node, write) for node, write in writes) + graph.prune()


def _absorb(graph: Graph, node: Node, write: Write[Value]) -> bool:
    maker = graph.producer(write.rows)
    layer = Linear.of(maker)
    if maker is None or layer is None or graph.consumers(write.rows) != [node] or write.rows in graph.outputs:
        return False
    if layer.window or any(other.at != write.at for other in layer.cached):
        return False
    cached = (*layer.cached, CacheWrite(maker.outputs.index(write.rows), write.state, write.at))
    splits = layer.splits or (write.rows.shape[-1],)
    outputs = tuple(node.output if v is write.rows else v for v in maker.outputs)
    graph.remove(node)
    graph.replace(maker, Node.of(replace(layer, splits=splits, cached=cached), outputs, maker.sources))
    return True
