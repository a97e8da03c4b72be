"""Move scalar factors towards the outputs, through views and products, and merge those that meet.

Exporters multiply the queries or the scores by the scale of attention, or both queries and keys by its square root.
After this pass the scores are multiplied by it.
"""

from __future__ import annotations

import numpy as np

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.values import Value
from intaglio.compiler.passes.canonical import reshape
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.rewrite.pattern import Rule, apply
from intaglio.compiler.rewrite.views import permutation


def float_scale(graph: Graph) -> int:
    """Move scalar factors behind transposes, reshapes and matrix products; return the number of changes."""
    return apply(graph, CombineFactors, ScaleAfterTranspose, ScaleAfterReshape, ScaleAfterLeft, ScaleAfterRight).fired


def _scalar(op: GraphBuilder, x: Value, s: Value) -> float:
    """Return the factor `s` of `x` as a number. Decline if it is not a constant f32 scalar."""
    if s.scalar is None or s.dtype != "f32" or len(s.shape) > len(x.shape):
        op.decline(f"the factor {s.name} is not a constant scalar")
    return s.scalar


class CombineFactors(Rule):
    """Replace two successive scalar factors by their product."""

    @staticmethod
    def pattern(op, x, s, t):
        return (x * s) * t

    @staticmethod
    def rewrite(op, out, x, s, t):
        factor = _scalar(op, x, s) * _scalar(op, x, t)
        if x.const is not None:
            op.decline("all three factors are constants, which fold handles")
        return op.Mul(x, op.constant(np.float32(factor)))


class ScaleAfterTranspose(Rule):
    """Scale after a transpose instead of before it."""

    @staticmethod
    def pattern(op, x, s):
        return op.Transpose(x * s)

    @staticmethod
    def rewrite(op, out, x, s):
        _scalar(op, x, s)
        return op.Mul(op.Transpose(x, perm=permutation(op.root)), s)


class ScaleAfterReshape(Rule):
    """Scale after a reshape instead of before it."""

    @staticmethod
    def pattern(op, x, s, shape):
        return op.Reshape(x * s, shape)

    @staticmethod
    def rewrite(op, out, x, s, shape):
        _scalar(op, x, s)
        return op.Mul(reshape(op, x, out), s)


class ScaleAfterLeft(Rule):
    """Scale a matrix product instead of its left operand."""

    @staticmethod
    def pattern(op, x, y, s):
        return op.MatMul(x * s, y)

    @staticmethod
    def rewrite(op, out, x, y, s):
        _scalar(op, x, s)
        return op.Mul(op.MatMul(x, y), s)


class ScaleAfterRight(Rule):
    """Scale a matrix product instead of its right operand."""

    @staticmethod
    def pattern(op, x, y, s):
        return op.MatMul(x, y * s)

    @staticmethod
    def rewrite(op, out, x, y, s):
        _scalar(op, y, s)
        return op.Mul(op.MatMul(x, y), s)
