"""Roundings to known steps become expressions; those to the range of a run have a kernel, and stay."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph, ops, unchanged

from intaglio.codegen.fuse.spell_roundings import spell_roundings
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.operators import Elementwise
from intaglio.compiler.passes.fuse_quantized import fuse_quantized

STATIC = "q = QuantizeLinear(x, step, zero) y = DequantizeLinear(q, step, zero)"
DYNAMIC = "q, s, z = DynamicQuantizeLinear(x) y = DequantizeLinear(q, s, z)"


def rounded(body: str, zero: np.ndarray) -> Graph:
    weights = {"step": np.array(0.0625, np.float32), "zero": zero}
    g = graph(f"main (float[T,8] x) => (float y) {{ {body} }}", weights)
    fuse_quantized(g)
    return g


@pytest.mark.parametrize("zero", [np.array(-3, np.int8), np.array(100, np.uint8)])
def test_roundings_to_known_steps(zero: np.ndarray) -> None:
    g = rounded(STATIC, zero)
    assert unchanged(g, spell_roundings) == 1
    assert ops(g) == {"Elementwise": 1}
    ends = np.iinfo(zero.dtype)
    assert ("Clip", "t2", ends.min, ends.max) in Elementwise.of(g.nodes[0]).steps


def test_the_range_of_a_run_stays() -> None:
    g = rounded(DYNAMIC, np.array(0, np.int8))
    assert unchanged(g, spell_roundings) == 0
    assert ops(g) == {"FakeQuantize": 1}
