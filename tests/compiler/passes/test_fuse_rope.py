"""Rotary embeddings in the spellings of the exporters, what else is done to heads, and what only looks alike."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph, ops, random, unchanged

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.passes.canonical import canonical
from intaglio.compiler.passes.float_rounding import float_rounding
from intaglio.compiler.passes.fold import fold
from intaglio.compiler.passes.fuse_quantized import fuse_quantized
from intaglio.compiler.passes.fuse_rope import fuse_rope
from intaglio.compiler.passes.linear import linear

HEADS, HEAD_DIM, WIDTH = 2, 8, 16
W = {
    "wq": random(WIDTH, WIDTH, seed=1),
    "wk": random(WIDTH, WIDTH, seed=2),
    "bias": random(WIDTH, seed=3),
    "frequencies": np.array([1, 0.3, 0.1, 0.03], np.float32)[None, :],
    "two_frequencies": np.array([1, 0.1], np.float32)[None, :],
    "split": np.array([0, 0, HEADS, HEAD_DIM]),
    "pairs": np.array([0, 0, 0, 4, 2]),
    "whole": np.array([0, 0, 0, HEAD_DIM]),
    "n0": np.array(0),
    "n1": np.array(1),
    "i0": np.array([0]),
    "i1": np.array([1]),
    "i2": np.array([2]),
    "i3": np.array([3]),
    "i4": np.array([4]),
    "im1": np.array([-1]),
    "far": np.array([2**62]),
    "halves": np.array([4, 4]),
    "fours": np.array([4, 4]),
    "minus": np.array(-1, np.float32),
    "scale": np.array(0.5, np.float32),
    "gains": random(HEADS, 1, HEAD_DIM, seed=4),
}
POSITIONS = "s = Shape(x) t = Gather(s, n1) r = Range(n0, t, n1) "
ANGLES = "column = Unsqueeze(r, i1) p = Cast<to=1>(column) a = MatMul(p, frequencies) "
DOUBLED = POSITIONS + ANGLES + "aa = Concat<axis=-1>(a, a) cos = Cos(aa) sin = Sin(aa) "
HALF = "x1 = Slice(q, i0, i4, i3) x2 = Slice(q, i4, far, i3) n = Neg(x2) turned = Concat<axis=-1>(n, x1) "
SUM = "c = Mul(q, cos) d = Mul(turned, sin) rotated = Add(c, d) "

ROTARY = {
    "slices": DOUBLED + HALF + SUM,
    "a split": DOUBLED + "x1, x2 = Split<axis=3>(q, halves) n = Mul(x2, minus) turned = Concat<axis=-1>(n, x1) " + SUM,
    "each half by itself": POSITIONS + ANGLES + "cos = Cos(a) sin = Sin(a) "
    "x1 = Slice(q, i0, i4, i3) x2 = Slice(q, i4, far, i3) a1 = Mul(x1, cos) a2 = Mul(x2, sin) b1 = Mul(x2, cos) "
    "b2 = Mul(x1, sin) y1 = Sub(a1, a2) y2 = Add(b1, b2) rotated = Concat<axis=-1>(y1, y2) ",
    "neighbours": POSITIONS
    + ANGLES
    + "cos0 = Cos(a) sin0 = Sin(a) cos = Unsqueeze(cos0, im1) sin = Unsqueeze(sin0, im1)"
    " z = Reshape(q, pairs) x1 = Slice(z, i0, i1, i4) x2 = Slice(z, i1, i2, i4) a1 = Mul(x1, cos) a2 = Mul(x2, sin)"
    " b1 = Mul(x2, cos) b2 = Mul(x1, sin) y1 = Sub(a1, a2) y2 = Add(b1, b2) w = Concat<axis=-1>(y1, y2)"
    " rotated = Reshape(w, whole) ",
    "a part of the head": POSITIONS
    + "column = Unsqueeze(r, i1) p = Cast<to=1>(column) a = MatMul(p, two_frequencies) aa = Concat<axis=-1>(a, a)"
    " cos = Cos(aa) sin = Sin(aa) part = Slice(q, i0, i4, i3) rest = Slice(q, i4, far, i3) x1 = Slice(part, i0, i2, i3)"
    " x2 = Slice(part, i2, far, i3) n = Neg(x2) turned = Concat<axis=-1>(n, x1) c = Mul(part, cos) d = Mul(turned, sin)"
    " e = Add(c, d) rotated = Concat<axis=-1>(e, rest) ",
    "scaled": DOUBLED + HALF + "c = Mul(q, cos) d = Mul(turned, sin) e = Add(c, d) rotated = Mul(e, scale) ",
}
PAIRS = {"a part of the head": 2}

HEADS_OF = "{0}0 = MatMul(x, w{0}) {0}1 = Reshape({0}0, split) {0} = Transpose<perm=[0,2,1,3]>({0}1) "
KEYS = HEADS_OF.format("k") + "kt = Transpose<perm=[0,1,3,2]>(k) "


def heads(body: str, more: str = "") -> Graph:
    text = HEADS_OF.format("q") + KEYS + body + "y = MatMul(rotated, kt)"
    g = graph(f"main (float[1,T,{WIDTH}] x{more}) => (float y) {{ {text} }}", W, opset=18)
    for step in (fold, canonical, linear):
        step(g)
    return g


def rotary(g: Graph) -> Node:
    (node,) = [n for n in g.nodes if n.op == "Rotary"]
    return node


@pytest.mark.parametrize("name", ROTARY)
def test_spellings(name: str) -> None:
    g = heads(ROTARY[name])
    assert unchanged(g, fuse_rope, sizes=(5, 1, 64)) == 1
    canonical(g)
    assert ops(g) == {"Linear": 2, "Reshape": 2, "Transpose": 2, "Rotary": 1, "MatMul": 1}
    node = rotary(g)
    assert node.inputs[0].shape == node.inputs[1].shape == (64, PAIRS.get(name, 4))
    assert node.settings == {"heads": (HEADS,), "interleaved": name == "neighbours", "past": 0}
    assert node.inputs[2].shape == (1, node.inputs[2].shape[1], WIDTH)


def test_heads_that_are_scaled_before_they_are_turned() -> None:
    """As by a norm of heads whose scale differs from head to head."""
    gain = "scaled = Mul(q, gains) "
    g = heads(gain + (DOUBLED + HALF + SUM).replace("(q,", "(scaled,"))
    assert unchanged(g, fuse_rope, sizes=(5, 1, 64)) == 1
    assert g.expect_producer(rotary(g).inputs[2]).op == "Reshape"
    assert ops(g)["Mul"] == 1


@pytest.mark.parametrize("name", ROTARY)
def test_tables_that_are_made_in_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables of 64 positions in parts of 24, the last of which is shorter."""
    tables = []
    for part in (64, 24):
        monkeypatch.setattr("intaglio.compiler.passes.fuse_rope._PART", part)
        g = heads(ROTARY[name])
        assert unchanged(g, fuse_rope, sizes=(5, 64)) == 1
        tables.append([v.array for v in rotary(g).inputs[:2]])
    np.testing.assert_array_equal(tables[0], tables[1])


