"""Kernels at the edges of their tiles: any numbers of rows, columns, heads and keys, against numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import Build, Program

from intaglio.compiler.ir.dims import Dim, Symbol, dim
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.operators import Window

SIZES = st.one_of(st.integers(1, 130), st.sampled_from([1, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 128, 130]))
FEW = st.integers(1, 6)
T = dim(Symbol("T", 1, 130))


def examples(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Always the same ones: each compiles a shader of its own, and numbers differ a little between adapters."""
    return settings(max_examples=count, deadline=None, derandomize=True)


@examples(30)
@given(rows=SIZES, width=SIZES, columns=SIZES, varies=st.booleans(), finish=st.booleans())
def test_linear(rows: int, width: int, columns: int, varies: bool, finish: bool) -> None:
    b = Build()
    y = b.Linear(b.input("x", T if varies else rows, width), b.weight(columns, width), b.weight(columns))
    program = Program(b.output(b.Relu(y) if finish else y))
    program.check({"T": rows})


@examples(12)
@given(width=SIZES, columns=st.lists(st.integers(1, 33).map(lambda n: 4 * n), min_size=1, max_size=3), rows=SIZES)
def test_linear_with_several_outputs(width: int, columns: list[int], rows: int) -> None:
    b = Build()
    x = b.input("x", rows, width)
    program = Program(b.output(*[b.Relu(b.Linear(x, b.weight(n, width))) for n in columns]))
    program.check()


@examples(12)
@given(width=st.integers(1, 40).map(lambda n: 4 * n), columns=st.integers(1, 300))
def test_linear_after_a_norm(width: int, columns: int) -> None:
    b = Build()
    n = b.LayerNormalization(b.input("x", 1, 1, width), b.weight(width), b.weight(width), axis=-1, epsilon=1e-5)
    program = Program(b.output(b.Linear(n, b.weight(columns, width), b.weight(columns))))
    assert [node.op for node in program.graph.nodes] == ["Linear"]
    program.check()


@examples(20)
@given(
    channels=st.sampled_from([1, 2, 3, 4, 5, 6, 8, 12]),
    columns=st.integers(1, 40),
    kernel=FEW,
    stride=st.integers(1, 5),
    pad=st.integers(0, 3),
    length=st.integers(6, 70),
)
def test_convolution_over_time(channels: int, columns: int, kernel: int, stride: int, pad: int, length: int) -> None:
    b = Build()
    x, w = b.input("x", 1, length, channels), b.weight(columns, kernel * channels)
    program = Program(b.output(b.Linear(x, w, b.weight(columns), window=Window(kernel, stride, pad))))
    program.check()


def convolution(
    x: tuple[int, ...], columns: int, kernel: tuple[int, int], then: bool = False, **attrs: object
) -> Graph:
    b = Build()
    w = b.weight(columns, x[1] // attrs.get("group", 1), *kernel)
    y = b.Conv(b.input("x", *x), w, b.weight(columns), pads=[1, 0, 0, 2], **attrs)
    return b.output(b.Relu(b.Add(y, b.weight(columns, 1, 1))) if then else y)


TWO = st.tuples(st.integers(1, 3), st.integers(1, 3))


@examples(20)
@given(
    c=st.integers(1, 9),
    each=st.sampled_from([4, 1, 3, 5, 8, 9, 16, 17]),
    group=st.sampled_from([1, 2, 3]),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 8)),
    strides=TWO,
    dilations=TWO,
    width=st.integers(20, 33),
    then=st.booleans(),
)
def test_convolution(
    c: int,
    each: int,
    group: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    width: int,
    then: bool,
) -> None:
    attrs = {"group": group, "strides": strides, "dilations": dilations}
    program = Program(convolution((2, c * group, 10, width), each * group, kernel, then, **attrs))
    assert [node.op for node in program.graph.nodes] == ["Conv"]
    program.check()


@pytest.mark.parametrize(
    "c, columns, group", [(3, 33, 1), (5, 64, 1), (4, 150, 1), (6, 128, 2), (7, 40, 1), (9, 192, 3)]
)
@pytest.mark.parametrize("kernel, strides", [((3, 3), (1, 1)), ((2, 5), (2, 1)), ((1, 1), (1, 2))])
def test_convolution_in_tiles(
    c: int, columns: int, group: int, kernel: tuple[int, int], strides: tuple[int, int]
) -> None:
    """Tiles that workgroups share, at the edges of channels, results and taps."""
    program = Program(convolution((2, c, 13, 23), columns, kernel, True, group=group, strides=strides))
    steps = (step for session in program.sessions for step in session.plan.programs["main"].steps)
    variants = {variant for step in steps if step.choice for variant in step.choice.variants}
    assert any(variant.startswith("tiles") for variant in variants)
    program.check()


@examples(10)
@given(
    channels=st.tuples(st.integers(1, 9), st.sampled_from([1, 4, 5, 8, 17, 33, 64])),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 8)),
    strides=TWO,
    size=st.tuples(st.integers(4, 7), st.sampled_from([5, 8, 9, 16])),
    then=st.booleans(),
)
def test_transposed_convolution(
    channels: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int], size: tuple[int, int], then: bool
) -> None:
    b = Build()
    y = b.ConvTranspose(b.input("x", 2, channels[0], *size), b.weight(*channels, *kernel), strides=strides)
    Program(b.output(b.Mul(y, b.Sigmoid(y)) if then else y)).check()


