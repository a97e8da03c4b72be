"""Give the heads of attention an axis beside the batch, where an exporter has both on one axis (Bloom, BART, OPT).

Such attention has products [heads, T, head_dim] x [heads, head_dim, S], because torch.bmm takes three axes. With a
batch of 1 it is attention over [1, heads, ..], which the passes after this one recognise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from intaglio.compiler.ir.expression import ELEMENTWISE
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value
from intaglio.compiler.rewrite.builder import GraphBuilder

_BETWEEN = ELEMENTWISE | {"FakeQuantize", "Reshape"}  # operators between a softmax and the products of attention


def split_heads(graph: Graph) -> int:
    """Compute attention of three axes with four; return the number of changed nodes."""
    inside = {node for softmax in graph.nodes if softmax.op == "Softmax" for node in _inside(graph, softmax)}
    return sum(_rewrite(graph, node) for node in graph.nodes if node in inside)


def _inside(graph: Graph, softmax: Node) -> list[Node]:
    """Return the nodes from one product to the next around a softmax, or nothing if there are not two of three axes."""
    if softmax.attrs.get("axis", -1) % len(softmax.output.shape) != len(softmax.output.shape) - 1:
        return []
    before = _path(softmax, lambda node: [graph.producer(v) for v in node.inputs if v is not None], {})
    after = _path(softmax, lambda node: graph.consumers(node.output), {})
    return [softmax, *before, *after] if before and after else []


def _path(node: Node, after: Callable[[Node], Iterable[Node | None]], seen: dict[Node, bool]) -> list[Node]:
    """Return the nodes on the paths from `node` to products, without itself. seen: whether a node leads to one."""
    path: list[Node] = []
    for other in after(node):
        if other is None or other in seen:
            continue
        inner = _path(other, after, seen) if other.op in _BETWEEN else []
        seen[other] = bool(inner) or _is_product(other)
        path += [other, *inner] if seen[other] else []
    return path


def _is_product(node: Node) -> bool:
    heads = node.output.shape[0] if len(node.output.shape) == 3 else None
    return node.op == "MatMul" and isinstance(heads, int) and all(v.const is None for v in node.inputs)


def _rewrite(graph: Graph, node: Node) -> bool:
    builder, out = GraphBuilder(graph, node), node.output
    if node.op == "Reshape" and (four := _four(builder, node.inputs[0])).type == out.type:
        graph.redirect(out, four)
    elif node.op != "Reshape" and len(out.shape) == 3:
        change = {v: _four(builder, v) for v in node.inputs if v is not None and len(v.shape) == 3}
        is_softmax = node.op == "Softmax"
        four = builder.Softmax(*change.values(), axis=-1) if is_softmax else builder.like(node, change)
        builder.rebind(out, builder.Reshape(four, builder.dimensions(*out.shape), allowzero=1))
    else:
        return False
    return True


def _four(builder: GraphBuilder, value: Value) -> Value:
    """Return a value of three axes with a batch of 1 before them."""
    maker, shape = builder.graph.producer(value), (1, *value.shape)
    if maker is not None and maker.op == "Reshape" and maker.inputs[0].shape == shape:
        return maker.inputs[0]
    return builder.Reshape(value, builder.dimensions(*shape), allowzero=1)
