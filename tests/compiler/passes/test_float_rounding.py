"""Roundings behind views and in front of them are the same; what rounds to other steps, or is read unrounded, stays."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph, ops, random, unchanged

from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.passes.canonical import canonical
from intaglio.compiler.passes.float_rounding import float_rounding
from intaglio.compiler.passes.fold import fold
from intaglio.compiler.passes.fuse_quantized import fuse_quantized

W = {
    "step": np.array(0.125, np.float32),
    "coarse": np.array(0.5, np.float32),
    "infinite": np.array(np.inf, np.float32),
    "middle": np.array(3, np.int8),
    "split": np.array([0, 0, 2, 4]),
    "four": np.array([4, 1, 1]),
    "half": np.array(0.5, np.float32),
    "halves": random(8),
    "lowest": np.array(np.finfo(np.float32).min),
    "zero": np.array(0, np.float32),
}


def rounded(value: str, result: str, step: str = "step") -> str:
    """`result` is `value` rounded to 8 bits."""
    codes = f"{result}_q"
    return f" {codes} = QuantizeLinear({value}, {step}, middle) {result} = DequantizeLinear({codes}, {step}, middle) "


def of(body: str, outputs: str = "float y") -> Graph:
    g = graph(f"main (float[1,T,8] x, bool[T,8] b) => ({outputs}) {{ {body} }}", W)
    fuse_quantized(g)
    fold(g)
    canonical(g)
    return g


def order(g: Graph) -> list[str]:
    return [node.op for node in g.nodes]


@pytest.mark.parametrize(
    "body, expected",
    [
        ("a = Reshape(x, split)" + rounded("a", "y"), "FakeQuantize Reshape"),
        ("a = Transpose<perm=[0,2,1]>(x)" + rounded("a", "y"), "FakeQuantize Transpose"),
        (
            "u = Reshape(x, split) a = Transpose<perm=[0,2,1,3]>(u)" + rounded("a", "y"),
            "FakeQuantize Reshape Transpose",
        ),
        # each time that something moves
        (
            "u = Reshape(x, split)" + rounded("u", "v") + "a = Transpose<perm=[0,2,1,3]>(v)" + rounded("a", "y"),
            "FakeQuantize Reshape Transpose",
        ),
        ("a = Expand(x, four)" + rounded("a", "y"), "FakeQuantize Expand"),
        ("t = Transpose<perm=[0,2,1]>(x) a = Mul(t, half)" + rounded("a", "y"), "Mul FakeQuantize Transpose"),
        ("t = Transpose<perm=[0,2,1]>(x) a = Mul(half, t)" + rounded("a", "y"), "Mul FakeQuantize Transpose"),
        (rounded("x", "a") + rounded("a", "y"), "FakeQuantize"),
        ("s = Softmax(x)" + rounded("s", "a") + "n = IsNaN(a) y = Where(n, zero, a)", "Softmax FakeQuantize"),
        ("a = Where(b, x, lowest)" + rounded("a", "y"), "FakeQuantize Where"),
    ],
)
def test_it_floats(body: str, expected: str) -> None:
    g = of(body)
    assert unchanged(g, float_rounding) > 0
    assert order(g) == expected.split()


@pytest.mark.parametrize(
    "body, outputs",
    [
        ("a = Reshape(x, split)" + rounded("a", "y") + "z = Neg(a)", "float y, float z"),  # also read as it is
        ("a = Mul(x, half)" + rounded("a", "y"), "float y"),  # no view
        (
            "t = Transpose<perm=[0,2,1]>(x) u = Transpose<perm=[0,2,1]>(t) a = Mul(u, halves)" + rounded("a", "y"),
            "float y",
        ),
        ("s = Softmax(x) n = IsNaN(s) a = Where(n, zero, s)" + rounded("a", "y"), "float y"),  # NaN may come
        ("o = Neg(x) a = Where(b, x, o)" + rounded("a", "y"), "float y"),
    ],
)
def test_it_stays(body: str, outputs: str) -> None:
    g = of(body, outputs)
    before = order(g)
    assert unchanged(g, float_rounding) == 0
    assert order(g) == before


def test_other_steps_are_rounded_to_as_well() -> None:
    g = of(rounded("x", "a") + rounded("a", "y", "coarse"))
    assert unchanged(g, float_rounding) == 0
    assert ops(g)["FakeQuantize"] == 2


def test_steps_of_infinite_size_are_refused() -> None:
    """They come of masks with -inf; the error tells all of them at once."""
    body = "m = Where(b, x, lowest)" + rounded("m", "n", "infinite") + "a = Add(n, x)" + rounded("a", "y", "infinite")
    with pytest.raises(UnsupportedOperator, match=r"2 nodes: .*scale is infinite.* nodes_to_exclude"):
        of(body)
