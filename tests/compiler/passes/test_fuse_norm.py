"""LayerNorm and RMSNorm in the spellings of the exporters, and what only looks like one."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import T, graph, ops, random, unchanged

from intaglio.compiler.passes.canonical import canonical
from intaglio.compiler.passes.fuse_norm import LayerNorm, fuse_norm
from intaglio.compiler.rewrite.pattern import apply

W = {
    "scale": random(8, seed=1),
    "bias": random(8, seed=2),
    "square_scale": random(4, seed=1),
    "square_bias": random(4, seed=2),
    "column": random(8, 1, seed=3),
    "of_heads": random(2, 8, seed=4),
    "one": np.array(1, np.float32),
    "eps": np.array(1e-5, np.float32),
    "eps1": np.array([1e-5], np.float32),
    "half": np.array(0.5, np.float32),
    "two": np.array(2, np.float32),
    "three": np.array(3, np.float32),
    "last": np.array([-1]),
    "first": np.array([0]),
}
MEAN = "ReduceMean<axes=[-1]>"


def norm(
    mean: str = f"{MEAN}(x)",
    square: str = "Pow(d, two)",
    variance: str = f"{MEAN}(p)",
    eps: str = "Add(v, eps)",
    quotient: str = "Div(d, s)",
    scaled: str = "Mul(q, scale)",
    shifted: str = "Add(r, bias)",
    more: str = "",
) -> str:
    return (
        f"m = {mean} d = Sub(x, m) p = {square} v = {variance} e = {eps} s = Sqrt(e) {more}"
        f" q = {quotient} r = {scaled} y = {shifted}"
    )


def fired(body: str, shape: str = "float[1,T,8]", opset: int = 14, outputs: str = "float y") -> int:
    g = graph(f"main ({shape} x) => ({outputs}) {{ {body} }}", W, opset)
    canonical(g)
    count = unchanged(g, lambda g: apply(g, LayerNorm).fired)
    assert ops(g)["LayerNormalization"] == count
    if count:
        assert len(g.nodes) == 1
    return count


@pytest.mark.parametrize(
    "body",
    [
        norm(),  # torch's TorchScript exporter at opset 14
        norm(mean="ReduceMean<axes=[2]>(x)", variance="ReduceMean<axes=[2], keepdims=1>(p)"),
        norm(square="Mul(d, d)"),
        norm(eps="Add(eps1, v)"),
        norm(scaled="Mul(scale, q)", shifted="Add(bias, r)"),
        norm(quotient="Mul(d, i)", more="i = Reciprocal(s)"),
        norm(quotient="Mul(i, d)", more="i = Reciprocal(s)"),
    ],
)
def test_spellings(body):
    assert fired(body) == 1


def test_axes_as_an_input():
    mean = "ReduceMean(x, last)"
    assert fired(norm(mean=mean, variance="ReduceMean(p, last)"), opset=18) == 1


def test_the_operator_that_it_becomes():
    g = graph(f"main (float[1,T,8] x) => (float[1,T,8] y) {{ {norm()} }}", W, opset=14)
    canonical(g)
    fuse_norm(g)
    (node,) = g.nodes
    assert node.attrs["axis"] == -1 and node.attrs["epsilon"] == pytest.approx(1e-5)
    assert [v.name for v in node.inputs] == ["x", "scale", "bias"]


@pytest.mark.parametrize(
    "body",
    [
        norm(mean="ReduceMean<axes=[1]>(x)"),  # the mean over the tokens
        norm(variance="ReduceMean<axes=[1]>(p)"),
        norm(square="Pow(d, three)"),
        norm(square="Mul(d, x)"),
        norm(quotient="Div(x, s)"),
        norm(quotient="Div(s, d)"),
        norm(eps="Max(v, eps)"),
        norm(eps="Add(v, scale)"),  # not one number
        norm(scaled="Add(q, scale)"),
        norm(shifted="Sub(r, bias)"),
        norm(scaled="Mul(q, m)"),  # not a constant row
    ],
)
def test_near_misses(body):
    assert fired(body) == 0


NO_BIAS = norm(shifted="Abs(r)")


@pytest.mark.parametrize(
    "body, left",
    [
        (NO_BIAS, 0),
        (norm(shifted="Abs(r)", quotient="Mul(d, i)", more="i = Reciprocal(s)"), 0),
        (norm(shifted="Abs(r)", quotient="Mul(d, i)", more="i = Div(one, s)"), 0),
        (norm(shifted="Abs(r)", scaled="Mul(q, of_heads)"), 1),  # Cohere: a scale for each number of each head
    ],
)
def test_norms_without_a_bias(body, left):
    g = graph(f"main (float[1,T,2,8] x) => (float y) {{ {body} }}", W, opset=14)
    canonical(g)
    assert unchanged(g, fuse_norm) == 1
    assert ops(g) == {"LayerNormalization": 1, "Abs": 1} | ({"Mul": 1} if left else {})


def test_near_misses_of_norms_without_a_bias():
    for more in ({"quotient": "Div(x, s)"}, {"square": "Mul(d, x)"}, {"eps": "Add(v, scale)"}):
        body = norm(shifted="Abs(r)", **more)
        g = graph(f"main (float[1,T,8,8] x) => (float y) {{ {body} }}", W, opset=14)
        canonical(g)
        assert unchanged(g, fuse_norm) == 0


def test_a_mean_that_drops_its_axis():
    """On a square the missing axis still broadcasts, along the other one."""
    body = (
        norm(mean="ReduceMean<axes=[-1], keepdims=0>(x)")
        .replace("scale", "square_scale")
        .replace("bias", "square_bias")
    )
    assert fired(body, shape="float[4,4]") == 0
    body = norm(variance="ReduceMean<axes=[-1], keepdims=0>(p)")
    assert fired(body.replace("scale", "square_scale").replace("bias", "square_bias"), shape="float[4,4]") == 0


def test_a_scale_for_each_row():
    assert fired(norm(scaled="Mul(q, column)"), shape="float[8,8]") == 0


def test_an_inner_value_that_is_read_elsewhere():
    assert fired(norm() + " z = Abs(d)", outputs="float y, float z") == 0
    assert fired(norm(), outputs="float y, float v") == 0


def test_a_row_of_higher_rank():
    g = graph(f"main (float[1,T,8] x) => (float y) {{ {norm()} }}", W | {"scale": random(1, 1, 8)}, opset=14)
    canonical(g)
    assert unchanged(g, fuse_norm) == 1
    assert g.nodes[0].inputs[1].shape == (8,)


def test_reference():
    x, scale, bias = random(3, 8), random(8, seed=1), random(8, seed=2)
    centred = x - x.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale + bias
    actual = LayerNorm.reference(x=x, scale=scale, bias=bias, eps=np.array(1e-5, np.float32))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


# RMSNorm


RMS_W = W | {"one": np.array(1, np.float32), "minus_half": np.array(-0.5, np.float32)}


def rms(
    square: str = "Pow(x, two)", mean: str = f"{MEAN}(p)", q: str = "q = Div(x, s)", y: str = "Mul(q, scale)"
) -> str:
    return f"p = {square} v = {mean} e = Add(v, eps) s = Sqrt(e) {q} y = {y}"


RMS = [
    rms(),
    rms(square="Mul(x, x)"),
    rms(y="Mul(scale, q)"),
    rms(q="i = Div(one, s) q = Mul(x, i)"),  # torch's TorchScript exporter
    rms(q="i = Reciprocal(s) q = Mul(x, i)"),  # torch's dynamo exporter
    rms(q="i = Pow(e, minus_half) q = Mul(i, x)"),
]


@pytest.mark.parametrize("body", RMS)
def test_rms_spellings(body):
    g = graph(f"main (float[1,T,8] x) => (float y) {{ {body} }}", RMS_W, opset=14)
    canonical(g)
    assert unchanged(g, fuse_norm) == 1
    assert [n.op for n in g.nodes] == ["RMSNormalization"]


@pytest.mark.parametrize(
    "body",
    [rms(square="Pow(x, three)"), rms(mean="ReduceMean<axes=[1]>(p)"), rms(q="q = Div(s, x)"), rms(y="Add(q, scale)")],
)
def test_rms_near_misses(body):
    g = graph(f"main (float[1,T,8] x) => (float y) {{ {body} }}", RMS_W, opset=14)
    canonical(g)
    assert unchanged(g, fuse_norm) == 0


def test_norms_of_heads_come_before_the_heads_move():
    body = "h = Reshape(x, split) x0 = Transpose<perm=[0,2,1,3]>(h) " + rms().replace("x,", "x0,").replace(
        "(x)", "(x0)"
    )
    g = graph(f"main (float[1,T,16] x) => (float y) {{ {body} }}", RMS_W | {"split": np.array([0, 0, 2, 8])}, 14)
    canonical(g)
    unchanged(g, fuse_norm)
    assert [n.op for n in g.nodes] == ["Reshape", "RMSNormalization", "Transpose"]


@pytest.mark.parametrize("shape", [[0, -1, 8], [-1, 8]])
def test_norms_of_heads_one_after_the_other(shape):
    """GenAI's builder: all tokens' heads are rows of one axis."""
    body = "h = Reshape(x, split) n = RMSNormalization(h, s) y = Reshape(n, join)"
    weights = {"split": np.array(shape), "join": np.array([1, -1, 16]), "s": random(8)}
    g = graph(f"main (float[1,T,16] x) => (float[1,T,16] y) {{ {body} }}", weights, 23)
    canonical(g)
    unchanged(g, fuse_norm)
    (norm,) = [n for n in g.nodes if n.op == "RMSNormalization"]
    assert norm.output.shape == (1, T, 2, 8)
    assert fuse_norm(g) == 0