def test_heads_that_are_rounded_after_they_are_turned() -> None:
    """As quantizers leave them, perhaps scaled before; rounding floats to the turned rows afterwards."""
    body = DOUBLED + HALF + "c = Mul(q, cos) d = Mul(turned, sin) e = Add(c, d) f = Mul(e, scale) "
    rounded = "codes = QuantizeLinear(f, step, middle) rotated = DequantizeLinear(codes, step, middle) "
    text = HEADS_OF.format("q") + KEYS + body + rounded + "y = MatMul(rotated, kt)"
    grid = {"step": np.array(0.1, np.float32), "middle": np.array(5, np.int8)}
    g = graph(f"main (float[1,T,{WIDTH}] x) => (float y) {{ {text} }}", W | grid, opset=18)
    for step in (fuse_quantized, fold, canonical, linear):
        step(g)
    assert unchanged(g, fuse_rope, sizes=(5, 1, 64)) == 1
    float_rounding(g)
    canonical(g)
    (reader,) = g.consumers(rotary(g).output)
    assert reader.op == "Mul" and [n.op for n in g.consumers(reader.output)] == ["FakeQuantize"]


def test_the_tables_of_both_operands_are_one() -> None:
    turn = DOUBLED + HALF + SUM
    keys = (HALF + SUM).replace("(q,", "(k,").replace("turned", "turned_k").replace("rotated", "rotated_k")
    for name in ("x1", "x2", "n", "c", "d"):
        keys = keys.replace(f"{name} =", f"{name}k =").replace(f"({name})", f"({name}k)")
    keys = keys.replace("(n, x1)", "(nk, x1k)").replace("Add(c, d)", "Add(ck, dk)")
    body = HEADS_OF.format("q") + HEADS_OF.format("k") + turn + keys
    text = body + "kt = Transpose<perm=[0,1,3,2]>(rotated_k) y = MatMul(rotated, kt)"
    g = graph(f"main (float[1,T,{WIDTH}] x) => (float y) {{ {text} }}", W, opset=18)
    for step in (fold, canonical, linear):
        step(g)
    assert unchanged(g, fuse_rope) == 2
    first, second = (n for n in g.nodes if n.op == "Rotary")
    assert first.inputs[:2] == second.inputs[:2]


