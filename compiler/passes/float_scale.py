"""Scales: scalar factors float towards the outputs, through views and products, until they meet and become one.

Exporters put the scale of attention on the queries, on the scores, or its root on queries and keys each; after this
pass it stands on the scores.
"""

from __future__ import annotations

import numpy as np

from intaglio.compiler.ir.graph import Graph, Value
from intaglio.compiler.passes.canonical import reshape
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.rewrite.pattern import Rule, apply
from intaglio.compiler.rewrite.views import permutation


def float_scale(graph: Graph) -> int:
    return apply(graph, CombineFactors, ScaleAfterTranspose, ScaleAfterReshape, ScaleAfterLeft, ScaleAfterRight).fired


def _scalar(op: GraphBuilder, x: Value, s: Value) -> float:
    """The number that x is multiplied with."""
    if s.scalar is None or s.dtype != "f32" or len(s.shape) > len(x.shape):
        op.decline(f"the factor {s.name} is not a constant scalar")
    return s.scalar


class CombineFactors(Rule):
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
    @staticmethod
    def pattern(op, x, s):
        return op.Transpose(x * s)

    @staticmethod
    def rewrite(op, out, x, s):
        _scalar(op, x, s)
        return op.Mul(op.Transpose(x, perm=permutation(op.root)), s)


class ScaleAfterReshape(Rule):
    @staticmethod
    def pattern(op, x, s, shape):
        return op.Reshape(x * s, shape)

    @staticmethod
    def rewrite(op, out, x, s, shape):
        _scalar(op, x, s)
        return op.Mul(reshape(op, x, out), s)


class ScaleAfterLeft(Rule):
    @staticmethod
    def pattern(op, x, y, s):
        return op.MatMul(x * s, y)

    @staticmethod
    def rewrite(op, out, x, y, s):
        _scalar(op, x, s)
        return op.Mul(op.MatMul(x, y), s)


class ScaleAfterRight(Rule):
    @staticmethod
    def pattern(op, x, y, s):
        return op.MatMul(x, y * s)

    @staticmethod
    def rewrite(op, out, x, y, s):
        _scalar(op, y, s)
        return op.Mul(op.MatMul(x, y), s)
