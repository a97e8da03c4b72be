"""Types and dimensions: what is inferred with a symbol holds for the numbers that it stands for."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import T, feeds, graph, random
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.compiler.ir.dims import NotLinear, Symbol, dim, substitute
from intaglio.compiler.ir.errors import BadModel, UnsupportedOperator
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.semantics import evaluate
from intaglio.compiler.semantics.shapes import broadcast, slices

P = dim(Symbol("P", 0, 40))
FAR = 2**63 - 1


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


W = {
    "i0": ints(0),
    "i1": ints(1),
    "i2": ints(2),
    "minus": ints(-1),
    "minus2": ints(-2),
    "far": ints(FAR),
    "nearest": ints(-FAR),
    "n0": np.array(0),
    "n1": np.array(1),
    "n2": np.array(2),
    "n_1": np.array(-1),
    "n7": np.array(7),
    "n100": np.array(100),
    "row": random(4),
    "tall": random(3, 1, seed=1),
    "m": random(4, 6, seed=2),
    "copy": ints(0, 0, -1),
    "flat": ints(-1),
    "heads": ints(1, -1, 2, 2),
    "merge": ints(-1, 4),
    "two_three": ints(2, 3),
    "ones": ints(1, 1, 1),
    "twice": ints(1, 1, 2),
    "pads": ints(0, 1, 2),
    "half": np.array(0.5, np.float32),
}


def consistent(g: Graph, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Every value of a run has the type that was inferred; what was known about its content is its content."""
    inputs = feeds(g, sizes)
    values = {v: inputs[v.name] for v in g.inputs}
    results = evaluate.compute(g, g.nodes, values, sizes)
    for value, array in results.items():
        assert array.shape == tuple(substitute(d, sizes) for d in value.shape), value
        assert array.dtype == np.dtype(evaluate.DTYPES[value.dtype]), value
        if value.const is not None:
            np.testing.assert_array_equal(array, evaluate.concrete(value, sizes), err_msg=str(value))
    return {v.name: results[v] for v in g.outputs}


