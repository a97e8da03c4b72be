"""Where there is one row, a rotary embedding of queries and keys is computed by the layer that makes them, as it stores
them: an invocation has both columns of a pair.
"""

from __future__ import annotations

from intaglio.codegen.fuse.fuse_prologue import one_row
from intaglio.compiler.ir.graph import Graph, Node


def fuse_rotary(graph: Graph) -> int:
    """Returns the number of rotary embeddings that were absorbed."""
    return sum(_absorb(graph, node) for node in graph.nodes if node.op == "Rotary" and "states" in node.attrs)


def _absorb(graph: Graph, node: Node) -> bool:
    layer = graph.producer(node.inputs[2])
    if layer is None or not _can_host(graph, layer, node):
        return False
    tables, rows = node.inputs[:2], node.inputs[2 : 2 + len(node.outputs)]
    inputs = layer.inputs if len(layer.inputs) > 2 else (*layer.inputs, None)
    rotary = {"tables": len(inputs), "outputs": tuple(layer.outputs.index(x) for x in rows)}
    inputs += tables
    states = list(layer.attrs.get("states", [0] * len(layer.outputs)))
    for i, state in zip(rotary["outputs"], node.attrs["states"], strict=True):
        if state:
            states[i] = len(inputs)
            inputs += (node.inputs[state],)
    turned = dict(zip(rows, node.outputs, strict=True))
    attrs = layer.attrs | {"states": tuple(states), "at": node.attrs["past"], "rotary": rotary}
    outputs = tuple(turned.get(x, x) for x in layer.outputs)
    graph.remove(node)
    graph.replace(layer, Node("Linear", inputs, outputs, attrs, (*layer.sources, *node.sources)))
    return True


def _can_host(graph: Graph, layer: Node, node: Node) -> bool:
    """Whether the layer makes what is turned, in whole heads and for nobody else."""
    cos, rows, heads = node.inputs[0], node.inputs[2 : 2 + len(node.outputs)], node.attrs["heads"]
    head_dim = 2 * cos.shape[1]  # of heads that are turned whole
    return (
        layer.op == "Linear"
        and one_row(layer.output.shape)
        and layer.inputs[1].shape[1] % 4 == 0
        and not {"window", "tail", "paired"} & layer.attrs.keys()
        and layer.attrs.get("at", node.attrs["past"]) == node.attrs["past"]
        and not node.attrs["interleaved"]
        and "norm" not in node.attrs
        and head_dim % 8 == 0  # the halves of a head are whole vec4s
        and all(w % head_dim == 0 for w in layer.attrs.get("splits", ()))
        and all(x in layer.outputs and x.shape[-1] == n * head_dim for x, n in zip(rows, heads, strict=True))
        and all(graph.consumers(x) == [node] and x not in graph.outputs for x in rows)
    )
