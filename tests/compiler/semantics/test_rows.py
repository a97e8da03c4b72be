"""Some rows of a value are those of the whole value, and cost no more than they are."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph, random

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.passes.fold import fold
from intaglio.compiler.semantics import evaluate
from intaglio.compiler.semantics.rows import rows

W = {
    "n0": np.array(0),
    "n1": np.array(1),
    "n2": np.array(2),
    "ax0": np.array([0]),
    "ax1": np.array([1]),
    "ax12": np.array([1, 2]),
    "minus1": np.array([-1]),
    "table": random(128, 3),
    "long": random(1, 64),
    "none": np.array([0, 0, 0, 0]),
    "zero": np.array(0, np.float32),
    "lowest": np.array(np.finfo(np.float32).min),
}
SIZES = (
    "t = Shape(x) t0 = Squeeze(t) r = Range(n0, t0, n1) row = Unsqueeze(r, ax1) d = Sub(row, r)"
    " s = Concat<axis=0>(t, t, ax1) "
)
BODIES = {
    "elementwise": ("y = Abs(d)", 0),
    "a choice": ("b = LessOrEqual(r, row) y = Where(b, zero, lowest)", 0),
    "what repeats": ("e = Concat<axis=0>(t, t) y = Expand(row, e)", 0),
    "one number": ("sq = Concat<axis=0>(t, t) y = ConstantOfShape<value=float[1]{2.0}>(sq)", 0),
    "the other axis": ("y = Abs(d)", 1),
    "more axes": ("a = Abs(d) y = Unsqueeze(a, ax12)", 0),
    "fewer axes": ("a = Unsqueeze(d, ax0) b = Neg(a) y = Squeeze(b, ax0)", 0),
    "other axes": ("a = Abs(d) b = Gather(table, a) y = Transpose<perm=[2,0,1]>(b)", 1),
    "a part": ("a = Abs(d) y = Slice(a, ax0, minus1, ax1)", 0),
    "a part of the axis": ("y = Slice(d, ax1, t, ax0)", 0),
    "a part of a table": ("a = Slice(long, ax0, t, ax1) b = Cast<to=1>(d) y = Add(b, a)", 0),
    "chosen columns": ("a = Gather<axis=1>(d, ax0) y = Neg(a)", 0),
    "joined columns": ("y = Concat<axis=1>(d, d)", 0),
    "joined rows": ("y = Concat<axis=0>(d, d)", 0),
    "nothing added": ("y = Pad(d, none)", 0),
    "padding": (
        "p = Unsqueeze(row, ax1) q = Expand(p, s) u = Unsqueeze(r, ax1) v = Expand(u, s) "
        "i = Concat<axis=2>(q, v) a = Neg(d) y = ScatterND(d, i, a)",
        0,
    ),
    "columns swapped": (
        "p = Unsqueeze(row, ax1) q = Expand(p, s) u = Unsqueeze(r, ax1) v = Expand(u, s) "
        "i = Concat<axis=2>(v, q) a = Neg(d) y = ScatterND(d, i, a)",
        0,
    ),
    "all rows together": ("f = Cast<to=1>(d) y = Softmax<axis=0>(f)", 0),
}


def of_sizes(body: str) -> Graph:
    g = graph(f"main (float[T] x) => (float y) {{ {SIZES} {body} }}", W)
    fold(g)
    return g


@pytest.mark.parametrize("name", BODIES)
def test_they_are_those_of_the_whole(name: str) -> None:
    body, axis = BODIES[name]
    g = of_sizes(body)
    (y,) = g.outputs
    for size, index in ((1, [0]), (7, [0, 3, 4]), (64, [1, 62])):
        whole = evaluate.compute(g, g.nodes, {}, {"T": size})[y]
        chosen = np.array([i for i in index if i < whole.shape[axis]], np.int64)
        np.testing.assert_array_equal(rows(g, y, axis, chosen, {"T": size}), np.take(whole, chosen, axis))


@pytest.mark.parametrize("name", ["elementwise", "nothing added", "padding"])
def test_what_does_not_fit_memory(name: str) -> None:
    g = of_sizes(BODIES[name][0])
    last = rows(g, g.outputs[0], 0, np.array([3, 299_999]), {"T": 300_000})
    assert last.shape == (2, 300_000) and np.abs(last[:, 0]).tolist() == [3, 299_999]


def test_a_mask_that_does_not_fit_memory() -> None:
    square = "sq = Concat<axis=0>(t, t) f = ConstantOfShape<value=float[1]{-1e9}>(sq) "
    g = of_sizes(square + "b = LessOrEqual(r, row) m = Where(b, zero, f) y = Unsqueeze(m, ax0)")
    last = rows(g, g.outputs[0], 1, np.array([3, 999_999]), {"T": 1_000_000})
    assert (last == 0).sum(-1).tolist() == [[4, 1_000_000]]
