"""Attention of three axes gets a fourth; other products stay."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph, ops, unchanged

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.passes.canonical import canonical
from intaglio.compiler.passes.fold import fold
from intaglio.compiler.passes.fuse_attention import fuse_attention
from intaglio.compiler.passes.split_heads import split_heads

W = {
    "split": np.array([1, -1, 2, 4]),
    "join": np.array([0, 0, -1]),
    "three": np.array([2, -1, 4]),
    "half": np.array(0.5, np.float32),
    "slopes": np.array([[[0.5]], [[0.25]]], np.float32),
    "ax0": np.array([0]),
}
OPERANDS = "".join(
    f"{x}0 = Reshape(x{x}, split) {x}1 = Transpose<perm=[0,2,1,3]>({x}0) {x} = Reshape({x}1, three) " for x in "qkv"
)
SCORES = "kt = Transpose<perm=[0,2,1]>(k) scores = MatMul(q, kt) "
OUT = "o = MatMul(p, v) o0 = Unsqueeze(o, ax0) o1 = Transpose<perm=[0,2,1,3]>(o0) y = Reshape(o1, join) "
BODIES = {
    "scores of three axes": SCORES + "s = Mul(scores, half) p = Softmax<axis=2>(s) ",
    "a mask of four axes": SCORES
    + "s0 = Unsqueeze(scores, ax0) s1 = Add(s0, mask) s = Squeeze(s1, ax0) p = Softmax<axis=-1>(s) ",
    "scores of four axes": SCORES + "s = Unsqueeze(scores, ax0) p0 = Softmax<axis=3>(s) p = Squeeze(p0, ax0) ",
    "a bias of three axes": SCORES
    + "s0 = Add(scores, slopes) s1 = Unsqueeze(s0, ax0) s = Add(s1, mask) p0 = Softmax<axis=-1>(s)"
    + " p = Squeeze(p0, ax0) ",
}


def attention(body: str) -> Graph:
    inputs = "float[1,T,8] xq, float[1,T,8] xk, float[1,T,8] xv, float[1,1,T,T] mask"
    g = graph(f"main ({inputs}) => (float y) {{ {OPERANDS} {body} {OUT} }}", W)
    fold(g)
    canonical(g)
    return g


@pytest.mark.parametrize("name", BODIES)
def test_attention_is_recognised(name: str) -> None:
    g = attention(BODIES[name])
    assert unchanged(g, split_heads) > 0
    canonical(g)
    assert unchanged(g, fuse_attention) > 0
    assert ops(g)["Attention"] == 1 and ops(g)["MatMul"] == 0


NEAR_MISSES = {
    "no softmax": SCORES + "p = Sigmoid(scores) ",
    "a softmax of no product": "m = Squeeze(mask, ax0) p = Softmax<axis=-1>(m) ",
    "a softmax over the queries": SCORES + "p = Softmax<axis=1>(scores) ",
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_near_misses(name: str) -> None:
    assert unchanged(attention(NEAR_MISSES[name]), split_heads) == 0
