"""Replace products of integers, which are scaled afterwards, by products with low-bit weights.

The input of such a layer is rounded to 8 bits and back by one operator: FakeQuantize(x, scale, zero), or
FakeQuantize(x) for the range that x has at run time. Sums in f32 are exact enough for these products.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np

from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import FakeQuantize
from intaglio.compiler.ir.refusals import Refusals
from intaglio.compiler.ir.values import Value
from intaglio.compiler.passes.fold import identity
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.rewrite.pattern import Rule, apply

_INFINITE = (
    "its scale is infinite, so every value would be lost. This happens when a mask with -inf is quantized: list that "
    "node in nodes_to_exclude"
)


def fuse_quantized(graph: Graph) -> int:
    """Fuse quantized layers; return the number of changes. Raises UnsupportedOperator for an infinite scale."""
    _check(graph)
    changed = apply(graph, Table, Product, Convolution).fired
    return changed + sum(_back(graph, node) for node in graph.nodes if node.op == "DequantizeLinear") + graph.prune()


def rounds_by_run(graph: Graph) -> bool:
    """Return whether the range of a rounding depends on all tokens of a run, so that each token affects the others."""
    return any(n.op == "DynamicQuantizeLinear" or (FakeQuantize.of(n) and len(n.inputs) == 1) for n in graph.nodes)


def _check(graph: Graph) -> None:
    refusals = Refusals()
    for node in graph.nodes:
        if node.op == "QuantizeLinear" and node.inputs[1].scalar == np.inf:
            refusals.add(UnsupportedOperator(_INFINITE), node.op, node.name)
    refusals.check()


def _back(graph: Graph, node: Node) -> bool:
    """Replace quantization and dequantization with the same scale and zero point by FakeQuantize."""
    maker = graph.producer(node.inputs[0])
    if maker is not None and maker.op == "DynamicQuantizeLinear" and maker.outputs == node.inputs:
        graph.replace(node, Node.of(FakeQuantize(maker.inputs[0]), node.outputs, node.sources))
        return True
    if maker is None or maker.op != "QuantizeLinear" or len(node.inputs) != 3 or len(maker.inputs) != 3:
        return False
    grid = node.inputs[1:]
    if any(v.scalar is None for v in grid) or list(map(identity, grid)) != list(map(identity, maker.inputs[1:])):
        return False
    ends = ml_dtypes.iinfo(grid[1].array.dtype)
    scale, zero = (graph.constant(np.array(v.scalar, np.float32), v.name) for v in grid)
    rounding = FakeQuantize(maker.inputs[0], scale, zero, low=float(ends.min), high=float(ends.max))
    graph.replace(node, Node.of(rounding, node.outputs, node.sources))
    return True


class Table(Rule):
    """Dequantize a constant table before the lookup instead of its rows after the lookup."""

    @staticmethod
    def pattern(op, table, ids, scale, zero):
        rows = op.Gather(table, ids)
        return op.any(op.DequantizeLinear(rows, scale, zero), op.DequantizeLinear(rows, scale))

    @staticmethod
    def rewrite(op, out, table, ids, scale, zero=None):
        if any(v is not None and (v.const is None or v.const.size != 1) for v in (scale, zero)) or table.const is None:
            op.decline(f"{table.name} is not a constant with one scale")
        lookup = op.graph.producer(op.root.inputs[0])
        points = (zero,) if zero is not None else ()
        return op.Gather(op.DequantizeLinear(table, scale, *points), ids, **lookup.attrs)


class Product(Rule):
    """Replace MatMulInteger and its scaling by MatMul with a dequantized weight."""

    @staticmethod
    def pattern(op, x, weight, zero, weight_zero, scale, weight_scale):
        return op.Cast(op.MatMulInteger(x, weight, zero, weight_zero), to="f32") * (scale * weight_scale)

    @staticmethod
    def rewrite(op, out, x, weight, zero, weight_zero, scale, weight_scale):
        rounded = _rounded(op, x, scale, zero)
        return op.MatMul(rounded, _weight(op, weight, weight_scale, weight_zero, axis=1))


class Convolution(Rule):
    """Replace ConvInteger and its scaling by Conv with a dequantized weight."""

    @staticmethod
    def pattern(op, x, weight, zero, weight_zero, scale, weight_scale):
        return op.Cast(op.ConvInteger(x, weight, zero, weight_zero), to="f32") * (scale * weight_scale)

    @staticmethod
    def rewrite(op, out, x, weight, zero, weight_zero, scale, weight_scale):
        rounded = _rounded(op, x, scale, zero)
        product = next(n for n in op.graph.ancestors(op.root.output, stop=(x,)) if n.op == "ConvInteger")
        return op.Conv(rounded, _weight(op, weight, weight_scale, weight_zero, axis=0), **product.attrs)


def _rounded(op: GraphBuilder, x: Value, scale: Value, zero: Value) -> Value:
    """Return FakeQuantize of the input of the DynamicQuantizeLinear that makes `x`, `scale` and `zero`."""
    maker: Node | None = op.graph.producer(x)
    if maker is None or maker.op != "DynamicQuantizeLinear" or maker.outputs != (x, scale, zero):
        op.decline(f"{x.name}, {scale.name} and {zero.name} are not outputs of one DynamicQuantizeLinear")
    return op.FakeQuantize(maker.inputs[0])


def _weight(op: GraphBuilder, weight: Value, scale: Value, zero: Value, axis: int) -> Value:
    if any(v.const is None for v in (weight, scale, zero)):
        op.decline(f"{weight.name} is not a constant")
    count = max(scale.array.size, zero.array.size)
    grid = (op.constant(np.broadcast_to(v.array.reshape(-1), count)) for v in (scale, zero))
    return op.DequantizeLinear(weight, *grid, axis=axis)
