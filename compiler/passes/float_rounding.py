"""Roundings: those to few bits float towards the inputs, through views, to where numbers are computed.

Quantizers round whatever an operator reads and makes, so the heads of attention are rounded after each reshape and
transpose: after this pass these are one chain of views again, as they were before.
"""

from __future__ import annotations

from intaglio.compiler.ir.graph import Graph, Node, Value
from intaglio.compiler.passes.fold import identity
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.rewrite.pattern import Rule, apply


def float_rounding(graph: Graph) -> int:
    return apply(graph, RoundingTwice, RoundingOfChoice, NeverNaN, RoundingBeforeView, FactorBeforeView).fired


class RoundingTwice(Rule):
    """What lies on the steps is not moved by rounding to the same ones."""

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
    """Where a mask puts a number in the place of scores, both are rounded by themselves."""

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
    """The guard of torch's attention against queries that see no key."""

    @staticmethod
    def pattern(op, x, scale, zero):
        rounded = op.FakeQuantize(x, scale, zero)
        return op.Where(op.IsNaN(rounded), 0.0, rounded)

    @staticmethod
    def rewrite(op, out, x, scale, zero):
        rounded = op.graph.producer(op.root.inputs[2])
        return op.like(rounded, {})


class RoundingBeforeView(Rule):
    @staticmethod
    def pattern(op, x, shape, scale, zero):
        return op.FakeQuantize(op.any(op.Reshape(x, shape), op.Expand(x, shape), op.Transpose(x)), scale, zero)

    @staticmethod
    def rewrite(op, out, x, scale, zero, shape=None):
        view = op.graph.producer(op.root.inputs[0])
        return _seen(op, view, op.like(op.root, {op.root.own.x: x}))


class FactorBeforeView(Rule):
    """The scale of queries and keys, where it is between a view and a rounding."""

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
    """`x` through a view of something else."""
    return op.node(view.op, (x, *view.inputs[1:]), **view.attrs)[0]
