"""Fold: known values leave the graph, equal nodes become one, and outputs stay what they are called."""

from __future__ import annotations

import numpy as np
from graphs import T, graph, ops, random, unchanged

from intaglio.compiler.passes.fold import fold
from intaglio.compiler.semantics import evaluate


def test_shape_arithmetic_leaves():
    """Shape -> Gather -> Concat -> Reshape, as torch's exporter spells every view."""
    g = graph(
        "main (float[1,T,4] x) => (float[1,T,2,2] y) {"
        " s = Shape(x) b = Gather(s, zero) t = Gather(s, one)"
        " b1 = Unsqueeze(b, ax) t1 = Unsqueeze(t, ax)"
        " shape = Concat<axis=0>(b1, t1, minus, two) y = Reshape(x, shape) }",
        {"zero": np.array(0), "one": np.array(1), "ax": np.array([0]), "minus": np.array([-1]), "two": np.array([2])},
    )
    assert unchanged(g, fold)
    assert ops(g) == {"Reshape": 1}
    assert g.nodes[0].inputs[1].const.tolist() == [1, T, -1, 2]


def test_constants_are_computed():
    g = graph(
        "main (float[4] x) => (float[4] y) { a = Add(c, d) b = Mul(a, d) y = Mul(x, b) }",
        {"c": random(4), "d": random(4, seed=1)},
    )
    assert unchanged(g, fold) == 2
    assert ops(g) == {"Mul": 1}


def test_an_output_may_be_constant():
    g = graph("main (float[4] x) => (float[4] y, int64[1] z) { y = Add(c, c) z = Shape(x) }", {"c": random(4)})
    unchanged(g, fold)
    assert ops(g) == {}
    assert evaluate.run(g, {"x": random(4)})["z"].tolist() == [4]


def test_equal_nodes_become_one():
    g = graph(
        "main (float[4,4] x) => (float[4,4] y) {"
        " a = Transpose<perm=[1,0]>(x) b = Transpose<perm=[1,0]>(x) c = Abs(a) d = Abs(b) y = Add(c, d) }"
    )
    assert unchanged(g, fold)
    assert ops(g) == {"Transpose": 1, "Abs": 1, "Add": 1}


def test_small_constants_are_compared_by_content():
    g = graph(
        "main (float[2,3] x) => (float[6] y, float[6] z) { a = Reshape(x, s) b = Reshape(x, t) y = Abs(a) z = Neg(b) }",
        {"s": np.array([6]), "t": np.array([6])},
    )
    assert unchanged(g, fold)
    assert ops(g)["Reshape"] == 1
    g = graph(
        "main (float[2,3] x) => (float[6] y, float[6] z) { a = Mul(x, s) b = Mul(x, t) y = Abs(a) z = Neg(b) }",
        {"s": np.array(2, np.float32), "t": np.array(2.0000002, np.float32)},
    )
    assert unchanged(g, fold) == 0


def test_nodes_that_differ_stay():
    for a, b in [
        ("Transpose<perm=[1,0]>(x)", "Transpose<perm=[0,1]>(x)"),
        ("Sub(x, w)", "Sub(w, x)"),
        ("Add(x, w)", "Add(x, v)"),
        ("Softmax<axis=0>(x)", "Softmax<axis=1>(x)"),
        ("Abs(x)", "Neg(x)"),
        ("Clip(x, s)", "Clip(x, , s)"),
    ]:
        weights = {"w": random(4, 4), "v": random(4, 4, seed=1), "s": np.array(0.5, np.float32)}
        g = graph(f"main (float[4,4] x) => (float[4,4] y) {{ a = {a} b = {b} y = Div(a, b) }}", weights)
        unchanged(g, fold)
        assert len(g.nodes) == 3, (a, b)


def test_equal_outputs_keep_their_names():
    g = graph("main (float[T] x) => (float[T] y, float[T] z) { y = Abs(x) z = Abs(x) }")
    unchanged(g, fold)
    assert [v.name for v in g.outputs] == ["y", "z"]


def test_dimensions_are_compared_by_what_they_say():
    g = graph(
        "main (float[1,T,4] x, float[1,T,4] z) => (float y, float w) {"
        " s = Shape(x) t = Shape(z) a = Reshape(x, s) b = Reshape(x, t) c = Add(a, z) d = Add(b, z)"
        " y = Abs(c) w = Neg(d) }"
    )
    unchanged(g, fold)
    assert ops(g) == {"Reshape": 1, "Add": 1, "Abs": 1, "Neg": 1}
