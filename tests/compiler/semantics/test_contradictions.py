"""Models that contradict themselves: attributes and shapes that do not match give a BadModel with the facts."""

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
        (IMAGE, "Conv<kernel_shape=[5,5]>(x, w)", r"f32\[4,3,3,3\] .*f32\[1,3,8,8\]"),
        (IMAGE, "Conv<group=2>(x, w)", "2 groups"),
        (IMAGE, "Conv(x, w, b)", r"f32\[3\] .*f32\[1,3,8,8\]"),
        (IMAGE, "Conv<strides=[0,1]>(x, w)", r"strides is \[0, 1\]"),
        (IMAGE, "Conv<pads=[1,1]>(x, w)", "pads is .*4 integers"),
        (IMAGE, "Conv<dilations=[4,4]>(x, w)", "a window of 9 is larger than 8"),
        (IMAGE, 'Conv<auto_pad="SOME">(x, w)', "auto_pad is 'SOME'"),
        ("float[1,4,8,8] x", "ConvTranspose<pads=[9,9,9,9]>(x, w)", "removes all"),
        ("float[1,4,8,8] x", "ConvTranspose<output_shape=[9]>(x, w)", "output_shape is .*2 integers"),
        ("float[3,4] x", "MaxPool<kernel_shape=[2]>(x)", r"\[batch, channels, ...\], got f32\[3,4\]"),
        ("float[3,4] x", "GlobalMaxPool(x)", r"\[batch, channels, ...\], got f32\[3,4\]"),
        ("float[3,4] x", "InstanceNormalization(x, b, b)", r"\[batch, channels, ...\], got f32\[3,4\]"),
        (ROWS, "GatherElements(x, one)", r"i64\[1\] .*f32\[4,5\]"),
        (ROWS, "GatherND<batch_dims=1>(x, pairs)", r"i64\[2,2\] .*f32\[4,5\]"),
        (ROWS, "ScatterND(x, pairs, b)", r"updates f32\[3\]"),
        (ROWS, "ScatterElements(x, pairs, b)", r"updates f32\[3\]"),
        (ROWS, 'ScatterElements<reduction="most">(x, pairs, x)', "reduction is 'most'"),
        (ROWS, "Compress<axis=1>(x, flags)", "longer than"),
        (ROWS, 'Pad<mode="mirror">(x, many)', "mode is 'mirror'"),
        ("float[0] x", 'Pad<mode="edge">(x, ends)', "axis 0 .*is empty"),
        (ROWS, 'Einsum<equation="ij,jk->ik">(x)', "Number of input tensors"),
        (ROWS, 'Einsum<equation="ij->ik">(x)', "label missing"),
        (ROWS, 'Einsum<equation="ij,jk->ik">(x, x)', "j has the two sizes 5 and 4"),
        (IMAGE, "Resize(x, , factors)", "expected 4 positive numbers"),
        (IMAGE, "Resize(x)", "scales or sizes"),
        ("float[5,2,3] x", "LSTM<hidden_size=5>(x, lw, lr)", "lw.* 5 units"),
        ("float[5,2,3] x", 'LSTM<hidden_size=4,direction="bidirectional">(x, lw, lr)', "lw.* 4 units"),
        ("float[5,2,3] x", 'LSTM<hidden_size=4,activations=["Tanh"]>(x, lw, lr)', "1 activations, expected 3"),
        ("float[5,2,3] x", "DFT(x)", r"complex numbers .*f32\[5,2,3\]"),
        ("float[5,20,1] x", "STFT(x, step)", "a window or a frame_length"),
        ("float[5,20,1] x", "STFT(x, step, b)", "steps of 0"),
    ],
)
def test_contradiction(inputs: str, body: str, message: str) -> None:
    weights = {name: array for name, array in WEIGHTS.items() if f"{name}," in body or f"{name})" in body}
    with pytest.raises(BadModel, match=message):
        expand(graph(f"main ({inputs}) => (float[N] y) {{ y = {body} }}", weights, opset=20))
