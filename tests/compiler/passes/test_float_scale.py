"""Scales: scalar factors meet behind views and products, and what is no scalar stays where it is."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph, random, unchanged

from intaglio.compiler.passes.float_scale import float_scale

W = {
    "half": np.array(0.5, np.float32),
    "third": np.array([3], np.float32),
    "deep": np.full((1, 1, 1, 1), 2, np.float32),
    "row": random(4),
    "m": random(4, 4),
    "s": np.array([0, 2, 2]),
    "whole": np.array(2),
}


def floated(body: str, shape: str = "float[T,4]") -> list[str]:
    """The operators in order."""
    g = graph(f"main ({shape} x, {shape} z, float c) => (float y) {{ {body} }}", W)
    unchanged(g, float_scale)
    assert float_scale(g) == 0
    return [n.op for n in g.nodes]


@pytest.mark.parametrize(
    "body, expected",
    [
        ("a = Mul(x, half) y = Mul(a, third)", ["Mul"]),
        ("a = Mul(half, x) y = Mul(third, a)", ["Mul"]),
        ("a = Mul(x, half) y = Transpose(a)", ["Transpose", "Mul"]),
        ("a = Mul(x, half) y = Transpose<perm=[0,1]>(a)", ["Transpose", "Mul"]),
        ("a = Mul(x, half) y = Reshape(a, s)", ["Reshape", "Mul"]),
        ("a = Mul(x, half) y = MatMul(a, m)", ["MatMul", "Mul"]),
        ("a = Mul(x, half) t = Transpose(z) y = MatMul(t, a)", ["Transpose", "MatMul", "Mul"]),
        # the root of the scale on queries and keys each
        ("a = Mul(x, half) b = Mul(z, half) t = Transpose(b) y = MatMul(a, t)", ["Transpose", "MatMul", "Mul"]),
        ("a = Mul(x, half) t = Transpose(z) b = Mul(t, third) y = MatMul(a, b)", ["Transpose", "MatMul", "Mul"]),
    ],
)
def test_scales_float(body, expected):
    assert floated(body) == expected


def test_scales_meet_as_their_product():
    g = graph("main (float[T,4] x) => (float[T,4] y) { a = Mul(x, half) b = MatMul(a, m) y = Mul(b, third) }", W)
    float_scale(g)
    assert g.nodes[-1].inputs[1].scalar == 1.5


@pytest.mark.parametrize(
    "body",
    [
        "a = Mul(x, row) y = Mul(a, row)",
        "a = Mul(x, row) y = Transpose(a)",
        "a = Mul(x, row) y = MatMul(a, m)",
        "a = Mul(x, c) y = Transpose(a)",  # a number that is not known
        "a = Mul(x, c) y = MatMul(a, m)",
        "a = Add(x, half) y = Transpose(a)",
        "a = Mul(x, half) b = Transpose(a) d = Abs(a) e = Transpose(d) y = Add(b, e)",  # read twice
        "a = Mul(x, deep) y = Transpose<perm=[0,1,3,2]>(a)",  # the factor makes axes
        "a = Mul(x, deep) y = MatMul(a, m)",
        "a = Mul(x, deep) b = Mul(half, c) d = Mul(a, row) y = Abs(d)",
    ],
)
def test_a_factor_that_is_not_a_scalar_stays(body):
    g = graph(f"main (float[T,4] x, float c) => (float y) {{ {body} }}", W)
    before = [n.op for n in g.nodes]
    assert unchanged(g, float_scale) == 0
    assert [n.op for n in g.nodes] == before


def test_integers_stay():
    g = graph("main (int64[T,4] x) => (int64[4,T] y) { a = Mul(x, whole) y = Transpose(a) }", W)
    assert unchanged(g, float_scale) == 0


def test_a_constant_that_is_scaled_twice_by_data():
    """(w * c) * d, with w a constant row and c, d numbers of the run."""
    g = graph("main (float c, float d) => (float[4] y) { a = Mul(row, c) y = Mul(a, d) }", W)
    assert unchanged(g, float_scale) == 0
    g = graph("main (float c) => (float y) { a = Mul(half, c) y = Mul(a, third) }", W)
    unchanged(g, float_scale)
    g = graph("main (float c) => (float y) { a = Mul(row, c) y = Reshape(a, t) }", W | {"t": np.array([2, 2])})
    assert unchanged(g, float_scale) == 0
