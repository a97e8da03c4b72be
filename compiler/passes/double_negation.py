"""Negations that cancel each other: -(-x) is x."""

from __future__ import annotations

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.rewrite.pattern import Rule, apply


def double_negation(graph: Graph) -> int:
    """Returns the number of pairs that were removed."""
    return apply(graph, DoubleNegation).fired


class DoubleNegation(Rule):
    def pattern(op, x):
        return op.Neg(op.Neg(x))

    def rewrite(op, out, x):
        if x.dtype != "f32":
            op.decline(f"{x} is not f32")
        return x
