"""The rows and sizes that decide what a long mask is: on both sides of where a comparison begins or ceases to hold."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.passes.boundaries import Boundaries
from intaglio.compiler.passes.fold import fold

W = {"n0": np.array(0), "n1": np.array(1), "w": np.array(100), "v": np.array(-30), "table": np.arange(40.0)}


def boundaries(body: str) -> Boundaries:
    g: Graph = graph(f"main (float[T] x) => (y) {{ t = Size(x) r = Range(n0, t, n1) {body} }}", W)
    fold(g)
    leaves = [v for n in g.nodes for v in n.inputs if v is not None and g.producer(v) is None]
    return Boundaries.of(g.nodes, leaves)


def test_rows_beside_sums_of_constants() -> None:
    of = boundaries("a = Less(r, w) b = Less(r, v) y = And(a, b)")
    assert (of.constants, of.table, of.recurring) == ((0, 30, 100), 0, False)
    rows = set(of.rows(1000).tolist())
    for place in (0, 30, 60, 70, 100, 130, 200):
        assert {place - 1, place, place + 1, 999 - place} & set(range(1000)) <= rows
    assert len(rows) < 200 and {0, 999} <= rows


def test_sizes_beside_constants() -> None:
    sizes = boundaries("y = Less(r, w)").sizes(1, 150)
    assert {99, 100, 101} <= sizes and max(sizes) < 150 and 1 in sizes


def test_all_rows_of_a_table() -> None:
    of = boundaries("y = Gather(table, r)")
    assert of.table == 40 and set(range(41)) | set(range(960, 1000)) <= set(of.rows(1000).tolist())


@pytest.mark.parametrize("body", ["y = Div(r, w)", "y = Mod(r, w)", "y = CumSum(r, n0)"])
def test_boundaries_that_recur_need_all_rows(body: str) -> None:
    assert boundaries(body).rows(1000).tolist() == list(range(1000))


def test_running_sums_of_ones_are_positions() -> None:
    """ALiBi counts the tokens of a mask of ones."""
    of = boundaries("s = Shape(x) ones = ConstantOfShape<value=int64[1]{1}>(s) y = CumSum(ones, n0)")
    assert not of.recurring and len(of.rows(1000)) < 200
