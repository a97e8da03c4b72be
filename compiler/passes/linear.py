"""Replace products with a weight, and convolutions over time, by one operator with its weight as [out, in].

A convolution over time-major rows is a product whose rows overlap: row t is a window of `kernel` consecutive rows.
"""

from __future__ import annotations

from dataclasses import replace

from intaglio.compiler.ir.dims import divides, fixed
from intaglio.compiler.ir.encoded import EncodedWeight
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Linear as LinearLayer
from intaglio.compiler.ir.operators import Window
from intaglio.compiler.ir.values import Value
from intaglio.compiler.passes.canonical import reshape
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.rewrite.pattern import Rule, apply
from intaglio.compiler.rewrite.views import permutation


def linear(graph: Graph) -> int:
    """Replace products and convolutions with constant weights by Linear; return the number of changes."""
    changed = 0
    for node in graph.nodes:
        if node.op == "Conv" and _over_time(node):
            builder = GraphBuilder(graph, node)
            builder.rebind(node.output, _conv(builder, node))
            changed += 1
    changed += apply(graph, TransposeAfterUnary, Linear, Bias).fired
    changed += sum(_pack_table(graph, node) for node in graph.nodes if node.op == "Gather")
    return changed + sum(_unflattened(graph, node) for node in graph.nodes)


def _over_time(node: Node) -> bool:
    """Return whether a Conv is a convolution over time that Linear can compute."""
    x, weight = node.inputs[:2]
    bias = node.input(2)
    pads = node.attrs.get("pads", [0, 0])
    return (
        len(weight.shape) == 3
        and x.dtype == "f32"
        and x.shape[0] == 1
        and weight.const is not None
        and (bias is None or bias.const is not None)
        and node.attrs.get("group", 1) == 1
        and set(node.attrs.get("dilations", [1])) == {1}
        and node.attrs.get("auto_pad", "NOTSET") == "NOTSET"
        and pads[0] == pads[1]
    )


def _conv(builder: GraphBuilder, node: Node) -> Value:
    x, weight = node.inputs[:2]
    window = Window(fixed(weight.shape[2]), node.attrs.get("strides", [1])[0], node.attrs.get("pads", [0])[0])
    matrix = _matrix(builder, weight, 0, 2, 1)
    rows = builder.Transpose(x, perm=[0, 2, 1])
    return builder.Transpose(builder.Linear(rows, matrix, node.input(2), window=window), perm=[0, 2, 1])


def _pack_table(graph: Graph, node: Node) -> bool:
    """Pack a low-bit table for its lookup, or dequantize it if the lookup does not read rows of whole vec4s."""
    table = node.inputs[0]
    if not isinstance(table.const, EncodedWeight):
        return False
    by_rows = node.attrs.get("axis", 0) == 0 and len(table.shape) == 2 and divides(4, table.shape[1])
    array = table.const.to_kernel_layout() if by_rows else table.const.dequantized()
    graph.replace(node, node.reading({table: Value(table.name, table.type, array)}))
    return True


def _matrix(builder: GraphBuilder, weight: Value, *axes: int) -> Value:
    """Return the weight as a matrix [out, in]. axes: the axes of the weight, with the output axis first."""
    if isinstance(weight.const, EncodedWeight):
        return builder.constant(weight.const.transpose(*axes).rows().to_kernel_layout(), weight.name)
    rows = weight.array.transpose(axes)
    return builder.constant(rows.reshape(len(rows), -1), weight.name)


def _unflattened(graph: Graph, node: Node) -> bool:
    """Let a layer read its rows without the Reshape that flattens them into a matrix."""
    layer = LinearLayer.of(node)
    if layer is None or not layer.is_plain:
        return False
    view = graph.producer(layer.x)
    if view is None or view.op != "Reshape" or view.inputs[0].shape[-1:] != view.output.shape[-1:]:
        return False
    builder = GraphBuilder(graph, node)
    rows = builder.add(replace(layer, x=view.inputs[0]))
    builder.rebind(node.output, reshape(builder, rows, node.output))
    graph.prune()
    return True


class TransposeAfterUnary(Rule):
    """Apply Gelu before a transpose instead of after it."""

    @staticmethod
    def pattern(op, x):
        return op.Gelu(op.Transpose(x))

    @staticmethod
    def rewrite(op, out, x):
        perm = permutation(op.graph.producer(op.root.inputs[0]))
        return op.Transpose(op.Gelu(x, **op.root.attrs), perm=perm)


class Linear(Rule):
    """Replace a product with a constant matrix by Linear."""

    @staticmethod
    def pattern(op, x, weight):
        return op.MatMul(x, weight)

    @staticmethod
    def rewrite(op, out, x, weight):
        if weight.const is None or len(weight.shape) != 2 or len(x.shape) < 2:
            op.decline(f"{weight.name} is not a constant matrix")
        return op.Linear(x, _matrix(op, weight, 1, 0))


class Bias(Rule):
    """Add a constant row as the bias of the layer before it."""

    @staticmethod
    def pattern(op, x, weight, bias):
        return op.Linear(x, weight) + bias

    @staticmethod
    def rewrite(op, out, x, weight, bias):
        if bias.const is None or bias.const.shape != weight.shape[:1]:
            op.decline(f"{bias.name} is not a constant row")
        layer = next(own for v in op.root.inputs if (own := LinearLayer.of(op.graph.producer(v))))
        return op.add(replace(layer, bias=bias))
