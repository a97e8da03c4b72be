"""Small models whose sizes are free, against onnxruntime at the ends of their ranges and at odd sizes between."""

from __future__ import annotations

from pathlib import Path

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
    "windows that begin behind the end": (
        "(float[B,2,N] x) => (float[B,2,M] y)"
        "{ y = MaxPool <kernel_shape = [2], strides = [3], pads = [1, 1], ceil_mode = 1> (x) }",
        {"B": range(1, 3), "N": range(1, 15)},
        [{"B": 1 + n % 2, "N": n} for n in range(1, 15)],
    ),
    "padding as the strides need it": (
        "(float[1,3,N] x) => (float[1,3,M] y) <float[3,3,3] w>"
        '{ a = Conv <strides = [2], auto_pad = "SAME_LOWER"> (x, w)'
        '  y = MaxPool <kernel_shape = [3], strides = [2], auto_pad = "SAME_UPPER"> (a) }',
        {"N": range(1, 15)},
        [{"N": n} for n in (1, 2, 3, 4, 5, 13, 14)],
    ),
    "frames of a signal": (
        "(float[B,N] x) => (float[B,F,9,2] y) <int64 hop = {5}, float[16] window> { y = STFT(x, hop, window) }",
        {"B": range(1, 4), "N": range(16, 60)},
        [{"B": b, "N": n} for b, n in ((1, 16), (2, 20), (3, 21), (3, 59))],
    ),
    "a recurrent layer after a convolution": (
        "(float[B,3,N] x) => (float[M,1,B,8] y) <float[4,3,5] v, float[1,32,4] w, float[1,32,8] r>"
        "{ a = Conv <strides = [3]> (x, v) t = Transpose <perm = [2,0,1]> (a) y = LSTM <hidden_size = 8> (t, w, r) }",
        {"B": range(1, 3), "N": range(5, 40)},
        [{"B": b, "N": n} for b, n in ((1, 5), (2, 7), (2, 8), (1, 39))],
    ),
    "recurrent layers in both directions": (
        "(float[T,B,3] x) => (float[T,2,B,4] y, float[2,B,4] h) <float[2,12,3] w, float[2,12,4] r>"
        '{ y, h = GRU <hidden_size = 4, direction = "bidirectional"> (x, w, r) }',
        {"T": range(1, 20), "B": range(1, 5)},
        [{"T": t, "B": b} for t, b in ((1, 1), (19, 4), (6, 3))],
    ),
    "attention over a free batch and length": (
        "(float[B,N,8] x) => (float[B,N,8] y) <int64[4] r = {0,0,2,4}, int64[3] q = {0,0,8}>"
        "{ h = Reshape(x, r) t = Transpose <perm = [0,2,1,3]> (h) k = Transpose <perm = [0,2,3,1]> (h)"
        "  s = MatMul(t, k) p = Softmax(s) o = MatMul(p, t) b = Transpose <perm = [0,2,1,3]> (o) y = Reshape(b, q) }",
        {"B": range(1, 4), "N": range(1, 20)},
        [{"B": b, "N": n} for b, n in ((1, 1), (3, 19), (2, 7))],
    ),
    "a Flatten of both": (
        "(float[B,N,4] x) => (float[M,4] y) { f = Flatten <axis = 2> (x) y = Softmax <axis = 0> (f) }",
        {"B": range(1, 4), "N": range(1, 20)},
        [{"B": b, "N": n} for b, n in ((1, 1), (3, 19), (2, 7))],
    ),
    "an image as a sequence": (
        "(float[B,3,H,W] x) => (float[B,L,3] y) <int64[3] r = {0,3,-1}>"
        "{ q = Reshape(x, r) y = Transpose <perm = [0,2,1]> (q) }",
        {"B": range(1, 4), "H": range(1, 9), "W": range(1, 9)},
        [{"B": b, "H": h, "W": w} for b, h, w in ((1, 1, 1), (3, 8, 8), (2, 3, 7))],
    ),
    "blocks with padding": (
        "(float[1,N,4] x) => (float[1,M,16] y) <int64 one = {1}, int64 four = {4}, int64[1] i = {0}>"
        "{ s = Shape(x) n = Gather(s, one) m = Neg(n) b = Mod(m, four) u = Unsqueeze(b, i)"
        "  z = Constant <value_ints = [0,0,0,0]> () e = Constant <value_ints = [0]> ()"
        "  pads = Concat <axis = 0> (z, u, e) p = Pad(x, pads)"
        "  r = Constant <value_ints = [1,-1,16]> () y = Reshape(p, r) }",
        {"N": range(1, 15)},
        [{"N": n} for n in (1, 2, 3, 4, 5, 14)],
    ),
    "parts of different sizes": (
        "(float[1,N,4] x) => (float[1,M,4] y, float[1,K,4] z) { y, z = Split <axis = 1, num_outputs = 2> (x) }",
        {"N": range(2, 15)},
        [{"N": n} for n in (2, 3, 13, 14)],
    ),
    "every third, backwards, and a reflection": (
        "(float[1,1,N] x) => (float[1,1,M] y)"
        "<int64[1] end = {-1}, int64[1] far = {-9223372036854775807}, int64[1] two = {2}, int64[1] back = {-3},"
        " int64[6] p = {0,0,5,0,0,4}>"
        '{ r = Pad <mode = "reflect"> (x, p) y = Slice(r, end, far, two, back) }',
        {"N": range(6, 20)},
        [{"N": n} for n in (6, 7, 8, 19)],
    ),
    "the first half, as torch writes n // 2": (
        "(float[1,N,4] x) => (float[1,M,4] y)"
        "<int64 zero = {0}, int64 one = {1}, int64 two = {2}, int64[1] i = {0}, int64[1] a = {1}>"
        "{ s = Shape(x) n = Gather(s, one) d = Div(n, two) p = Less(n, zero) q = Less(two, zero) b = Xor(p, q)"
        "  m = Mod(n, two) e = Equal(m, zero) f = Not(e) g = And(b, f) h = Cast <to = 7> (g) k = Sub(d, h)"
        "  u = Unsqueeze(k, i) y = Slice(x, i, u, a) }",
        {"N": range(2, 15)},
        [{"N": n} for n in (2, 3, 13, 14)],
    ),
    "a third, computed in floats and rounded up": (
        "(float[1,N,4] x) => (float[1,M,4] y) "
        "<int64 one = {1}, float three = {3.0}, float more = {1.5}, int64[1] i = {0}, int64[1] a = {1}>"
        "{ s = Shape(x) n = Gather(s, one) f = Cast <to = 1> (n) d = Div(f, three) c = Ceil(d) m = Mul(c, more)"
        "  g = Floor(m) h = Cast <to = 7> (g) u = Unsqueeze(h, i) y = Slice(x, i, u, a) }",
        {"N": range(3, 15)},
        [{"N": n} for n in (3, 4, 5, 6, 14)],
    ),
    "images twice and half as large": (
        "(float[1,2,H,W] x) => (float[1,2,P,Q] y) <float[4] s = {1.0, 1.0, 2.0, 0.5}>"
        '{ y = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (x, , s) }',
        {"H": range(1, 9), "W": range(2, 13)},
        [{"H": h, "W": w} for h, w in ((1, 2), (8, 12), (5, 7))],
    ),
    "images as large as others": (
        "(float[1,2,H,W] x, float[1,2,P,Q] z) => (float[1,2,P,Q] y)"
        '{ s = Shape(z) r = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, , , s)'
        '  n = Resize <coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (x, , , s)'
        "  y = Add(r, n) }",
        {"H": range(1, 9), "W": range(1, 9), "P": range(2, 9), "Q": range(2, 9)},
        [{"H": 1, "W": 8, "P": 2, "Q": 8}, {"H": 8, "W": 1, "P": 8, "Q": 3}, {"H": 5, "W": 7, "P": 7, "Q": 3}],
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
    assert set(bundles[name].plan.bound) == {f"n_{size}" for size in bind}, "no size was narrowed"
    assert all(result.passed for result in bundles[name].verify())


def test_a_default_range_begins_where_windows_need_it(tmp_path: Path) -> None:
    """And ends beyond it."""
    text = "(float[1,1,N] x) => (float[1,1,M] y) <float[1,1,{}] w> {{ y = Conv <strides = [160]> (x, w) }}"
    for kernel, most in ((400, 1600), (4000, 16_000)):
        bundle = intaglio.compile(model_of(text.format(kernel)), tmp_path / str(kernel))
        assert bundle.plan.bound == {"n_N": (kernel, most)}
        assert any(f"N {kernel}..{most}" in note and "--bind N=" in note for note in bundle.report["notes"])
        with pytest.raises(ValueError, match=rf"axis 2 is {most + 1}; .* --bind x\.2={kernel}\.\.{most + 1}$"):
            bundle.run({"x": np.zeros((1, 1, most + 1), np.float32)})
        with pytest.raises(ValueError, match=f"axis 2 is {kernel - 1}; .* {kernel} to {most}; if the model takes it"):
            bundle.run({"x": np.zeros((1, 1, kernel - 1), np.float32)})


def test_a_range_that_a_window_cannot_have_is_refused_with_one_that_it_can() -> None:
    text = "(float[1,1,N] x) => (float[1,1,M] y) <float[1,1,400] w> { y = Conv <strides = [160]> (x, w) }"
    with pytest.raises(intaglio.BadModel, match=r"400 .* for example --bind N=400\.\.1600"):
        intaglio.compile(model_of(text), "unused", bind={"N": range(1, 100)})


def test_multiples(tmp_path: Path) -> None:
    """A Reshape that needs whole blocks. The other sizes are refused when it runs, as onnxruntime does."""
    model = model_of("(float[B,N,4] x) => (float[B,M,16] y) <int64[3] r = {0,-1,16}> { h = Reshape(x, r) y = Relu(h) }")
    bundle = intaglio.compile(model, tmp_path / "blocks", bind={"B": range(1, 4), "N": range(1, 31)})
    assert bundle.plan.bound == {"n_B": (1, 3), "n_N_by_4": (1, 7)}
    assert any("N is 4..28 in steps of 4" in note for note in bundle.report["notes"])
    for b, n in ((1, 4), (3, 28), (2, 12)):
        inputs = feeds(model, {"B": b, "N": n})
        assert_equal(bundle.run(inputs), onnxruntime_outputs(model, inputs), rtol=0, atol=0)
    with pytest.raises(ValueError, match="axis 1 is 13; this model takes multiples of 4 up to 28"):
        bundle.run(feeds(model, {"B": 1, "N": 13}))


def test_resolutions_that_must_agree(tmp_path: Path) -> None:
    """What is halved twice, made twice as large and added to what it came from: each side is a multiple of 4."""
    model = model_of(
        "(float[1,2,H,W] x) => (float[1,2,P,Q] y) <float[2,2,3,3] v, float[2,2,3,3] w, float[2,2,2,2] t>"
        "{ a = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, v)"
        "  b = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (a, w)"
        "  s = Constant <value_floats = [1.0, 1.0, 2.0, 2.0]> () u = Resize(b, , s) c = Add(u, a)"
        "  d = ConvTranspose <strides = [2, 2]> (c, t) y = Add(d, x) }"
    )
    bundle = intaglio.compile(model, tmp_path / "bundle")
    assert bundle.plan.bound == {"n_H_by_4": (1, 256), "n_W_by_4": (1, 256)}
    for h, w in ((4, 4), (8, 20)):
        inputs = feeds(model, {"H": h, "W": w})
        assert_equal(bundle.run(inputs), onnxruntime_outputs(model, inputs), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="axis 3 is 18; this model takes multiples of 4 up to 1024"):
        bundle.run(feeds(model, {"H": 8, "W": 18}))


@pytest.mark.parametrize(
    "text, bound, note",
    [
        (
            "(float[1,N,4] x) => (float[1,512] y) <int64[2] r = {1,512}> { y = Reshape(x, r) }",
            {},
            "N is 128, because the model takes no other size",
        ),
        (
            "(float[1,3,N] x) => (float[1,4] y) <float[21,4] w, int64[2] r = {1,-1}>"
            "{ p = MaxPool <kernel_shape = [3], strides = [2]> (x) f = Reshape(p, r) y = MatMul(f, w) }",
            {"n_N": (15, 16)},
            "N 15..16",
        ),
    ],
)
def test_the_only_possible_sizes_need_not_be_given(
    text: str, bound: dict[str, tuple[int, int]], note: str, tmp_path: Path
) -> None:
    bundle = intaglio.compile(model_of(text), tmp_path / "bundle")
    assert bundle.plan.bound == bound and any(note in said for said in bundle.report["notes"])


def test_sizes_with_different_names_that_must_be_equal(tmp_path: Path) -> None:
    """As exporters name them that see no relation. Other sizes are refused when it runs."""
    model = model_of("(float[N,4] x, float[M,4] z, float[4,K] w) => (float[N,K] y) { a = Add(x, z) y = MatMul(a, w) }")
    bundle = intaglio.compile(model, tmp_path / "bundle", bind={"K": range(1, 9)})
    assert set(bundle.plan.bound) == {"n_N", "n_K"}
    inputs = feeds(model, {"N": 5, "M": 5, "K": 3})
    assert_equal(bundle.run(inputs), onnxruntime_outputs(model, inputs), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="expected the shape"):
        bundle.run(feeds(model, {"N": 5, "M": 6, "K": 3}))


def test_a_size_of_minus_one_is_free(tmp_path: Path) -> None:
    """As Paddle's converter writes it."""
    model = model_of("(float[2,N] x) => (float[2,N] y) { y = Relu(x) }")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = -1
    bundle = intaglio.compile(model, tmp_path / "bundle", bind={"x.1": range(1, 9)})
    assert bundle.run({"x": np.full((2, 7), -1, np.float32)})["y"].shape == (2, 7)


def test_chrome_takes_every_shader(bundles: dict[str, intaglio.Bundle]) -> None:
    assert not tint.wrong(bundle.folder for bundle in bundles.values())