FUSED = {
    "three blocks": "q0, k0 = Split<axis=2>(z, blocks) q1 = Reshape(q0, split) k1 = Reshape(k0, split) "
    "rotated = Transpose<perm=[0,2,1,3]>(q1) kt = Transpose<perm=[0,2,3,1]>(k1) ",
    "head by head": "h = Reshape(z, each) q1 = Slice(h, i0, eight, i3) k1 = Slice(h, eight, far, i3) "
    "rotated = Transpose<perm=[0,2,1,3]>(q1) kt = Transpose<perm=[0,2,3,1]>(k1) ",
}


@pytest.mark.parametrize("name", FUSED)
def test_projections_of_queries_and_keys_in_one_are_parted(name: str) -> None:
    more = {"w": random(WIDTH, 2 * WIDTH), "b": random(2 * WIDTH, seed=7), "blocks": np.array([WIDTH, WIDTH])}
    more |= {"each": np.array([0, 0, HEADS, 2 * HEAD_DIM]), "eight": np.array([HEAD_DIM])}
    text = f"m = MatMul(x, w) z = Add(m, b) {FUSED[name]} y = MatMul(rotated, kt)"
    g = graph(f"main (float[1,T,{WIDTH}] x) => (float y) {{ {text} }}", W | more, opset=18)
    for step in (fold, canonical, linear):
        step(g)
    assert unchanged(g, fuse_rope) == 2
    assert ops(g)["Linear"] == 2 and not {"Slice", "Split"} & ops(g).keys()


def test_heads_that_are_repeated_are_turned_once() -> None:
    text = (
        HEADS_OF.format("k")
        + "q0 = MatMul(x, one) q1 = Reshape(q0, alone) q = Transpose<perm=[0,2,1,3]>(q1) "
        + ROTARY["slices"]
        + "u = Unsqueeze(rotated, i2) tt = Slice(s, i1, i2) wide = Concat<axis=0>(i1, i1, i2, tt, eight) "
        "e0 = Expand(u, wide) e = Reshape(e0, back) kt = Transpose<perm=[0,1,3,2]>(e) y = MatMul(k, kt)"
    )
    more = {"one": random(WIDTH, HEAD_DIM), "alone": np.array([0, 0, 1, HEAD_DIM]), "eight": np.array([HEAD_DIM])}
    more |= {"back": np.array([0, HEADS, -1, HEAD_DIM])}
    g = graph(f"main (float[1,T,{WIDTH}] x) => (float y) {{ {text} }}", W | more, opset=18)
    for step in (fold, canonical, linear):
        step(g)
    assert unchanged(g, fuse_rope) == 1
    assert rotary(g).own.heads == (1,) and ops(g)["Expand"] == 1


NEAR_MISSES = {
    "an angle that is data": (
        ROTARY["slices"].replace("MatMul(p, frequencies)", "Mul(angles, frequencies)"),
        ", float[T,4] angles",
    ),
    "angles that count from the end": (
        ROTARY["slices"]
        .replace("Range(n0, t, n1)", "Range(n0, t, n1) back = Sub(t, r)")
        .replace("(r, i1)", "(back, i1)"),
        "",
    ),
    "both halves turned the same way": (ROTARY["slices"].replace("n = Neg(x2)", "n = Identity(x2)"), ""),
    "the square of the rows": (ROTARY["slices"].replace("Mul(turned, sin)", "Mul(turned, q)"), ""),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_near_misses(name: str) -> None:
    g = heads(*NEAR_MISSES[name])
    assert unchanged(g, fuse_rope) == 0
    assert not ops(g)["Rotary"]