BODIES = [
    # broadcasting
    "y = Add(x, row)",
    "y = Mul(half, x)",
    "u = Unsqueeze(x, i0) y = Add(u, x)",
    "a = Unsqueeze(z, i0) b = Unsqueeze(z, i1) y = Add(a, b)",
    "c = Less(x, half) y = Where(c, x, row)",
    "c = Less(x, half) y = Not(c)",
    "y = Pow(x, n2)",
    "y = Clip(x, half)",
    "y = Cast<to=7>(x)",
    "y = Max(x, row, half)",
    # shapes
    "y = Reshape(x, copy)",
    "y = Reshape(x, flat)",
    "y = Reshape(x, heads)",
    "y = Reshape(x, merge)",
    "s = Shape(x) a = Gather(s, n1) b = Unsqueeze(a, i0) c = Concat<axis=0>(b, flat) y = Reshape(x, c)",
    "s = Shape(x) a = Gather(s, n_1) b = Unsqueeze(a, i0) c = Concat<axis=0>(flat, b) y = Reshape(x, c)",
    "s = Shape(x) y = ConstantOfShape(s)",
    "s = Shape(x) d = Slice(s, i1, far) e = ReduceProd(d) y = Reshape(x, e)",
    "s = Shape(x) d = Slice(s, i0, minus) e = Concat<axis=0>(d, flat) y = Reshape(x, e)",
    "s = Shape(x) d = Slice(s, minus, nearest, i0, minus) y = ConstantOfShape(d)",
    "s = Shape(x) d = Slice(s, i0, far, i0, i2) y = ConstantOfShape(d)",
    "s = Size(x) a = Unsqueeze(s, i0) y = Reshape(x, a)",
    "s = Shape<start=1, end=2>(x) y = Expand(half, s)",
    "s = Shape<start=-1>(x) y = Expand(half, s)",
    "y = Expand(x, ones)",
    "y = Tile(x, twice)",
    "y = Unsqueeze(x, minus)",
    "y = Squeeze(x, i0)",
    "y = Flatten<axis=2>(x)",
    "y = Transpose(x)",
    "y = Transpose<perm=[1,2,0]>(x)",
    # slices
    "y = Slice(x, i0, minus, i1)",
    "y = Slice(x, i1, far, i1)",
    "y = Slice(x, minus, far, i1)",
    "y = Slice(x, i0, far, i1)",
    "y = Slice(x, i1, far, i2)",
    "y = Slice(x, minus2, far, minus)",
    "y = Slice(x, minus, nearest, minus, minus)",
    "y = Slice(x, far, far, i2)",
    "y = Slice(x, i2, i1, i2)",
    "y = Slice(x, i0, i1, i1)",
    "y = Slice(x, i0, far, i2, i2)",
    "y = Slice(x, minus, nearest, i1, minus)",
    "y = Slice(x, minus, i0, i1, minus2)",
    "y = Slice(x, i0, far, i1, i2)",
    "y, q = Split<axis=1, num_outputs=2>(x)",
    "s = Shape(x) t = Gather(s, n1) h = Div(t, n2) u = Unsqueeze(h, i0) y = Expand(half, u)",
    "s = Shape(x) t = Gather(s, n1) h = Mod(t, n2) u = Unsqueeze(h, i0) y = Slice(x, u, far, i1)",
    "s = Shape(x) t = Gather(s, n1) u = Mul(t, t) v = Unsqueeze(u, i0) y = Expand(half, v)",
    "s = Shape(x) t = Slice(s, i1, i2) y = Slice(x, i0, t, i1)",
    "s = Shape(z) t = Slice(s, i0, i1) y = Slice(z, i0, t, i0)",
    # other operators
    "y = Concat<axis=1>(x, x)",
    "y = Concat<axis=-1>(x, x)",
    "a, y = Split<axis=-1>(x, two_two)",
    "y = MatMul(x, m)",
    "y = Gather<axis=1>(x, i0)",
    "y = Gather<axis=-1>(x, n_1)",
    "y = ReduceMean(x, i1)",
    "y = ReduceMean<keepdims=0>(x, minus)",
    "y = ReduceSum(x)",
    "y = Softmax(x)",
    "y = LayerNormalization(x, row)",
    "y = Pad(x, pad_last, half, minus)",
    "y = ArgMax<axis=-1>(x)",
    # ranges
    "s = Shape(x) t = Gather(s, n1) y = Range(n0, t, n1)",
    "s = Shape(x) t = Gather(s, n1) e = Add(t, n7) y = Range(t, e, n1)",
    "s = Shape(x) t = Gather(s, n1) e = Add(t, t) y = Range(n0, e, n2)",
    "s = Shape(x) t = Gather(s, n1) u = Sub(t, n1) y = Range(u, n_1, n_1)",
    "y = Range(n2, n7, n2)",
    "y = Range(n7, n2, n1)",
    # arithmetic on dimensions: the result is Expand's shape
    *(
        f"s = Shape(x) t = Gather(s, n1) {body} v = Reshape(u, flat) y = Expand(half, v)"
        for body in (
            "u = Add(t, n7)",
            "u = Mul(n2, t)",
            "a = Mul(t, n2) u = Div(a, n2)",
            "a = Sub(n100, t) u = Add(a, t)",
            "a = Neg(t) u = Sub(n100, a)",
            "u = Max(t, n0)",
            "u = Max(t, n100)",
            "u = Min(n100, t)",
            "u = Max(t, n1)",
            "u = Max(n0, t, n100)",
            "u = Min(n100, t, n100)",
            "u = Max(t)",
            "c = Equal(t, t) u = Where(c, t, n7)",
            "c = Equal(t, n0) u = Where(c, n7, t)",
            "c = Less(t, n100) u = Where(c, t, n7)",
            "c = LessOrEqual(t, t) u = Where(c, t, n7)",
            "c = Greater(t, n0) u = Where(c, t, n7)",
            "c = GreaterOrEqual(n0, t) u = Where(c, n7, t)",
            "a = Cast<to=6>(t) u = Cast<to=7>(a)",
            "u = Identity(t)",
            "a = Unsqueeze(t, i0) b = Squeeze(a, i0) u = Squeeze(a)",
            "a = Concat<axis=0>(s, i2) u = Gather(a, n1)",
            "a = Reshape(s, r31) u = Gather<axis=0>(a, n1)",
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_what_is_inferred_holds(body):
    weights = W | {"two_two": ints(1, 3), "pad_last": ints(1, 2), "r31": ints(3, 1)}
    output = "y"
    g = graph(f"main (float[1,T,4] x, float[T] z) => (float {output}) {{ {body} }}", weights)
    for size in (1, 2, 5):
        consistent(g, {"T": size})


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_slices_are_those_of_numpy(data):
    """Bounds near both ends, beyond them and at the largest integers, forwards and backwards."""
    shape = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=3))
    axes = data.draw(st.lists(st.sampled_from(range(len(shape))), unique=True, min_size=1))
    bound = st.one_of(st.integers(-7, 7), st.sampled_from((FAR, -FAR, 2**31 - 1)))
    starts, ends = (data.draw(st.lists(bound, min_size=len(axes), max_size=len(axes))) for _ in range(2))
    steps = data.draw(st.lists(st.sampled_from((1, 2, 3, -1, -2)), min_size=len(axes), max_size=len(axes)))
    signed = [a - len(shape) * data.draw(st.booleans()) for a in axes]
    weights = {n: ints(*v) for n, v in zip("bcde", (starts, ends, signed, steps), strict=True)}
    g = graph(f"main (float{shape} x) => (float y) {{ y = Slice(x, b, c, d, e) }}".replace(" ", " "), weights)
    x = random(*shape)
    index = [slice(None)] * len(shape)
    for a, b, c, e in zip(axes, starts, ends, steps, strict=True):
        index[a] = slice(b, None if e < 0 and c < -len(x) - 7 else c, e)
    assert g.outputs[0].shape == x[tuple(index)].shape
    np.testing.assert_array_equal(evaluate.run(g, {"x": x})["y"], x[tuple(index)])
    for (first, count, step), size, wanted in zip(slices(g.nodes[0]), shape, index, strict=True):
        assert list(range(first, first + count * step, step)) == list(range(size))[wanted]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=4), st.data())
