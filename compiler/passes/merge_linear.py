"""Merge linear layers that read the same rows into one layer whose columns go to several outputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from intaglio.compiler.ir.dims import low
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Linear
from intaglio.compiler.ir.packed import stacked
from intaglio.compiler.ir.values import Value
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.semantics.shapes import slices

MAX_PARTS = 3  # queries, keys and values


def merge_linear(graph: Graph) -> int:
    """Merge layers that read the same rows, and absorb slices of their results; return the number of changes."""
    changed = sum(_split(graph, node) for node in graph.nodes if _is_plain(node))
    for node in graph.nodes:
        if graph.producer(node.output) is node and (layer := _plain(graph, node)):
            group = [n for n in graph.consumers(layer.x) if _plain(graph, n)][:MAX_PARTS]
            if len(group) > 1 and node is group[0]:
                changed += _merge(graph, group)
    return changed + graph.prune()


def _split(graph: Graph, node: Node) -> bool:
    """Replace a layer and the slices of its result by a layer with several outputs."""
    readers = graph.consumers(node.output)
    if node.output in graph.outputs or not 1 < len(readers) <= MAX_PARTS or any(r.op != "Slice" for r in readers):
        return False
    cuts = {r: slices(r) for r in readers}
    if any(cut[:-1] != [(0, d, 1) for d in node.output.shape[:-1]] or cut[-1][2] != 1 for cut in cuts.values()):
        return False
    readers.sort(key=lambda r: low(cuts[r][-1][0]))
    ends = [cuts[r][-1][0] + cuts[r][-1][1] for r in readers]
    widths = tuple(width for r in readers if isinstance(width := cuts[r][-1][1], int))
    if (
        len(widths) < len(readers)
        or [cuts[r][-1][0] for r in readers] != [0, *ends[:-1]]
        or ends[-1] != node.output.shape[-1]
        or any(w % 4 for w in widths)
    ):
        return False
    for reader in readers:
        graph.remove(reader)
    outputs = tuple(r.output for r in readers)
    sources = (*node.sources, *(s for r in readers for s in r.sources))
    graph.remove(node)
    graph.add(Node.of(replace(Linear.expect(node), splits=widths), outputs, sources))
    return True


def _is_plain(node: Node) -> bool:
    layer = Linear.of(node)
    return layer is not None and layer.is_plain


def _plain(graph: Graph, node: Node) -> Linear[Value] | None:
    """Return the layer if it can be merged, else None. The merged kernel needs groups of four columns per output."""
    layer = Linear.of(node)
    if layer is None or not layer.is_plain or node.output in graph.outputs:
        return None
    return layer if all(d % 4 == 0 for d in layer.weight.shape) else None


def _merge(graph: Graph, group: list[Node]) -> int:
    """Merge the layers into one; return the number of layers that disappeared."""
    builder = GraphBuilder(graph, group[0])
    layers = [layer for n in group if (layer := Linear.of(n))]
    rows = stacked([layer.weight.numbers for layer in layers])
    if rows is None:
        return 0
    weight = builder.constant(rows, "+".join(layer.weight.name for layer in layers))
    bias = None
    if any(layer.bias is not None for layer in layers):
        parts = [
            layer.bias.const if layer.bias is not None else np.zeros(layer.weight.shape[0], np.float32)
            for layer in layers
        ]
        bias = builder.constant(np.concatenate(parts), f"{weight.name}.bias")
    for node in group:
        graph.remove(node)
    merged = Linear(layers[0].x, weight, bias, splits=tuple(layer.weight.shape[0] for layer in layers))
    graph.add(Node.of(merged, tuple(n.output for n in group), tuple(s for n in group for s in n.sources)))
    return len(group) - 1
