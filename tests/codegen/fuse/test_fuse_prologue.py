"""A norm before linear layers over one row is computed by the layers themselves."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph, ops, random, unchanged

from intaglio.codegen.fuse.fuse_prologue import fuse_prologue
from intaglio.codegen.target import MAX_BINDINGS
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.passes.linear import linear
from intaglio.compiler.passes.merge_linear import merge_linear

W = {
    "scale": random(8, seed=1),
    "shift": random(8, seed=2),
    "w": random(8, 8, seed=3),
    "v": random(8, 12, seed=4),
    "bias": random(8, seed=5),
    "half": np.array(0.5, np.float32),
}
NORM = "n = LayerNormalization<axis=-1, epsilon=0.01>(x, scale, shift) "


def made(body: str, shape: str = "1,1,8", outputs: str = "float y", merge: bool = False) -> Graph:
    g = graph(f"main (float[{shape}] x) => ({outputs}) {{ {body} }}", W)
    linear(g)
    if merge:
        merge_linear(g)
    return g


def test_a_norm_joins_its_layer():
    g = made(NORM + "a = MatMul(n, w) y = Add(a, bias)")
    assert unchanged(g, fuse_prologue) == 1
    (node,) = g.nodes
    assert node.op == "Linear" and [v.name for v in node.inputs] == ["x", "w", "bias", "scale", "shift"]
    norm = node.own.prologue
    assert (norm.kind, norm.scale.name, norm.shift.name) == ("layernorm", "scale", "shift")
    assert norm.epsilon == pytest.approx(0.01)


def test_a_layer_without_bias_and_a_norm_without_shift():
    g = made("n = LayerNormalization<axis=-1>(x, scale) y = MatMul(n, w)")
    assert unchanged(g, fuse_prologue) == 1
    (node,) = g.nodes
    norm = node.own.prologue
    assert (norm.kind, norm.scale.name, norm.shift, node.own.bias) == ("layernorm", "scale", None, None)
    assert norm.epsilon == pytest.approx(1e-5)


def test_all_layers_that_read_the_norm():
    g = made(NORM + "a = MatMul(n, w) b = MatMul(n, v)", outputs="float a, float b")
    assert unchanged(g, fuse_prologue) == 1
    assert ops(g) == {"Linear": 2}


def test_a_merged_layer_stays_within_the_bindings():
    body = NORM + "a = MatMul(n, w) b = MatMul(n, v) c = MatMul(n, w) d = Abs(a) e = Abs(b) f = Abs(c)"
    g = made(body, outputs="float d, float e, float f", merge=True)
    assert unchanged(g, fuse_prologue) == 1
    (node,) = [n for n in g.nodes if n.op == "Linear"]
    assert len([v for v in node.inputs if v is not None]) + len(node.outputs) <= MAX_BINDINGS


@pytest.mark.parametrize(
    "body, shape, outputs",
    [
        (NORM + "y = MatMul(n, w)", "1,2,8", "float y"),  # two rows
        (NORM + "y = MatMul(n, w)", "1,T,8", "float y"),
        (NORM + "y = MatMul(n, w)", "1,1,8", "float y, float n"),
        (NORM + "a = MatMul(n, w) y = Add(a, n)", "1,1,8", "float y"),  # something else reads the norm
        (NORM + "a = Abs(n) y = MatMul(a, w)", "1,1,8", "float y"),
        (NORM.replace("(x,", "(x,") + "y = Abs(n)", "1,1,8", "float y"),
    ],
)
def test_norms_that_stay(body, shape, outputs):
    g = made(body, shape, outputs)
    assert unchanged(g, fuse_prologue) == 0
    assert ops(g)["LayerNormalization"] == 1


def test_a_norm_is_not_put_before_another():
    g = made(NORM + "m = LayerNormalization<axis=-1>(n, scale, shift) y = MatMul(m, w)")
    assert unchanged(g, fuse_prologue) == 1
    assert ops(g) == {"LayerNormalization": 1, "Linear": 1}


def test_a_width_that_is_not_a_multiple_of_four():
    g = graph(
        "main (float[1,1,6] x) => (float y) { n = LayerNormalization<axis=-1>(x, s) y = MatMul(n, w) }",
        {"s": random(6), "w": random(6, 8)},
    )
    linear(g)
    assert unchanged(g, fuse_prologue) == 0
