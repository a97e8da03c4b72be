"""Fuses prologues: a linear layer with one row of input computes the norm before it, as it reads the row."""

from __future__ import annotations

from dataclasses import replace

from intaglio.codegen.fuse.hosts import is_one_row
from intaglio.codegen.target import MAX_BINDINGS
from intaglio.compiler.ir.dims import divides
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Linear, Prologue
from intaglio.compiler.ir.values import Value

_KINDS = {"LayerNormalization": "layernorm", "RMSNormalization": "rmsnorm"}


def fuse_prologue(graph: Graph) -> int:
    """Move norms of one row into the linear layers that read them. Returns the number that were moved."""
    changed = 0
    for node in graph.nodes:
        if node.op in _KINDS and node.output not in graph.outputs and is_one_row(node.output.shape):
            readers = graph.consumers(node.output)
            if readers and all(_can_host(n, Linear.of(n), node.output) for n in readers):
                for reader in readers:
                    _absorb(graph, node, reader)
                changed += 1
    graph.prune()
    return changed


def _can_host(node: Node, layer: Linear[Value] | None, x: Value) -> bool:
    if layer is None or layer.x is not x or layer.prologue or layer.window or node.tail:
        return False
    bindings = sum(v is not None for v in node.inputs) - len(layer.cached) + len(node.outputs)
    return (
        divides(4, x.shape[-1])  # the layer reads four numbers at a time
        and all(w % 4 == 0 for w in layer.splits)  # so that the rows of a cache begin at whole vec4s
        and bindings + 2 <= MAX_BINDINGS
    )


def _absorb(graph: Graph, norm: Node, reader: Node) -> None:
    prologue = Prologue(_KINDS[norm.op], norm.attrs.get("epsilon", 1e-5), norm.inputs[1], norm.input(2))
    layer = replace(Linear.expect(reader), x=norm.inputs[0], prologue=prologue)
    graph.replace(reader, Node.of(layer, reader.outputs, (*norm.sources, *reader.sources)))
