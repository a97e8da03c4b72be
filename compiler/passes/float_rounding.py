"""Move roundings to few bits towards the inputs, through views, to where the numbers are computed.

Quantizers round the inputs and outputs of each operator, so attention heads are rounded after each reshape and
transpose. After this pass the reshapes and transposes are one chain of views again.
"""

from __future__ import annotations

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value
from intaglio.compiler.passes.fold import identity
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.rewrite.pattern import Rule, apply


def float_rounding(graph: Graph) -> int:
    """Move each FakeQuantize towards the inputs and merge equal ones; return the number of changes."""
    return apply(graph, RoundingTwice, RoundingOfChoice, NeverNaN, RoundingBeforeView, FactorBeforeView).fired


class RoundingTwice(Rule):
    """Remove the second of two roundings with the same scale and zero point."""

    @staticmethod
    def pattern(op, x, scale, zero, again_scale, again_zero):
        return op.FakeQuantize(op.FakeQuantize(x, scale, zero), again_scale, again_zero)

    @staticmethod
    def rewrite(op, out, x, scale, zero, again_scale, again_zero):
        first = op.graph.producer(op.root.inputs[0])
        grids = [list(map(identity, grid)) for grid in ((scale, zero), (again_scale, again_zero))]
        if grids[0] != grids[1] or first.own.settings != op.root.own.settings:
            op.decline("the two roundings use different scales")
        return op.like(first, {})


class RoundingOfChoice(Rule):
    """Round the scores and the constant of a masking Where separately, instead of its result."""

    @staticmethod
    def pattern(op, x, scale, zero, choice, other):
        return op.FakeQuantize(op.Where(choice, x, other), scale, zero)

    @staticmethod
    def rewrite(op, out, x, scale, zero, choice, other):
        if other.scalar is None or x.type != out.type:
            op.decline(f"{other.name} is not a constant scalar")
        result, number = (op.like(op.root, {op.root.own.x: v}) for v in (x, other))
        return op.Where(choice, result, number)


class NeverNaN(Rule):
    """Remove torch's guard for queries that see no key, because a rounded value is never NaN."""

    @staticmethod
    def pattern(op, x, scale, zero):
        rounded = op.FakeQuantize(x, scale, zero)
        return op.Where(op.IsNaN(rounded), 0.0, rounded)

    @staticmethod
    def rewrite(op, out, x, scale, zero):
        rounded = op.graph.producer(op.root.inputs[2])
        return op.like(rounded, {})


class RoundingBeforeView(Rule):
    """Round before a view instead of after it."""

    @staticmethod
    def pattern(op, x, shape, scale, zero):
        return op.FakeQuantize(op.any(op.Reshape(x, shape), op.Expand(x, shape), op.Transpose(x)), scale, zero)

    @staticmethod
    def rewrite(op, out, x, scale, zero, shape=None):
        view = op.graph.producer(op.root.inputs[0])
        return _seen(op, view, op.like(op.root, {op.root.own.x: x}))


class FactorBeforeView(Rule):
    """Move the scale of queries or keys, and the rounding after it, before a view."""

    @staticmethod
    def pattern(op, x, shape, factor, scale, zero):
        view = op.any(op.Reshape(x, shape), op.Expand(x, shape), op.Transpose(x))
        return op.FakeQuantize(view * factor, scale, zero)

    @staticmethod
    def rewrite(op, out, x, factor, scale, zero, shape=None):
        if factor.scalar is None or len(factor.shape) > len(x.shape):
            op.decline(f"the factor {factor.name} is not a constant scalar")
        product = op.graph.producer(op.root.inputs[0])
        view = next(n for v in product.inputs if (n := op.graph.producer(v)) is not None and n.inputs[0] is x)
        return _seen(op, view, op.like(op.root, {op.root.own.x: op.Mul(x, factor)}))


def _seen(op: GraphBuilder, view: Node, x: Value) -> Value:
    """Apply the operation of `view` to `x`."""
    return op.node(view.op, (x, *view.inputs[1:]), **view.attrs)[0]
