"""Gates that join their layer, and what must stay apart."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph, ops, random, unchanged

from intaglio.codegen.fuse.fuse_elementwise import fuse_elementwise
from intaglio.codegen.fuse.fuse_gate import fuse_gate
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.passes.canonical import canonical
from intaglio.compiler.passes.fold import fold
from intaglio.compiler.passes.linear import linear
from intaglio.compiler.passes.merge_linear import merge_linear

W = {
    "wg": random(8, 12, seed=1),
    "wu": random(8, 12, seed=2),
    "both": random(8, 24, seed=3),
    "bias": random(24, seed=4),
    "halves": np.array([12, 12]),
    "uneven": np.array([8, 16]),
}
TWO = "g = MatMul(x, wg) u = MatMul(x, wu) "
ONE = "m = MatMul(x, both) z = Add(m, bias) g, u = Split<axis=-1>(z, halves) "
SILU = "s = Sigmoid(g) a = Mul(g, s) y = Mul(a, u)"


def fused(text: str, outputs: str = "float y") -> Graph:
    g = graph(f"main (float[1,T,8] x, float[1,T,12] other) => ({outputs}) {{ {text} }}", W, opset=20)
    for step in (fold, canonical, linear, merge_linear, fuse_elementwise):
        step(g)
    return g


@pytest.mark.parametrize(
    "text",
    [
        TWO + SILU,
        ONE + SILU,
        TWO + "a = Gelu(g) y = Mul(a, u)",
        TWO + "a = Relu(u) y = Mul(g, a)",
        TWO + "y = Sub(u, g)",
    ],
)
def test_gates(text: str) -> None:
    g = fused(text)
    assert unchanged(g, fuse_gate) == 1
    assert ops(g) == {"Linear": 1} and g.nodes[0].own.gate


@pytest.mark.parametrize(
    "text, outputs",
    [
        (TWO + SILU, "float y, float u"),  # a half that is wanted too
        (TWO + SILU + " more = Abs(u)", "float y, float more"),
        (ONE.replace("halves", "uneven") + "a = Relu(g) b = Relu(u)", "float a, float b"),
        (TWO + "a = Mul(g, u) y = Mul(a, other)", "float y"),  # a third operand
        ("g = MatMul(x, wg) s = Sigmoid(g) y = Mul(g, s)", "float y"),
    ],
)
def test_near_misses(text: str, outputs: str) -> None:
    assert unchanged(fused(text, outputs), fuse_gate) == 0