def attention(queries: Dim, keys: Dim, heads: int, kv_heads: int, head_dim: int, past: Dim | None) -> Graph:
    b = Build()
    q = b.input("q", 1, queries, heads * head_dim)
    k, v = (b.input(name, 1, keys, kv_heads * head_dim) for name in "kv")
    attrs = {"heads": heads, "kv_heads": kv_heads, "scale": head_dim**-0.5, "past": past}
    return b.output(b.Attention(q, k, v, **attrs))


HEAD_DIMS = st.sampled_from([4, 8, 12, 16, 20])


@examples(14)
@given(queries=SIZES, keys=SIZES, kv_heads=st.integers(1, 3), shared=st.integers(1, 3), head_dim=HEAD_DIMS)
def test_attention(queries: int, keys: int, kv_heads: int, shared: int, head_dim: int) -> None:
    Program(attention(queries, keys, kv_heads * shared, kv_heads, head_dim, None)).check()


@examples(14)
@given(queries=SIZES, past=st.integers(0, 90), heads=st.integers(1, 3), head_dim=HEAD_DIMS)
def test_causal_attention(queries: int, past: int, heads: int, head_dim: int) -> None:
    Program(attention(queries, queries + past, heads, heads, head_dim, past)).check()


@examples(6)
@given(heads=st.integers(1, 3), head_dim=HEAD_DIMS, one=st.booleans())
def test_causal_attention_over_sizes_that_vary(heads: int, head_dim: int, one: bool) -> None:
    past = dim(Symbol("P", 0, 400))
    new = 1 if one else T
    program = Program(attention(new, past + new, heads, heads, head_dim, past))
    for symbols in ({"P": 0, "T": 1}, {"P": 63, "T": 65}, {"P": 400, "T": 130}):
        program.check(symbols)


def test_attention_stays_precise_where_scores_are_large() -> None:
    """Scores of some hundreds, rising, falling and equal: the running maximum must hold."""
    program = Program(attention(3, 200, 1, 1, 8, None))
    for order in (np.arange(200), np.arange(200)[::-1], np.full(200, 7)):
        keys = np.repeat(order[None, :, None], 8, -1).astype(np.float32)
        feeds = {"q": np.array([[[1] * 8, [-1] * 8, [0] * 8]], np.float32), "k": keys, "v": keys / 100}
        np.testing.assert_allclose(program.run(feeds)["y0"], program.reference(feeds)["y0"], rtol=1e-5, atol=1e-5)


@examples(20)
@given(rows=SIZES, width=SIZES, bias=st.booleans())
def test_layer_norm(rows: int, width: int, bias: bool) -> None:
    b = Build()
    shift = [b.weight(width)] if bias else []
    y = b.LayerNormalization(b.input("x", rows, width), b.weight(width), *shift, axis=-1, epsilon=1e-5)
    Program(b.output(y)).check(rtol=1e-4, atol=1e-4)  # a row of two near equal numbers is all rounding


@examples(15)
@given(shape=st.lists(st.integers(1, 20), min_size=1, max_size=4), data=st.data())
def test_reductions_and_softmax(shape: list[int], data: st.DataObject) -> None:
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    b = Build()
    x = b.input("x", *shape)
    sums = [getattr(b, op)(x, b.constant(np.array(axes))) for op in ("ReduceSum", "ReduceMax")]
    Program(b.output(*sums, b.Softmax(x, axis=axes[0]), b.ArgMax(x, axis=axes[0]))).check()


@examples(15)
@given(batch=st.lists(FEW, max_size=2), m=SIZES, k=SIZES, n=SIZES, repeat=st.booleans())
def test_products_of_run_time_operands(batch: list[int], m: int, k: int, n: int, repeat: bool) -> None:
    b = Build()
    left, right = b.input("a", *batch, m, k), b.input("b", *([1] * len(batch) if repeat else batch), k, n)
    Program(b.output(b.MatMul(left, right))).check()


@examples(15)
@given(shape=st.lists(st.integers(1, 9), min_size=2, max_size=4), data=st.data())
def test_moves(shape: list[int], data: st.DataObject) -> None:
    """Transposes and slices of anything, and both in turn."""
    perm = data.draw(st.permutations(range(len(shape))))
    bounds = [sorted(data.draw(st.tuples(st.integers(0, d - 1), st.integers(1, d)))) for d in shape]
    starts, ends = (
        [min(pair[i] + i * (pair[0] == pair[1]), d) for pair, d in zip(bounds, shape, strict=True)] for i in (0, 1)
    )
    steps = data.draw(st.lists(st.sampled_from([1, 1, 2, 3]), min_size=len(shape), max_size=len(shape)))
    b = Build()
    x = b.input("x", *shape)
    cut = b.Slice(x, *(b.constant(np.array(a)) for a in (starts, ends, list(range(len(shape))), steps)))
    Program(b.output(b.Transpose(cut, perm=perm), b.Neg(cut), b.Transpose(x, perm=perm))).check()


@examples(8)
@given(rows=st.integers(1, 70), width=SIZES, count=SIZES)
def test_lookups(rows: int, width: int, count: int) -> None:
    b = Build()
    ids = b.input("ids", count, dtype="i64")
    program = Program(b.output(b.Gather(b.weight(rows, width), ids)))
    feeds = {"ids": np.random.default_rng(0).integers(-rows, rows, count)}
    np.testing.assert_array_equal(program.run(feeds)["y0"], program.reference(feeds)["y0"])
