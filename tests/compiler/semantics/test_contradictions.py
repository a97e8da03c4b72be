"""Models that contradict themselves: attributes and shapes that do not fit together are typed errors that say so."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.passes.expand import expand

WEIGHTS = {
    "w": np.zeros((4, 3, 3, 3), np.float32),
    "b": np.zeros(3, np.float32),
    "pairs": np.array([[0, 1], [1, 0]]),
    "one": np.array([1]),
    "many": np.array([9]),
    "ends": np.array([1, 1]),
    "flags": np.array([True] * 9),
    "factors": np.array([1, 1, -2, 1], np.float32),
    "lw": np.zeros((1, 16, 3), np.float32),
    "lr": np.zeros((1, 16, 4), np.float32),
    "step": np.array(0),
}
IMAGE, ROWS = "float[1,3,8,8] x", "float[4,5] x"


@pytest.mark.parametrize(
    "inputs, body, message",
    [
        (IMAGE, "Conv<kernel_shape=[5,5]>(x, w)", "do not fit"),
        (IMAGE, "Conv<group=2>(x, w)", "2 groups do not fit"),
        (IMAGE, "Conv(x, w, b)", "do not fit"),
        (IMAGE, "Conv<strides=[0,1]>(x, w)", "strides are"),
        (IMAGE, "Conv<pads=[1,1]>(x, w)", "pads are"),
        (IMAGE, "Conv<dilations=[4,4]>(x, w)", "a window of 9 is larger than 8"),
        (IMAGE, 'Conv<auto_pad="SOME">(x, w)', "auto_pad is 'SOME'"),
        ("float[1,4,8,8] x", "ConvTranspose<pads=[9,9,9,9]>(x, w)", "leaves nothing"),
        ("float[1,4,8,8] x", "ConvTranspose<output_shape=[9]>(x, w)", "output_shape are"),
        ("float[3,4] x", "MaxPool<kernel_shape=[2]>(x)", "no axes to slide along"),
        ("float[3,4] x", "GlobalMaxPool(x)", "nothing but channels"),
        ("float[3,4] x", "InstanceNormalization(x, b, b)", "no instances"),
        (ROWS, "GatherElements(x, one)", "do not fit"),
        (ROWS, "GatherND<batch_dims=1>(x, pairs)", "do not fit"),
        (ROWS, "ScatterND(x, pairs, b)", "do not fit"),
        (ROWS, "ScatterElements(x, pairs, b)", "do not fit"),
        (ROWS, 'ScatterElements<reduction="most">(x, pairs, x)', "reduction is 'most'"),
        (ROWS, "Compress<axis=1>(x, flags)", "longer than"),
        (ROWS, 'Pad<mode="mirror">(x, many)', "mode is 'mirror'"),
        ("float[0] x", 'Pad<mode="edge">(x, ends)', "nothing to repeat"),
        (ROWS, 'Einsum<equation="ij,jk->ik">(x)', "Number of input tensors"),
        (ROWS, 'Einsum<equation="ij->ik">(x)', "label missing"),
        (ROWS, 'Einsum<equation="ij,jk->ik">(x, x)', "j is 5 and 4"),
        (IMAGE, "Resize(x, , factors)", "tell how to resize"),
        (IMAGE, "Resize(x)", "scales or sizes"),
        ("float[5,2,3] x", "LSTM<hidden_size=5>(x, lw, lr)", "do not fit"),
        ("float[5,2,3] x", 'LSTM<hidden_size=4,direction="bidirectional">(x, lw, lr)', "do not fit"),
        ("float[5,2,3] x", 'LSTM<hidden_size=4,activations=["Tanh"]>(x, lw, lr)', "1 activations"),
        ("float[5,2,3] x", "DFT(x)", "no complex numbers"),
        ("float[5,20,1] x", "STFT(x, step)", "neither a window nor a length"),
        ("float[5,20,1] x", "STFT(x, step, b)", "no frames"),
    ],
)
def test_contradiction(inputs: str, body: str, message: str) -> None:
    weights = {name: array for name, array in WEIGHTS.items() if f"{name}," in body or f"{name})" in body}
    with pytest.raises(BadModel, match=message):
        expand(graph(f"main ({inputs}) => (float[N] y) {{ y = {body} }}", weights, opset=20))
