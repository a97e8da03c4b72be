"""Elementwise chains: what joins, what hosts them, and what an expression must not lose."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph, ops, random, unchanged

from intaglio.codegen.fuse.fuse_elementwise import fuse_elementwise
from intaglio.compiler.ir.expression import shifted, text
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.passes.linear import linear

W = {
    "half": np.array(0.5, np.float32),
    "three": np.array([[[[3]]]], np.float32),
    "one": np.array(1, np.float32),
    "zero": np.array(0, np.float32),
    "minus_inf": np.array(-np.inf, np.float32),
    "cube": np.array(3, np.int64),
    "row": random(8, seed=3),
    "w": random(8, 8, seed=4),
    "narrow": random(8, 6, seed=5),
    "bias": random(8, seed=6),
    "table": random(9, 8, seed=7),
    "swap": np.array([0, 2, 1]),
}


def fused(body: str, inputs: str = "", outputs: str = "float[1,T,8] y") -> Graph:
    more = f", {inputs}" if inputs else ""
    g = graph(f"main (float[1,T,8] x, float[1,T,8] z{more}) => ({outputs}) {{ {body} }}", W, opset=20)
    linear(g)
    before = len(g.nodes)
    count = unchanged(g, fuse_elementwise)
    assert len(g.nodes) == before - count
    return g


@pytest.mark.parametrize(
    "body, expected",
    [
        ("y = Add(x, z)", "t0 = Add(x0, x1)"),
        ("y = Sub(z, x)", "t0 = Sub(x0, x1)"),
        ("a = Abs(x) b = Neg(a) y = Exp(b)", "t0 = Abs(x0); t1 = Neg(t0); t2 = Exp(t1)"),
        ("a = Mul(x, half) y = Add(a, row)", "t0 = Mul(x0, 0.5); t1 = Add(t0, x1)"),
        ("y = Mul(x, x)", "t0 = Mul(x0, x0)"),
        ("a = Abs(x) y = Mul(a, x)", "t0 = Abs(x0); t1 = Mul(t0, x0)"),
        ("a = Abs(x) y = Mul(a, a)", "t0 = Abs(x0); t1 = Mul(t0, t0)"),
        ("a = Abs(x) b = Neg(a) y = Mul(a, b)", "t0 = Abs(x0); t1 = Neg(t0); t2 = Mul(t0, t1)"),
        ("a = Abs(x) b = Neg(z) y = Div(a, b)", "t0 = Neg(x0); t1 = Abs(x1); t2 = Div(t1, t0)"),
        ("a = Sub(half, x) b = Mul(z, a) y = Sub(b, x)", "t0 = Sub(0.5, x0); t1 = Mul(x1, t0); t2 = Sub(t1, x0)"),
        ("y = Gelu(x)", "t0 = Gelu(x0)"),
        ('y = Gelu<approximate="tanh">(x)', "t0 = TanhGelu(x0)"),
        ("y = Clip(x, zero, half)", "t0 = Clip(x0, 0.0, 0.5)"),
        ("y = Clip(x, , half)", "t0 = Clip(x0, None, 0.5)"),
        ("y = Clip(x, zero)", "t0 = Clip(x0, 0.0)"),
        ("y = Pow(x, cube)", "t0 = Pow(x0, 3)"),
    ],
)
def test_chains_join(body, expected):
    g = fused(body)
    assert ops(g) == {"Elementwise": 1}
    assert text(g.nodes[0].own.steps) == expected


def test_types_change_on_the_way():
    g = fused("c = Greater(x, z) y = Where(c, x, half)")
    assert ops(g)["Elementwise"] >= 1
    g = fused("c = Cast<to=7>(x) d = Add(c, c) y = Cast<to=1>(d)")
    assert ops(g)["Elementwise"] >= 1
    g = fused("c = Cast<to=9>(x) d = Not(c) y = Cast<to=1>(d)")
    assert ops(g)["Elementwise"] >= 1


def test_a_choice_between_two_numbers():
    """Nothing else tells the type of the numbers, so one of them stays a tensor."""
    g = fused("y = Where(c, zero, minus_inf)", "bool[1,T,8] c")
    assert any(v.const is not None for v in g.nodes[0].inputs)


def test_a_number_that_makes_axes_stays_a_tensor():
    g = fused("y = Mul(x, three)", outputs="float y")
    assert g.outputs[0].shape[:2] == (1, 1)


def test_values_that_are_read_elsewhere_stay():
    g = fused("a = Abs(x) b = Transpose(a) c = Neg(a) y = Exp(c)", outputs="float y, float b")
    assert sorted(len(n.own.steps) for n in g.nodes if n.op == "Elementwise") == [1, 2]
    g = fused("a = Abs(x) y = Neg(a)", outputs="float y, float a")
    assert ops(g) == {"Elementwise": 2}


def test_chains_of_other_shapes_stay_apart():
    """What is computed once for a row must not be computed for each of its elements."""
    g = fused("a = Abs(c) b = Exp(a) y = Add(x, b)", "float[1,1,8] c")
    assert ops(g) == {"Elementwise": 2}


# hosts


def test_a_linear_layer_hosts_its_tail():
    g = fused("a = MatMul(x, w) b = Add(a, bias) c = Gelu(b) y = Add(z, c)")
    (node,) = g.nodes
    assert node.op == "Linear"
    assert text(node.tail.steps) == "t0 = Gelu(acc); t1 = Add(x3, t0)"
    assert [v.name for v in node.reads] == ["x", "w", "bias", "z"]


def test_a_layer_without_bias():
    g = fused("a = MatMul(x, w) b = Sub(z, a) y = Mul(b, z)")
    (node,) = g.nodes
    assert text(node.tail.steps) == "t0 = Sub(x3, acc); t1 = Mul(t0, x3)"
    assert node.reads[2] is None


def test_a_residual_of_the_layer_itself():
    g = fused("a = MatMul(x, w) y = Add(a, x)")
    (node,) = g.nodes
    assert text(node.tail.steps) == "t0 = Add(acc, x0)"


def test_two_layers_meet():
    g = fused("a = MatMul(x, w) b = MatMul(z, w) c = Sigmoid(b) y = Mul(a, c)")
    assert ops(g) == {"Linear": 2}


def test_an_embedding_hosts_its_tail():
    g = fused("a = Gather(table, ids) b = Add(a, z) y = Mul(b, half)", "int64[1,T] ids")
    (node,) = g.nodes
    assert node.op == "Gather"
    assert text(node.tail.steps) == "t0 = Add(acc, x3); t1 = Mul(t0, 0.5)"


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_a_convolution_hosts_its_tail(op):
    """An element at a time: numbers for channels, for places, and of other types than f32, are welcome."""
    g = graph(
        "main (float[T,4,5,6] x, float[T,4,1,1] gate, float[6] row, bool[T,4,5,6] c) => (float[T,4,5,6] y)"
        f" {{ a = {op}<pads=[1,1,1,1]>(x, w) b = Sigmoid(a) d = Mul(a, b) e = Mul(gate, d) f = Add(e, row)"
        " y = Where(c, f, x) }",
        {"w": random(4, 4, 3, 3)},
    )
    assert unchanged(g, fuse_elementwise) == 5
    (node,) = g.nodes
    assert text(node.tail.steps) == (
        "t0 = Sigmoid(acc); t1 = Mul(acc, t0); t2 = Mul(x3, t1); t3 = Add(t2, x4); t4 = Where(x5, t3, x0)"
    )


@pytest.mark.parametrize(
    "body, outputs",
    [
        ("a = Conv(x, w) y = Add(a, z)", "float[2,4,4,6] y"),  # broadcast to more than what the convolution computes
        ("a = Conv(x, w) y = Relu(a)", "float y, float a"),
        ("a = Conv(x, w) y = Cast<to=7>(a)", "int64 y"),
    ],
)
def test_what_convolutions_do_not_do(body, outputs):
    inputs = "float[1,4,5,6] x, float[2,4,4,6] z"
    g = graph(f"main ({inputs}) => ({outputs}) {{ {body} }}", {"w": random(4, 4, 2, 1)})
    unchanged(g, fuse_elementwise)
    assert ops(g) == {"Conv": 1, "Elementwise": 1}


@pytest.mark.parametrize(
    "body, inputs, outputs",
    [
        ("a = MatMul(x, w) b = Transpose<perm=[0,2,1]>(a) y = Abs(b)", "", "float y"),
        ("a = MatMul(x, w) y = Sign(a)", "", "float y"),  # not on four at a time
        ("a = MatMul(x, narrow) y = Abs(a)", "", "float y"),  # 6 columns
        ("a = MatMul(x, w) y = Add(a, c)", "float[1,T,1] c", "float y"),  # one number for four
        ("a = MatMul(x, w) y = Mul(a, c)", "float c", "float y"),
        ("a = MatMul(x, w) y = Abs(a)", "", "float y, float a"),
        ("a = Gather<axis=2>(x, ids) y = Abs(a)", "int64[8] ids", "float y"),
    ],
)
def test_tails_that_no_host_takes(body, inputs, outputs):
    g = fused(body, inputs, outputs)
    assert not any(n.tail for n in g.nodes)
    assert ops(g)["Elementwise"] == 1


def test_bindings_are_counted():
    """A shader binds 8 buffers at most: a chain that reads more is cut."""
    inputs = ", ".join(f"float[1,T,8] c{i}" for i in range(9))
    body = "s0 = Add(x, z) " + " ".join(f"s{i + 1} = Add(s{i}, c{i})" for i in range(9)) + " y = Abs(s9)"
    g = fused(body, inputs)
    assert len(g.nodes) > 1
    for node in g.nodes:
        assert len({v for v in node.inputs if v is not None}) + len(node.outputs) <= 8


def test_a_long_chain_keeps_its_arguments():
    body = "s0 = Mul(x, z) " + " ".join(f"s{i + 1} = {'Sub' if i % 2 else 'Add'}(s{i}, x)" for i in range(20))
    g = fused(body + " y = Div(s20, z)")
    assert len(g.nodes) == 1 and len(g.nodes[0].own.steps) == 22


def test_shifted_renames_everything():
    before = (("Add", "x0", "x1"), ("Mul", "t0", 2.0))
    assert shifted(before, 3, {"x0": "t2", "x1": "x5"}) == (("Add", "t2", "x5"), ("Mul", "t3", 2.0))
    assert shifted((("Cast", "x0", "f32"),), 1, {"x0": "x2"}) == (("Cast", "x2", "f32"),)
    assert shifted((("Cast", "t0", "i32"), ("Add", "t0", "acc")), 2, {}) == (
        ("Cast", "t2", "i32"),
        ("Add", "t2", "acc"),
    )