def test_reshapes_are_those_of_numpy(shape, data):
    target = data.draw(st.lists(st.integers(-1, 12), max_size=4))
    text = f"main (float{shape or ''} x) => (float y) {{ y = Reshape(x, s) }}"
    copied = [shape[i] if d == 0 and i < len(shape) else d for i, d in enumerate(target)]
    try:
        expected = np.zeros(shape).reshape(copied).shape
        valid = 0 not in target[len(shape) :]
    except ValueError:
        valid = False
    if not valid:
        if 0 not in shape:  # numpy is stricter where there are no elements at all
            with pytest.raises(BadModel):
                graph(text, {"s": ints(*target)})
        return
    assert graph(text, {"s": ints(*target)}).outputs[0].shape == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from((1, 2, 3, 0)), max_size=3), min_size=1, max_size=3))
def test_broadcasting_is_that_of_numpy(shapes):
    try:
        expected = np.broadcast_shapes(*map(tuple, shapes))
    except ValueError:
        with pytest.raises((BadModel, NotLinear), match="do not broadcast"):
            broadcast(*map(tuple, shapes))
        return
    assert broadcast(*map(tuple, shapes)) == expected


def test_symbols_broadcast():
    assert broadcast((T, 4), (1, 4)) == (T, 4)
    assert broadcast((P + T,), (4, 1)) == (4, P + T)
    for other in (4, P, T + 1):
        with pytest.raises((BadModel, NotLinear), match="do not broadcast"):
            broadcast((T,), (other,))


def test_a_symbolic_shape_is_cancelled_before_it_is_divided():
    """[P, T, 4] has no linear size, but as [P, T, 2, 2] it needs none."""
    g = graph("main (float[P,T,4] x) => (float y) { s = Shape(x) a = Slice(s, i0, i2) b = Concat<axis=0>(a, minus, i2)"
              " y = Reshape(x, b) }", W, P=P)  # fmt: skip
    assert g.outputs[0].shape == (P, T, 2, 2)
    consistent(g, {"P": 3, "T": 2})


def test_dimensions_of_two_symbols():
    g = graph("main (float[1,P,4] x, float[1,T,4] z) => (float y) { y = Concat<axis=1>(x, z) }", P=P)
    assert g.outputs[0].shape == (1, P + T, 4)
    consistent(g, {"P": 0, "T": 2})


