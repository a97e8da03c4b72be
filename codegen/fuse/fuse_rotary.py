"""Lets a linear layer with one row of input rotate the queries and keys that it computes, as it stores them. An
invocation has both columns of a pair: a vec4 has two pairs of neighbours, and of halves it computes one vec4 of each.
"""

from __future__ import annotations

from dataclasses import replace

from intaglio.codegen.fuse.hosts import is_one_row
from intaglio.compiler.ir.dims import divides, fixed
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Linear, Rotary, RotaryTail
from intaglio.compiler.ir.values import Value


def fuse_rotary(graph: Graph) -> int:
    """Move rotary embeddings into the layers that compute their inputs. Returns the number that were moved."""
    rotaries = [(node, rotary) for node in graph.nodes if (rotary := Rotary.of(node)) and rotary.cached]
    return sum(_absorb(graph, node, rotary) for node, rotary in rotaries)


def _absorb(graph: Graph, node: Node, rotary: Rotary[Value]) -> bool:
    maker = graph.producer(rotary.rows[0])
    layer = Linear.of(maker)
    if maker is None or layer is None or not _can_host(graph, maker, layer, node, rotary):
        return False
    places = tuple(maker.outputs.index(x) for x in rotary.rows)
    cached = (*layer.cached, *(replace(write, output=places[write.output]) for write in rotary.cached))
    tail = RotaryTail(rotary.cos, rotary.sin, places, rotary.past, _head_dim(rotary), rotary.interleaved)
    rotated = dict(zip(rotary.rows, node.outputs, strict=True))
    outputs = tuple(rotated.get(x, x) for x in maker.outputs)
    graph.remove(node)
    layer = replace(layer, rotary=tail, cached=cached)
    graph.replace(maker, Node.of(layer, outputs, (*maker.sources, *node.sources)))
    return True


def _can_host(graph: Graph, maker: Node, layer: Linear[Value], node: Node, rotary: Rotary[Value]) -> bool:
    """Return whether the layer computes the rotated rows, in whole heads and for no other reader."""
    head_dim = _head_dim(rotary)
    return (
        is_one_row(maker.output.shape)
        and divides(4, layer.weight.shape[1])
        and not (layer.window or layer.gate or maker.tail)
        and all(write.at == rotary.past for write in (*layer.cached, *rotary.cached))
        and rotary.norm is None
        and (_neighbours(rotary, head_dim) if rotary.interleaved else _halves(rotary, head_dim))
        and all(w % head_dim == 0 for w in layer.splits)
        and all(x in maker.outputs for x in rotary.rows)
        and all(x.shape[-1] == n * head_dim for x, n in zip(rotary.rows, rotary.heads, strict=True))
        and all(graph.consumers(x) == [node] and x not in graph.outputs for x in rotary.rows)
    )


def _head_dim(rotary: Rotary[Value]) -> int:
    """Return the columns of a head."""
    return fixed(rotary.rows[0].shape[-1]) // rotary.heads[0]


def _neighbours(rotary: Rotary[Value], head_dim: int) -> bool:
    """Return whether a head, and the part of it that is rotated, are whole vec4s."""
    return head_dim % 4 == 0 and fixed(rotary.cos.shape[1]) % 2 == 0


def _halves(rotary: Rotary[Value], head_dim: int) -> bool:
    """Return whether a head is rotated whole, and its halves are whole vec4s."""
    return head_dim % 8 == 0 and 2 * fixed(rotary.cos.shape[1]) == head_dim
