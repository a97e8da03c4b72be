"""Fuses gates: if one half of a layer's columns gates the other, the layer computes both and stores the gated result.

SwiGLU and GeGLU (Shazeer 2020) compute act(x W) * (x V). Any elementwise expression of the two halves is fused.
"""

from __future__ import annotations

from dataclasses import replace

from intaglio.codegen.fuse.hosts import by_fours
from intaglio.compiler.ir.dims import divides
from intaglio.compiler.ir.expression import shifted
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Elementwise, Linear
from intaglio.compiler.ir.values import Value


def fuse_gate(graph: Graph) -> int:
    """Move expressions of the two halves of a layer's columns into the layer. Returns the number that were moved."""
    expressions = [(node, of) for node in graph.nodes if (of := Elementwise.of(node)) and len(of.operands) == 2]
    return sum(_absorb(graph, node, of) for node, of in expressions)


def _absorb(graph: Graph, node: Node, of: Elementwise[Value]) -> bool:
    maker = graph.producer(of.operands[0])
    layer = Linear.of(maker)
    if (
        maker is None
        or layer is None
        or maker is not graph.producer(of.operands[1])
        or not _gives_halves(graph, maker, layer, node)
        or not by_fours(of, node.output)
    ):
        return False
    names = {f"x{of.operands.index(half)}": acc for half, acc in zip(maker.outputs, ("acc", "acc1"), strict=True)}
    gated = replace(layer, splits=(), gate=shifted(of.steps, 0, names))
    graph.remove(node)
    graph.replace(maker, Node.of(gated, node.outputs, (*maker.sources, *node.sources)))
    return True


def _gives_halves(graph: Graph, maker: Node, layer: Linear[Value], reader: Node) -> bool:
    private = all(graph.consumers(v) == [reader] and v not in graph.outputs for v in maker.outputs)
    halves = len(layer.splits) == 2 and layer.splits[0] == layer.splits[1]
    return private and halves and divides(4, layer.weight.shape[1]) and not layer.cached