@pytest.mark.parametrize(
    "body",
    [
        "s = Shape(x) t = Gather(s, n1) h = Div(n2, t) u = Unsqueeze(h, i0) y = Expand(half, u)",
        "s = Shape(x) t = Gather(s, n1) c = Less(t, n7) u = Cast<to=7>(c) v = Unsqueeze(u, i0) y = Expand(half, v)",
        "s = Shape(x) t = Gather(s, n1) u = Max(t, n7) v = Unsqueeze(u, i0) y = Expand(half, v)",
        "s = Shape(x) t = Gather(s, n1) y = Range(n2, t, n1)",  # empty for T = 1
        "s = Shape(x) t = Gather(s, n1) y = Range(n0, n100, t)",
        "n = Cast<to=7>(w) y = Expand(half, n)",
        "n = Cast<to=7>(w) y = Slice(x, i0, n, i1)",
        "n = Cast<to=7>(w) y = Reshape(x, n)",
        "y = NonZero(x)",
        "y = Slice(x, i2, far, i1)",  # beyond the end for T = 1
        "y = Slice(x, i0, i2, i1)",
        "y = Slice(x, minus2, far, i1)",
        "s = Shape(x) t = Gather(s, n1) u = Unsqueeze(t, i0) y = Reshape(row, u)",
        "s = Shape(x) t = Gather(s, n1) u = Unsqueeze(t, i0) v = Concat<axis=0>(u, minus) y = Reshape(row, v)",
    ],
)
def test_sizes_that_depend_on_data_are_refused(body):
    with pytest.raises((UnsupportedOperator, BadModel)) as e:
        graph(f"main (float[1,T,4] x, float[1] w) => (float y) {{ {body} }}", W)
    assert "(" in str(e.value), "it names the node"


def test_integers_divide_towards_zero():
    """As in C and in ONNX; Python's // rounds down."""
    body = "s = Shape(x) a = Concat<axis=0>(s, minus7) b = Div(a, twos) c = Gather(b, n1) y = Add(c, n0)"
    g = graph(f"main (float[T] x) => (int64 y) {{ {body} }}", W | {"minus7": ints(-7), "twos": ints(1, 2)})
    assert g.outputs[0].const == -3


def test_an_empty_part_of_a_shape_is_made_of_integers():
    g = graph("main (float[1,T] x) => (float y) { s = Shape(x) e = Slice(s, i2, far) y = Concat<axis=0>(e, i1) }", W)
    assert g.outputs[0].dtype == "i64"


def test_large_repetitions_are_not_folded():
    """A constant of a gigabyte would be a weight of the bundle."""
    for body in (
        "y = Expand(half, n)",
        "y = ConstantOfShape(n)",
        "a = Unsqueeze(half, i0) y = Tile(a, n)",
        "a = Squeeze(n) y = Range(n0, a, n1)",
    ):
        g = graph(f"main (float x) => (float y) {{ {body} }}", W | {"n": ints(1 << 28)})
        assert g.outputs[0].const is None and g.outputs[0].shape == (1 << 28,)


def test_onnx_says_what_does_not_fit():
    with pytest.raises(BadModel, match=r"MatMul \(here\)"):
        graph("main (float[2,3] x, float[4,5] z) => (float y) { [here] y = MatMul(x, z) }")


def test_our_operators_are_those_of_the_reference(tmp_path):
    """Softmax and GELU are computed here, for speed: they must be ONNX's."""
    x = random(3, 7) * 5
    for body in ("y = Softmax<axis=-1>(x)", "y = Softmax<axis=0>(x)", "y = Gelu(x)", 'y = Gelu<approximate="tanh">(x)'):
        g = graph(f"main (float[3,7] x) => (float y) {{ {body} }}", opset=20)
        m = onnx.parser.parse_model(
            f'<ir_version: 8, opset_import: ["" : 20]> main (float[3,7] x) => (float[3,7] y) {{ {body} }}'
        )
        (expected,) = onnx.reference.ReferenceEvaluator(m).run(None, {"x": x})
        np.testing.assert_allclose(evaluate.run(g, {"x": x})["y"], expected, rtol=1e-5, atol=1e-6)
