"""Positions: what depends on the number of tokens alone becomes a table, if it is one."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import T, graph, ops, random

from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.compiler.ir.errors import BadModel, UnsupportedOperator
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.passes.fold import fold
from intaglio.compiler.passes.positions import positions
from intaglio.compiler.semantics import evaluate

P = dim(Symbol("P", 0, 63))
TOKENS = T.terms[0][0]
W = {
    "n0": np.array(0),
    "n1": np.array(1),
    "ax0": np.array([0]),
    "ax1": np.array([1]),
    "table": random(64, 4),
    "half": np.array(0.5, np.float32),
    "first": np.array([0]),
    "minus": np.array([-1]),
    "scale": random(4),
    "one_one": np.array([1, 1]),
}
COUNT = "s = Shape(x) t = Gather(s, n1) "
RANGE = COUNT + "r = Range(n0, t, n1) "


def tabled(body: str) -> Graph:
    """After the pass: with P rows before, the results are rows P.. of what the graph made of P+T tokens."""
    g = graph(f"main (float[1,T,4] x) => (float[1,T,4] y) {{ {body} }}", W)
    fold(g)
    whole = random(1, 9, 4, seed=5)
    expected = evaluate.run(g, {"x": whole}, {"T": 9})["y"]
    assert positions(g, TOKENS, P) > 0
    g.verify()
    for past in (0, 3, 8):
        rows = whole[:, past:]
        actual = evaluate.run(g, {"x": rows}, {"T": 9 - past, "P": past})["y"]
        np.testing.assert_allclose(actual, expected[:, past:], rtol=1e-6)
    return g


@pytest.mark.parametrize(
    "body",
    [
        RANGE + "p = Gather(table, r) y = Add(x, p)",
        RANGE + "u = Unsqueeze(r, ax0) p = Gather(table, u) y = Add(x, p)",
        # TorchScript: expanded, tiled and cast
        RANGE + "u = Unsqueeze(r, ax0) e = Expand(u, one_one) f = Tile(e, one_one) p = Gather(table, f)"
        " c = Cast<to=1>(p) y = Add(x, c)",
        # dynamo: GatherND
        RANGE + "i = Unsqueeze(r, minus) p = GatherND(table, i) y = Add(x, p)",
        # a slice of the table
        COUNT + "t1 = Unsqueeze(t, ax0) p = Slice(table, first, t1, first) y = Add(x, p)",
        # sinusoids and rotary tables
        RANGE + "f = Cast<to=1>(r) u = Unsqueeze(f, ax1) a = Mul(u, scale) p = Sin(a) y = Add(x, p)",
        RANGE + "f = Cast<to=1>(r) u = Unsqueeze(f, ax1) a = Mul(u, scale) p = Cos(a) q = Sin(a)"
        " b = Mul(x, p) c = Mul(x, q) y = Add(b, c)",
    ],
)
def test_spellings(body):
    g = tabled(body)
    kinds = ops(g)
    assert not {"Range", "GatherND", "Cos", "Sin", "Cast", "Tile"} & kinds.keys()
    for node in g.nodes:
        if node.op == "Slice":
            assert 64 in node.inputs[0].shape, "the table is as long as the longest sequence"


def test_what_is_the_same_for_every_length_is_a_constant():
    body = COUNT + "one = Div(t, t) o = Range(n0, n1, n1) f = Cast<to=1>(o) y = Add(x, f)"
    g = graph(f"main (float[1,T,4] x) => (float[1,T,4] y) {{ {body} }}", W)
    fold(g)
    positions(g, TOKENS, P)
    assert ops(g) == {"Add": 1}


@pytest.mark.parametrize(
    "body",
    [
        # counted from the end: earlier rows change with every token
        RANGE + "d = Sub(t, r) e = Sub(d, n1) p = Gather(table, e) y = Add(x, p)",
        # divided by the number of tokens
        RANGE + "f = Cast<to=1>(r) u = Unsqueeze(f, ax1) n = Cast<to=1>(t) q = Div(u, n) y = Add(x, q)",
        # the number of tokens itself, a number without an axis
        COUNT + "n = Cast<to=1>(t) y = Mul(x, n)",
        # a mask that attention did not take
        RANGE + "u = Unsqueeze(r, ax1) m = LessOrEqual(r, u) f = Cast<to=1>(m) y = MatMul(f, x)",
    ],
)
def test_what_depends_on_more_than_positions_is_refused(body):
    g = graph(f"main (float[1,T,4] x) => (float[1,T,4] y) {{ {body} }}", W)
    fold(g)
    with pytest.raises(UnsupportedOperator, match="position of each token"):
        positions(g, TOKENS, P)


def test_a_table_that_is_too_short():
    g = graph(
        f"main (float[1,T,4] x) => (float y) {{ {RANGE} p = Gather(table, r) y = Add(x, p) }}",
        W | {"table": random(8, 4)},
    )
    fold(g)
    with pytest.raises(BadModel, match="for 64 tokens"):
        positions(g, TOKENS, P)


def test_data_is_left_alone():
    g = graph("main (float[1,T,4] x) => (float y) { a = Abs(x) y = Add(a, scale) }", W)
    assert positions(g, TOKENS, P) == 0
    assert ops(g) == {"Abs": 1, "Add": 1}
