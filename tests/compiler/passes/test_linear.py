"""Linear layers: products with a weight, biases, and convolutions over time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from graphs import graph, ops, random, unchanged

from intaglio.compiler.passes.canonical import canonical
from intaglio.compiler.passes.linear import linear

W = {
    "w": random(8, 12, seed=1),
    "bias": random(12, seed=2),
    "bias3": random(1, 1, 12, seed=2),
    "rows": random(1, 4, 12, seed=3),
    "eight": random(8, seed=4),
    "number": np.array(2, np.float32),
    "batched": random(1, 8, 12, seed=5),
}


def made(body: str, inputs: str = "float[1,T,8] x", outputs: str = "float y") -> dict[str, int]:
    g = graph(f"main ({inputs}) => ({outputs}) {{ {body} }}", W)
    unchanged(g, linear)
    return ops(g)


@pytest.mark.parametrize(
    "body",
    [
        "y = MatMul(x, w)",
        "a = MatMul(x, w) y = Add(a, bias)",  # dynamo
        "a = MatMul(x, w) y = Add(bias, a)",  # TorchScript
    ],
)
def test_spellings(body):
    assert made(body) == {"Linear": 1}
    assert made(body, "float[T,8] x") == {"Linear": 1}
    assert made(body, "float[2,3,T,8] x") == {"Linear": 1}


def test_gemm():
    g = graph("main (float[T,8] x) => (float y) { y = Gemm<transB=1>(x, wt, bias) }", W | {"wt": random(12, 8)})
    canonical(g)
    assert unchanged(g, linear) == 2
    assert ops(g) == {"Linear": 1}


def test_the_weight_is_stored_by_outputs():
    g = graph("main (float[1,T,8] x) => (float y) { a = MatMul(x, w) y = Add(a, bias) }", W)
    linear(g)
    (node,) = g.nodes
    assert [str(v.type) for v in node.inputs] == ["f32[1,T,8]", "f32[12,8]", "f32[12]"]
    assert np.shares_memory(node.inputs[1].const, node.inputs[1].const.T.base)


@pytest.mark.parametrize(
    "body, expected",
    [
        ("a = MatMul(x, w) y = Add(a, bias3)", {"Linear": 1, "Add": 1}),
        ("a = MatMul(x, w) y = Add(a, number)", {"Linear": 1, "Add": 1}),
        ("a = MatMul(x, w) y = Sub(a, bias)", {"Linear": 1, "Sub": 1}),
        ("a = MatMul(x, w) b = MatMul(x, w) y = Add(a, b)", {"Linear": 2, "Add": 1}),
        ("y = MatMul(x, batched)", {"MatMul": 1}),
        ("y = MatMul(x, eight)", {"MatMul": 1}),  # a matrix times a vector
        ("t = Transpose<perm=[0,2,1]>(x) y = MatMul(x, t)", {"Transpose": 1, "MatMul": 1}),
    ],
)
def test_near_misses(body, expected):
    assert made(body) == expected


def test_a_product_that_is_read_without_its_bias():
    body = "a = MatMul(x, w) y = Add(a, bias) z = Abs(a)"
    assert made(body, outputs="float y, float z") == {"Linear": 1, "Add": 1, "Abs": 1}
    assert made("a = MatMul(x, w) y = Add(a, bias)", outputs="float y, float a") == {"Linear": 1, "Add": 1}


@pytest.mark.parametrize("element", ["double", "int32", "float16"])
def test_other_element_types_stay(element):
    g = graph(f"main ({element}[2,8] x, {element}[8,12] v) => ({element}[2,12] y) {{ y = MatMul(x, v) }}")
    assert linear(g) == 0
    kind = {"double": np.float64, "int32": np.int32, "float16": np.float16}[element]
    g = graph(f"main ({element}[2,8] x) => ({element}[2,12] y) {{ y = MatMul(x, v) }}", {"v": np.ones((8, 12), kind)})
    assert linear(g) == 0 and ops(g) == {"MatMul": 1}


# convolutions


def conv(attrs: str, weight: np.ndarray, bias: bool = True, x: str = "float[1,6,20] x") -> tuple[int, dict[str, int]]:
    inputs = "x, w, b" if bias else "x, w"
    attrs = f"<{attrs}>" if attrs else ""
    g = graph(f"main ({x}) => (float y) {{ y = Conv{attrs}({inputs}) }}", {"w": weight, "b": random(len(weight))})
    count = unchanged(g, linear)
    canonical(g)
    return count, ops(g)


@pytest.mark.parametrize(
    "kernel, stride, pad, bias", list(itertools.product((1, 3, 5, 20), (1, 2, 7), (0, 1, 2), (True, False)))
)
def test_convolutions_over_time(kernel, stride, pad, bias):
    attrs = f"strides=[{stride}], pads=[{pad},{pad}]"
    count, kinds = conv(attrs, random(4, 6, kernel), bias)
    assert count == 1 and kinds["Linear"] == 1 and "Conv" not in kinds


def test_defaults_of_a_convolution():
    assert conv("", random(4, 6, 3)) == (1, {"Linear": 1, "Transpose": 2})


@pytest.mark.parametrize(
    "attrs, weight, x",
    [
        ("dilations=[2]", random(4, 6, 3), "float[1,6,20] x"),
        ("group=2", random(4, 3, 3), "float[1,6,20] x"),
        ("pads=[0,2]", random(4, 6, 3), "float[1,6,20] x"),
        ('auto_pad="SAME_UPPER"', random(4, 6, 3), "float[1,6,20] x"),
        ("pads=[1,1]", random(4, 6, 3), "float[2,6,20] x"),
        ("pads=[1,1,1,1]", random(4, 6, 3, 3), "float[1,6,8,8] x"),
    ],
)
def test_other_convolutions_stay(attrs, weight, x):
    assert conv(attrs, weight, x=x) == (0, {"Conv": 1})


def test_a_convolution_with_a_weight_of_the_run():
    g = graph("main (float[1,6,20] x, float[4,6,3] w) => (float y) { y = Conv(x, w) }")
    assert linear(g) == 0


def test_two_convolutions_with_gelu_need_one_transpose():
    """Whisper's encoder: the rows stay time-major from the first convolution to the end."""
    g = graph(
        "main (float[1,6,20] x) => (float y) { a = Conv<pads=[1,1]>(x, w, b) c = Gelu(a)"
        " d = Conv<pads=[1,1], strides=[2]>(c, v, b) e = Gelu(d) y = Transpose<perm=[0,2,1]>(e) }",
        {"w": random(8, 6, 3), "v": random(8, 8, 3), "b": random(8)},
        opset=20,
    )
    unchanged(g, lambda g: linear(g) + canonical(g))
    assert [n.op for n in g.nodes] == ["Transpose", "Linear", "Gelu", "Linear", "Gelu"]


def test_gelu_behind_any_transpose():
    for transpose in ("Transpose", "Transpose<perm=[1,0,2]>"):
        for attrs in ("", '<approximate="tanh">'):
            g = graph(f"main (float[2,T,3] x) => (float y) {{ a = {transpose}(x) y = Gelu{attrs}(a) }}", opset=20)
            assert unchanged(g, linear) == 1
            assert [n.op for n in g.nodes] == ["Gelu", "Transpose"]
