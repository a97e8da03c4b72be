"""Merge linear layers: those that read the same rows become one, with the columns of its result going to several
outputs."""

from __future__ import annotations

import numpy as np

from intaglio.compiler.ir.graph import Graph, Node
from intaglio.compiler.ir.packed import stacked
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.semantics.shapes import slices

MAX_PARTS = 3  # queries, keys and values


def merge_linear(graph: Graph) -> int:
    """Returns the number of layers and cuts that were absorbed."""
    changed = sum(_split(graph, node) for node in graph.nodes if node.op == "Linear" and not node.attrs)
    for node in graph.nodes:
        if graph.producer(node.output) is node and _plain(graph, node):
            group = [n for n in graph.consumers(node.inputs[0]) if _plain(graph, n)][:MAX_PARTS]
            if len(group) > 1 and node is group[0]:
                changed += _merge(graph, group)
    return changed + graph.prune()


def _split(graph: Graph, node: Node) -> bool:
    """Let a layer whose result is cut into parts give the parts."""
    readers = graph.consumers(node.output)
    if node.output in graph.outputs or not 1 < len(readers) <= MAX_PARTS or any(r.op != "Slice" for r in readers):
        return False
    cuts = {r: slices(r) for r in readers}
    if any(cut[:-1] != [(0, d, 1) for d in node.output.shape[:-1]] or cut[-1][2] != 1 for cut in cuts.values()):
        return False
    readers.sort(key=lambda r: cuts[r][-1][0])
    ends = [cuts[r][-1][0] + cuts[r][-1][1] for r in readers]
    widths = tuple(cuts[r][-1][1] for r in readers)
    if (
        [cuts[r][-1][0] for r in readers] != [0, *ends[:-1]]
        or ends[-1] != node.output.shape[-1]
        or any(w % 4 for w in widths)
    ):
        return False
    for reader in readers:
        graph.remove(reader)
    outputs = tuple(r.output for r in readers)
    sources = (*node.sources, *(s for r in readers for s in r.sources))
    graph.remove(node)
    graph.add(Node("Linear", node.inputs, outputs, {"splits": widths}, sources))
    return True


def _plain(graph: Graph, node: Node) -> bool:
    """Whether the layer can be a part of a larger one, whose kernel gives each output whole groups of four columns."""
    if node.op != "Linear" or node.attrs or node.output in graph.outputs:
        return False
    return all(d % 4 == 0 for d in node.inputs[1].shape)


def _merge(graph: Graph, group: list[Node]) -> int:
    """Returns the number of layers that became part of the first."""
    builder = GraphBuilder(graph, group[0])
    weights = [n.inputs[1] for n in group]
    rows = stacked([w.const for w in weights])
    if rows is None:
        return 0
    weight = builder.constant(rows, "+".join(w.name for w in weights))
    inputs = (group[0].inputs[0], weight)
    if any(n.input(2) for n in group):
        rows = [n.inputs[2].const if n.input(2) else np.zeros(len(n.inputs[1].const), np.float32) for n in group]
        inputs += (builder.constant(np.concatenate(rows), f"{weight.name}.bias"),)
    for node in group:
        graph.remove(node)
    outputs = tuple(n.output for n in group)
    splits = tuple(w.shape[0] for w in weights)
    graph.add(Node("Linear", inputs, outputs, {"splits": splits}, tuple(s for n in group for s in n.sources)))
    return len(group) - 1
