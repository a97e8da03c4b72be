"""Expand: what is written out computes the same as what it replaces, by ONNX's reference implementation."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph, ops, random, unchanged

from intaglio.compiler.expansions import EXPANSIONS
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.passes.expand import expand

WEIGHTS = {
    "w": random(1, 16, 3),
    "r": random(1, 16, 4, seed=1),
    "b": random(1, 32, seed=2),
    "p": random(1, 12, seed=3),
    "w3": random(2, 9, 3, seed=4),
    "r3": random(2, 9, 3, seed=5),
    "b3": random(2, 18, seed=6),
    "w1": random(1, 5, 3, seed=7),
    "r1": random(1, 5, 5, seed=8),
    "row": random(3, seed=9),
    "two": np.array([2]),
    "pads": np.array([0, 1, 0, 2]),
    "indices": np.array([[[[5, 7], [8, 11]]]]),
    "factors": np.array([1, 1, 2, 1.5], np.float32),
}


@pytest.mark.parametrize(
    "text",
    [
        "(float[2,T,3] x) => (float[2,T,4] y) { y = Einsum<equation='btd,de->bte'>(x, e) }",
        "(float[T,3,4,4] x) => (float[T,3,4,4] y) { y = BatchNormalization(x, row, row, row, m) }",
        "(float[T,3,4,4] x) => (float[T,3,4,4] y) { y = InstanceNormalization(x, row, row) }",
        "(float[3,3,4,4] x) => (float[3,3,4,4] y) { y = LRN<size=3>(x) }",
        "(float[T,3] x) => (float[T,3] y) { y = LpNormalization(x) }",
        "(float[T,3,4,4] x) => (float[T,3,1,1] y) { y = GlobalAveragePool(x) }",
        "(float[T,3] x) => (float[T,6] y) { y = Pad<mode='reflect'>(x, pads) }",
        "(float[T,3] x) => (float[T,3] y) "
        "{ n = Shape<end=1>(x) l = Expand(two, n) y = ReverseSequence<batch_axis=0,time_axis=1>(x, l) }",
        "(float[1,1,2,2] x) => (float[1,1,4,4] y) { y = MaxUnpool<kernel_shape=[2,2],strides=[2,2]>(x, indices) }",
        "(float[T,1,4,4] x) => (float[T,1,8,6] y) { y = Resize<mode='linear'>(x, , factors) }",
        "(float[5,T,3] x) => (float[5,1,T,4] y, float[1,T,4] h, float[1,T,4] c) "
        "{ y, h, c = LSTM<hidden_size=4>(x, w, r, b, , , , p) }",
        "(float[5,T,3] x) => (float[5,1,T,4] y) { y = LSTM<hidden_size=4,direction='reverse'>(x, w, r) }",
        "(float[T,5,3] x) => (float[T,5,2,3] y, float[T,2,3] h) "
        "{ y, h = GRU<hidden_size=3,direction='bidirectional',layout=1>(x, w3, r3, b3) }",
        "(float[5,T,3] x) => (float[5,2,T,3] y) "
        "{ y = GRU<hidden_size=3,direction='bidirectional',linear_before_reset=1>(x, w3, r3, b3) }",
        "(float[5,T,3] x) => (float[5,1,T,5] y, float[1,T,5] h) { y, h = RNN<hidden_size=5>(x, w1, r1) }",
    ],
)
def test_written_out(text: str) -> None:
    weights = WEIGHTS | {"e": random(3, 4), "m": np.abs(random(3))}
    g = graph(f"main {text}".replace("'", '"'), {k: v for k, v in weights.items() if k in text}, opset=22)
    assert unchanged(g, expand) == 1
    assert not ops(g).keys() & EXPANSIONS.keys() - {"Pad"}


def test_sizes_that_vary_may_multiply() -> None:
    g = graph('main (float[T,S,3] x, float[3] e) => (float[T,S] y) { y = Einsum<equation="abc,c->ab">(x, e) }')
    assert expand(g) == 1 and "Einsum" not in ops(g)


def test_unknown_activation() -> None:
    text = 'main (float[5,1,3] x) => (float[5,1,1,5] y) { y = RNN<hidden_size=5, activations=["Hm"]>(x, w1, r1) }'
    with pytest.raises(BadModel, match=r"RNN .*activation Hm"):
        expand(graph(text, {k: WEIGHTS[k] for k in ("w1", "r1")}, opset=22))


@pytest.mark.parametrize(
    "convolution, shape",
    [
        ("Conv(x, w, b)", (6, 4, 3, 2)),
        ("Conv<group=2>(x, w)", (6, 2, 3, 2)),
        ("ConvTranspose(x, w, b)", (4, 6, 3, 2)),
    ],
)
def test_a_batch_norm_is_part_of_the_convolution_before_it(convolution, shape):
    weights = {name: random(6, seed=i) for i, name in enumerate("bstm")} | {"v": np.abs(random(6)), "w": random(*shape)}
    g = graph(
        f"main (float[T,4,5,5] x) => (float y) {{ a = {convolution} y = BatchNormalization(a, s, t, m, v) }}", weights
    )
    assert unchanged(g, expand)
    assert ops(g).keys() - {convolution.partition("<")[0].partition("(")[0]} == {"Identity"}
