"""Layers over the same rows become one."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph, ops, random, unchanged

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.passes.linear import linear
from intaglio.compiler.passes.merge_linear import MAX_PARTS, merge_linear

W = {
    "wq": random(8, 8, seed=1),
    "wk": random(8, 4, seed=2),
    "wv": random(8, 12, seed=3),
    "w6": random(8, 6, seed=4),
    "bq": random(8, seed=5),
    "bv": random(12, seed=6),
    "half": np.array(0.5, np.float32),
}


def layers(body: str, outputs: str, inputs: str = "float[1,T,8] x") -> Graph:
    g = graph(f"main ({inputs}) => ({outputs}) {{ {body} }}", W)
    linear(g)
    return g


QKV = "q = MatMul(x, wq) k = MatMul(x, wk) v0 = MatMul(x, wv) v = Add(v0, bv) "


def test_queries_keys_and_values_are_one_layer():
    g = layers(QKV + "a = Abs(q) b = Abs(k) c = Abs(v)", "float a, float b, float c")
    assert unchanged(g, merge_linear) == 2
    assert ops(g) == {"Linear": 1, "Abs": 3}
    (node,) = [n for n in g.nodes if n.op == "Linear"]
    assert node.own.splits == (8, 4, 12)
    assert [v.name for v in node.outputs] == ["q", "k", "v"]
    bias = node.inputs[2].const
    assert not bias[:12].any() and np.array_equal(bias[12:], W["bv"])


def test_without_any_bias():
    g = layers("q = MatMul(x, wq) k = MatMul(x, wk) a = Abs(q) b = Abs(k)", "float a, float b")
    assert unchanged(g, merge_linear) == 1
    (node,) = [n for n in g.nodes if n.op == "Linear"]
    assert len(node.inputs) == 2


def test_a_layer_of_many_parts_is_cut():
    body = " ".join(f"h{i} = MatMul(x, wq) a{i} = Abs(h{i})" for i in range(7))
    g = layers(body, ", ".join(f"float a{i}" for i in range(7)))
    unchanged(g, merge_linear)
    parts = sorted(len(n.outputs) for n in g.nodes if n.op == "Linear")
    assert parts == [1, 3, 3] and max(parts) <= MAX_PARTS


@pytest.mark.parametrize(
    "body, outputs, inputs",
    [
        (
            "q = MatMul(x, wq) k = MatMul(z, wk) a = Abs(q) b = Abs(k)",
            "float a, float b",
            "float[1,T,8] x, float[1,T,8] z",
        ),
        ("q = MatMul(x, wq) k = MatMul(x, wk) a = Abs(q)", "float a, float k", "float[1,T,8] x"),  # k is an output
        ("q = MatMul(x, wq) k = MatMul(x, w6) a = Abs(q) b = Abs(k)", "float a, float b", "float[1,T,8] x"),
        ("q = MatMul(x, wq) k = MatMul(q, wk) a = Abs(k)", "float a", "float[1,T,8] x"),
    ],
)
def test_layers_that_stay_apart(body, outputs, inputs):
    g = layers(body, outputs, inputs)
    assert unchanged(g, merge_linear) == 0
    assert ops(g)["Linear"] == 2
