"""Models that are no transformers, as exporters write them: compiled, with sizes that vary or are bound, and run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from parity import assert_equal, onnxruntime_outputs

import intaglio

CLASSIFIER = """
main (float[N,3,32,32] image) => (float[N,10] probabilities) {
  a = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
  b = BatchNormalization(a, s1, t1, m1, v1)
  c = Relu(b)
  d = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (c)
  e = Conv <group = 8, pads = [1, 1, 1, 1]> (d, w2)
  f = BatchNormalization(e, s1, t1, m1, v1)
  g = Clip(f, zero, six)
  h = Conv(g, w3, b3)
  i = Add(h, d)
  j = GlobalAveragePool(i)
  k = Flatten(j)
  l = Gemm <transB = 1> (k, w4, b4)
  probabilities = Softmax(l)
}"""
UNET = """
main (float[1,2,H,W] image) => (float[1,1,H,W] mask) {
  a = Conv <pads = [1, 1, 1, 1]> (image, v1)
  b = LeakyRelu(a)
  c = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (b)
  d = Conv <pads = [2, 2, 2, 2], dilations = [2, 2]> (c, v2)
  e = InstanceNormalization(d, u, u)
  f = Resize <mode = "linear"> (e, , factors)
  g = ConvTranspose <strides = [2, 2]> (d, v3)
  h = Concat <axis = 1> (b, f, g)
  i = Conv(h, v4)
  mask = Sigmoid(i)
}"""
TAGGER = """
main (int64[N,T] words) => (int64[N,T] tags) {
  a = Gather(table, words)
  b = Transpose <perm = [1, 0, 2]> (a)
  c, d, e = LSTM <hidden_size = 6, direction = "bidirectional"> (b, lw, lr, lb)
  f = Transpose <perm = [2, 0, 1, 3]> (c)
  g = Reshape(f, flat)
  h = MatMul(g, head)
  tags = ArgMax <axis = -1, keepdims = 0> (h)
}"""
SHAPES = {
    CLASSIFIER: {
        "w1": (8, 3, 3, 3),
        "b1": (8,),
        **dict.fromkeys(("s1", "t1", "m1", "v1"), (8,)),
        "w2": (8, 1, 3, 3),
        "w3": (8, 8, 1, 1),
        "b3": (8,),
        "w4": (10, 8),
        "b4": (10,),
    },
    UNET: {"v1": (4, 2, 3, 3), "v2": (6, 4, 3, 3), "u": (6,), "v3": (6, 2, 2, 2), "v4": (1, 12, 1, 1)},
    TAGGER: {"table": (50, 8), "lw": (2, 24, 8), "lr": (2, 24, 6), "lb": (2, 48), "head": (12, 5)},
}
GIVEN = {
    CLASSIFIER: {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)},
    UNET: {"factors": np.array([1, 1, 2, 2], np.float32)},
    TAGGER: {"flat": np.array([0, 0, 12])},
}


def model(text: str) -> onnx.ModelProto:
    """With random weights, whose variances are positive."""
    random = np.random.default_rng(0)
    made = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]> {text}')
    weights = {name: random.standard_normal(shape).astype(np.float32) / 2 for name, shape in SHAPES[text].items()}
    weights |= {name: np.abs(weights[name]) for name in weights if name == "v1" and text == CLASSIFIER}
    for name, array in (weights | GIVEN[text]).items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return made


def check(text: str, folder: Path, feeds: list[dict[str, np.ndarray]], **bind: int) -> intaglio.Bundle:
    made = model(text)
    bundle = intaglio.compile(made, folder, bind=bind)
    for feed in feeds:
        assert_equal(bundle.run(feed), onnxruntime_outputs(made, feed), rtol=1e-4, atol=1e-5)
    assert all(result.passed for result in bundle.verify())
    return bundle


def images(*shape: int) -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}


def test_classifier_of_any_number_of_images(tmp_path: Path) -> None:
    bundle = check(CLASSIFIER, tmp_path / "b", [images(n, 3, 32, 32) for n in (1, 3)])
    steps = bundle.plan.programs["main"].steps
    assert sum(step.kernel.startswith("conv2d") for step in steps) == 3
    # three convolutions with all that is done element by element, two pools, the product and the softmax
    assert bundle.report["dispatches"]["main"] == 7


def test_batch_norms_after_convolutions_are_part_of_them(tmp_path: Path) -> None:
    check(CLASSIFIER, tmp_path / "b", [images(1, 3, 32, 32)], N=1)
    names = {path.stem for path in (tmp_path / "b" / "kernels").iterdir()}
    assert not any("sqrt" in name for name in names)


@pytest.mark.parametrize("height, width", [(8, 8), (12, 20)])
def test_segmentation_of_a_bound_size(height: int, width: int, tmp_path: Path) -> None:
    check(UNET, tmp_path / "b", [images(1, 2, height, width)], H=height, W=width)


def test_segmentation_of_any_even_size(tmp_path: Path) -> None:
    """It halves images and doubles them again, so their sizes are even."""
    bundle = check(UNET, tmp_path / "b", [images(1, 2, *size) for size in ((8, 8), (2, 20), (36, 14))])
    with pytest.raises(ValueError, match=r"image"):
        bundle.run(images(1, 2, 9, 8))


def test_tagger_of_bound_and_of_many_sequences(tmp_path: Path) -> None:
    words = [{"words": np.random.default_rng(n).integers(0, 50, (n, 7))} for n in (1, 4)]
    check(TAGGER, tmp_path / "b", words, T=7)
