"""Small models whose sizes are free, against onnxruntime at the ends of their ranges and at odd sizes between."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from parity import Arrays, assert_equal, onnxruntime_outputs

import intaglio
import tint

HEAD = '<ir_version: 10, opset_import: ["" : 21]> main '
# name: the model, its sizes, and the sizes to try
MODELS: dict[str, tuple[str, dict[str, range], list[dict[str, int]]]] = {
    "convolution": (
        "(float[1,3,N] x) => (float[1,5,M] y) <float[5,3,9] w, float[5] b>"
        "{ c = Conv <strides = [4]> (x, w, b) y = Relu(c) }",
        {"N": range(9, 65)},
        [{"N": n} for n in (9, 10, 12, 13, 40, 64)],
    ),
    "convolutions one after the other": (
        "(float[1,4,N] x) => (float[1,4,M] y) <float[4,4,3] w>"
        "{ a = Conv <strides = [2], pads = [1, 1]> (x, w) b = Relu(a) c = Conv <strides = [2], pads = [1, 1]> (b, w)"
        "  d = Tanh(c) y = Conv <strides = [3]> (d, w) }",
        {"N": range(9, 101)},
        [{"N": n} for n in (9, 10, 11, 12, 13, 33, 99, 100)],
    ),
    "images of any size": (
        "(float[B,2,H,W] x) => (float[B,4,P,Q] y) <float[4,2,3,3] w>"
        "{ c = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w) r = Relu(c)"
        "  y = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (r) }",
        {"B": range(1, 4), "H": range(4, 20), "W": range(4, 20)},
        [{"B": b, "H": h, "W": w} for b, h, w in ((1, 4, 4), (3, 19, 19), (2, 7, 10), (2, 18, 5))],
    ),
    "means of windows": (
        "(float[1,2,N] x) => (float[1,2,M] y)"
        "{ y = AveragePool <kernel_shape = [4], strides = [3], pads = [1, 2], count_include_pad = 1> (x) }",
        {"N": range(1, 33)},
        [{"N": n} for n in (1, 2, 3, 4, 7, 32)],
    ),
    "rows of all batches": (
        "(float[B,N,8] x) => (float[B,N,6] y) <float[8,6] w>"
        "{ n = Constant <value_ints = [-1, 8]> () s = Shape(x) r = Reshape(x, n) p = MatMul(r, w) t = Tanh(p)"
        "  i = Constant <value_ints = [0]> () e = Constant <value_ints = [2]> () d = Slice(s, i, e)"
        "  six = Constant <value_ints = [6]> () o = Concat <axis = 0> (d, six) y = Reshape(t, o) }",
        {"B": range(1, 5), "N": range(1, 17)},
        [{"B": b, "N": n} for b, n in ((1, 1), (4, 16), (3, 7))],
    ),
}


def model_of(text: str) -> onnx.ModelProto:
    """A model with random numbers for the weights that its head declares."""
    model = onnx.parser.parse_model(HEAD + text)
    random = np.random.default_rng(0)
    for declared in list(model.graph.value_info):
        shape = [d.dim_value for d in declared.type.tensor_type.shape.dim]
        array = random.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, declared.name))
    return model


def feeds(model: onnx.ModelProto, sizes: dict[str, int]) -> Arrays:
    random = np.random.default_rng(1)
    shapes = {
        i.name: [sizes.get(d.dim_param, d.dim_value) for d in i.type.tensor_type.shape.dim] for i in model.graph.input
    }
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, intaglio.Bundle]:
    folder = tmp_path_factory.mktemp("free")
    return {
        name: intaglio.compile(model_of(text), folder / str(i), bind=bind)
        for i, (name, (text, bind, _)) in enumerate(MODELS.items())
    }


@pytest.mark.parametrize("name", MODELS)
def test_free_sizes(name: str, bundles: dict[str, intaglio.Bundle]) -> None:
    text, bind, sizes = MODELS[name]
    model = model_of(text)
    for chosen in sizes:
        inputs = feeds(model, chosen)
        assert_equal(bundles[name].run(inputs), onnxruntime_outputs(model, inputs), rtol=1e-4, atol=1e-5)
    assert set(bundles[name].plan.bound) == {f"n_{size}" for size in bind}
    assert all(result.passed for result in bundles[name].verify())


def test_chrome_takes_every_shader(bundles: dict[str, intaglio.Bundle]) -> None:
    assert not tint.wrong(bundle.folder for bundle in bundles.values())
