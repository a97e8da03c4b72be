"""Two negations cancel each other, unless somebody reads what is between them."""

from __future__ import annotations

from graphs import graph, ops, unchanged

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.passes.double_negation import double_negation


def of(body: str, outputs: str = "float y", dtype: str = "float") -> Graph:
    return graph(f"main ({dtype}[T,4] x) => ({outputs}) {{ {body} }}")


def test_two_negations_cancel() -> None:
    g = of("a = Abs(x) b = Neg(a) c = Neg(b) y = Exp(c)")
    assert unchanged(g, double_negation) == 1
    assert ops(g) == {"Abs": 1, "Exp": 1}


def test_near_misses() -> None:
    assert unchanged(of("a = Neg(x) y = Exp(a)"), double_negation) == 0
    assert unchanged(of("a = Neg(x) b = Neg(a) y = Abs(b)", outputs="float y, float a"), double_negation) == 0
    assert unchanged(of("a = Neg(x) y = Neg(a)", outputs="int64 y", dtype="int64"), double_negation) == 0
