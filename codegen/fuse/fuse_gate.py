"""Gates: where one half of a layer's columns gates the other, the layer computes both halves and keeps their product.

SwiGLU and GeGLU (Shazeer 2020) spell it act(x W) * (x V); any elementwise expression of the two halves will do.
"""

from __future__ import annotations

from intaglio.codegen.fuse.fuse_elementwise import by_fours
from intaglio.compiler.ir.expression import shifted
from intaglio.compiler.ir.graph import Graph, Node


def fuse_gate(graph: Graph) -> int:
    """Returns the number of expressions that were absorbed."""
    return sum(_absorb(graph, node) for node in graph.nodes if node.op == "Elementwise" and len(node.inputs) == 2)


def _absorb(graph: Graph, node: Node) -> bool:
    layer = graph.producer(node.inputs[0])
    if layer is None or layer is not graph.producer(node.inputs[1]) or not _gives_halves(graph, layer, node):
        return False
    names = {f"x{node.inputs.index(half)}": acc for half, acc in zip(layer.outputs, ("acc", "acc1"), strict=True)}
    attrs = {k: v for k, v in layer.attrs.items() if k != "splits"}
    attrs |= {"paired": True, "tail": shifted(node.attrs["steps"], 0, names)}
    graph.remove(node)
    graph.replace(layer, Node("Linear", layer.inputs, node.outputs, attrs, (*layer.sources, *node.sources)))
    return True


def _gives_halves(graph: Graph, layer: Node, reader: Node) -> bool:
    widths = layer.attrs.get("splits", ())
    private = all(graph.consumers(v) == [reader] and v not in graph.outputs for v in layer.outputs)
    whole = layer.op == "Linear" and layer.inputs[1].shape[1] % 4 == 0 and by_fours(reader)
    return whole and len(widths) == 2 and widths[0] == widths[1] and private and not layer.written
