"""Our own operators, and those of ONNX that have another form here: against numpy, before they are fused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
from parity import Build, Program, assert_equal

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim, Symbol, dim
from intaglio.compiler.ir.expression import Expression
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Attention, FakeQuantize, PositionBias, Rotary, Window
from intaglio.compiler.ir.values import TensorType, Value, known
from intaglio.compiler.rewrite.elementwise_chains import spelled

P, T = dim(Symbol("P", 0, 63)), dim(Symbol("T", 1, 64))
S = dim(Symbol("S", 0, 599))
ROWS = [{"P": 0, "T": 5}, {"P": 7, "T": 1}, {"P": 55, "T": 9}]
STEPS = [{"P": 0}, {"P": 7}, {"P": 63}]
WIDTH = 24


@dataclass(frozen=True)
class Layer:
    """A graph, the sizes that it runs with, and the operators that are left when it is fused."""

    build: Callable[[], Graph]
    left: str
    symbols: list[dict[str, int]] = field(default_factory=lambda: [{}])


def self_attention(rows: Dim, heads: int = 3, kv_heads: int = 3, norm: bool = False) -> Graph:
    """A decoder's first half: keys and values are written into their caches by the layer that makes them."""
    b = Build()
    head_dim = WIDTH // heads
    x = b.input("x", 1, rows, WIDTH)
    n = b.LayerNormalization(x, b.weight(WIDTH), b.weight(WIDTH), axis=-1, epsilon=1e-5) if norm else x
    q = b.Linear(n, b.weight(WIDTH, WIDTH), b.weight(WIDTH))
    k, v = (
        b.Write(b.Linear(n, b.weight(kv_heads * head_dim, WIDTH)), b.state(s, *cached_shape(kv_heads, head_dim)), at=P)
        for s in ("keys", "values")
    )
    y = b.Attention(q, k, v, heads=heads, kv_heads=kv_heads, scale=head_dim**-0.5, past=P)
    return b.output(b.Add(b.Linear(y, b.weight(WIDTH, WIDTH), b.weight(WIDTH)), x))


def to_steps(scale: float, zero: float) -> Expression:
    """Rounding to 8 bits."""
    x = Value("x", TensorType("f32", ()))
    grid = tuple(Value("", TensorType("f32", ()), np.array(v, np.float32)) for v in (scale, zero))
    return spelled(FakeQuantize(x, *grid, low=-128.0, high=127.0), "acc")


ROUNDED, FINE = to_steps(0.01, 3), to_steps(1 / 255, -128)


def attention(
    queries: Dim,
    keys: Dim,
    heads: int = 2,
    head_dim: int = 8,
    past: Dim | None = None,
    share: int = 1,
    bias: str | None = None,
    **more: float | Expression,
) -> Graph:
    """share: how many heads have the same keys and values. bias: what chooses the columns of a position bias."""
    b = Build()
    sizes = {"q": (queries, heads), "k": (keys, heads // share), "v": (keys, heads // share)}
    q, k, v = (b.input(name, 1, rows, count * head_dim) for name, (rows, count) in sizes.items())
    positions = max(dims.high(keys), dims.high((past or 0) + queries))
    own = {"bias": PositionBias(b.weight(heads, positions), bias)} if bias is not None else {}
    return b.output(
        b.add(Attention(q, k, v, heads=heads, kv_heads=heads // share, scale=0.3, past=past, **own, **more))
    )


def cached_shape(heads: int, head_dim: int) -> tuple[int, ...]:
    """The shape of a cache: head by head if heads are whole vec4s."""
    return (1, 128, heads * head_dim) if head_dim % 4 else (1, heads, 128, head_dim)


def rotary(rows: Dim, head_dim: int, pairs: int, interleaved: bool = False, norm: bool = False) -> Graph:
    """Queries of 4 heads, and keys of 2 that go into a cache, rotated by angles that are random."""
    b = Build()
    q, k = b.input("q", 1, rows, 4 * head_dim), b.input("k", 1, rows, 2 * head_dim)
    if norm:
        q, k = (normed(b, x, head_dim) for x in (q, k))
    tables = b.weight(128, pairs), b.weight(128, pairs)
    q = b.add(Rotary(*tables, (q,), heads=(4,), interleaved=interleaved, past=P))
    k = b.add(Rotary(*tables, (k,), heads=(2,), interleaved=interleaved, past=P))
    k = b.Write(k, b.state("keys", *cached_shape(2, head_dim)), at=P)
    y = b.Attention(q, k, k, heads=4, kv_heads=2, scale=head_dim**-0.5, past=P)
    return b.output(y)


def rotated_by_layers(
    rows: Dim,
    head_dim: int,
    pairs: int,
    interleaved: bool = False,
    norm: bool = False,
    bias: bool = False,
    width: int = WIDTH,
) -> Graph:
    """As rotary, with the layers that make queries, keys and values, and attention over a cache of both."""
    b = Build()
    x = b.input("x", 1, rows, width)
    x = b.RMSNormalization(x, b.weight(width), axis=-1, epsilon=1e-6) if norm else x
    tables = b.weight(128, pairs), b.weight(128, pairs)
    widths = {"q": 4 * head_dim, "keys": 2 * head_dim, "values": 2 * head_dim}
    made = {name: b.Linear(x, b.weight(n, width), *[b.weight(n)] * bias) for name, n in widths.items()}
    for name, heads in (("q", 4), ("keys", 2)):
        made[name] = b.add(Rotary(*tables, (made[name],), heads=(heads,), interleaved=interleaved, past=P))
    for name in ("keys", "values"):
        made[name] = b.Write(made[name], b.state(name, *cached_shape(2, head_dim)), at=P)
    return b.output(b.Attention(*made.values(), heads=4, kv_heads=2, scale=head_dim**-0.5, past=P))


def normed(b: Build, x: Value, head_dim: int) -> Value:
    """Token rows with the norm of each head taken."""
    rows, width = x.shape[1:]
    heads = b.Reshape(x, b.constant(known([1, rows, width // head_dim, head_dim], (4,))))
    y = b.RMSNormalization(heads, b.weight(head_dim), axis=-1, epsilon=1e-6)
    return b.Reshape(y, b.constant(known([1, rows, width], (3,))))


def rms_norm(rows: Dim, width: int, *columns: int, residual: bool = False) -> Graph:
    b = Build()
    y = b.RMSNormalization(b.input("x", 1, rows, width), b.weight(width), axis=-1, epsilon=1e-6)
    if residual:
        return b.output(b.Add(b.input("before", 1, rows, width), y))
    return b.output(*[b.Linear(y, b.weight(n, width)) for n in columns] or [y])


def masked(rows: Dim, keys: int, *mask: Dim, head_dim: int = 8) -> Graph:
    """Attention whose mask is data."""
    b = Build()
    q, k, v = (b.input(n, 1, d, 4 * head_dim) for n, d in (("q", rows), ("k", keys), ("v", keys)))
    return b.output(b.Attention(q, k, v, b.input("mask", *mask), heads=4, kv_heads=4, scale=0.3, past=None))


def cached(rows: Dim, width: int, in_layer: bool = True) -> Graph:
    """Rows written into a state, by the layer that makes them or as they are; all rows there are read."""
    b = Build()
    x = b.input("x", 1, rows, width)
    y = b.Linear(x, b.weight(width, width)) if in_layer else x
    return b.output(b.Neg(b.Write(y, b.state("rows", 1, 128, width), at=P)))


def linear(rows: Dim, width: int, *columns: int, tail: bool = False) -> Graph:
    b = Build()
    x = b.input("x", 1, rows, width)
    ys = [b.Linear(x, b.weight(n, width), b.weight(n)) for n in columns]
    return b.output(*(b.Gelu(y) if tail else y for y in ys) if len(columns) == 1 else map(b.Relu, ys))


def window(kernel: int, stride: int, pad: int) -> Graph:
    b = Build()
    x, w = b.input("x", 1, 20, 8), b.weight(12, kernel * 8)
    y = b.Linear(x, w, b.weight(12), window=Window(kernel, stride, pad))
    return b.output(b.Gelu(y, approximate="tanh"))


def embedded(rows: Dim) -> Graph:
    """Tokens and their positions, which are rows P.. of a table."""
    b = Build()
    ids = b.input("ids", 1, rows, dtype="i32")
    bounds = (known([P], (1,)), known([P + rows], (1,)), np.array([0]))
    places = b.Slice(b.weight(128, WIDTH), *map(b.constant, bounds))
    return b.output(b.Add(b.Gather(b.weight(11, WIDTH), ids), places))


def choice(dtype: str) -> Graph:
    b = Build()
    c, x, y = b.input("c", 6, dtype="bool"), b.input("x", 6, dtype=dtype), b.input("y", 6, dtype=dtype)
    return b.output(b.Where(b.Equal(x, x), b.Where(c, x, y), y))


LAYERS = {
    "linear": Layer(lambda: linear(T, WIDTH, 16, tail=True), "Linear", ROWS),
    "linear, one row": Layer(lambda: linear(1, WIDTH, 16, tail=True), "Linear"),
    "linear, three outputs": Layer(lambda: linear(T, WIDTH, 16, 8, 4), "Linear 3*Elementwise", ROWS),
    "linear, three outputs of one row": Layer(lambda: linear(1, WIDTH, 16, 8, 4), "Linear 3*Elementwise"),
    "linear, odd outputs": Layer(lambda: linear(T, WIDTH, 5, 3), "2*Linear 2*Elementwise", ROWS),
    "linear, odd outputs of one row": Layer(lambda: linear(1, WIDTH, 5, 3), "2*Linear 2*Elementwise"),
    "linear, one wide row": Layer(lambda: linear(1, 2048, 16, 8, 4), "Linear 3*Elementwise"),
    "linear, one wide row, a tail": Layer(lambda: linear(1, 2048, 20, tail=True), "Linear"),
    "linear, wide rows": Layer(lambda: linear(T, 272, 16, 8, 4), "Linear 3*Elementwise", ROWS),
    "linear, 40 wide rows": Layer(lambda: linear(40, 512, 36, tail=True), "Linear"),
    "linear, 64 rows": Layer(lambda: linear(64, WIDTH, 36, tail=True), "Linear"),
    "linear, a tall head": Layer(lambda: linear(1, 4, 8200), "Linear"),
    "window": Layer(lambda: window(3, 1, 1), "Linear"),
    "window with a stride": Layer(lambda: window(3, 2, 1), "Linear"),
    "cache": Layer(lambda: cached(T, WIDTH), "Linear Elementwise", ROWS),
    "cache, one row": Layer(lambda: cached(1, WIDTH), "Linear Elementwise", STEPS),
    "cache, odd width": Layer(lambda: cached(T, 7), "Linear Elementwise", ROWS),
    "cache, one row of odd width": Layer(lambda: cached(1, 7), "Linear Elementwise", STEPS),
    "cache, from an input": Layer(lambda: cached(T, WIDTH, in_layer=False), "Write Elementwise", ROWS),
    "cache, odd width, from an input": Layer(lambda: cached(T, 7, in_layer=False), "Write Elementwise", ROWS),
    "self-attention": Layer(lambda: self_attention(T), "Linear Attention Linear", ROWS),
    "self-attention, one row": Layer(lambda: self_attention(1), "Linear Attention Linear", STEPS),
    "self-attention, a norm before": Layer(
        lambda: self_attention(T, norm=True), "LayerNormalization Linear Attention Linear", ROWS
    ),
    "self-attention, one row, a norm before": Layer(
        lambda: self_attention(1, norm=True), "Linear Attention Linear", STEPS
    ),
    "self-attention, shared keys": Layer(lambda: self_attention(T, 6, 2), "Linear Attention Linear", ROWS),
    "self-attention, one row, shared keys": Layer(lambda: self_attention(1, 6, 2), "Linear Attention Linear", STEPS),
    "attention": Layer(lambda: attention(20, 20), "Attention"),
    "attention, many rows": Layer(lambda: attention(70, 90), "Attention"),
    "attention, many rows, causal": Layer(lambda: attention(70, 90, past=20), "Attention"),
    "attention, one row": Layer(lambda: attention(1, 90), "Attention"),
    "attention, one row, more keys than fit": Layer(lambda: attention(1, 4500), "Attention"),
    "attention, one row, eight heads share keys": Layer(lambda: attention(1, 600, 16, 64, share=8), "Attention"),
    "attention, one row, seven wide heads share keys": Layer(
        lambda: attention(1, P + 1, 7, 128, past=P, share=7, cap=1.5), "Attention", STEPS
    ),
    "attention, one row, slices of keys": Layer(
        lambda: attention(1, S + 1, 12, 64, past=S, share=6), "Attention", [{"S": n} for n in (0, 63, 64, 255, 599)]
    ),
    "attention, one row, slices of a window": Layer(
        lambda: attention(1, S + 1, 4, 40, past=S, share=2, window=130, bias="key"),
        "Attention",
        [{"S": n} for n in (1, 129, 130, 500)],
    ),
    "attention, one row, a window that does not fit": Layer(
        lambda: attention(1, 4500, 4, 8, past=4499, share=2, window=2100), "Attention"
    ),
    "attention, wide heads": Layer(lambda: attention(1, 40, 2, 100), "Attention"),
    "attention, many rows with wide heads": Layer(lambda: attention(40, 50, 4, 128, 10, share=2), "Attention"),
    "attention, many rows with the widest heads": Layer(lambda: attention(20, 33, 2, 256), "Attention"),
    "attention, wide heads, all at once": Layer(
        lambda: attention(70, 90, 2, 80, past=20, share=2, cap=1.5, window=30), "Attention"
    ),
    "attention, over rows that vary": Layer(lambda: attention(T, 40, past=None), "Attention", ROWS),
    "attention, over keys that vary": Layer(lambda: attention(2, T), "Attention", ROWS),
    "attention, heads of odd width": Layer(lambda: attention(T, 40, 3, 7), "Attention", ROWS),
    "attention, heads of odd width, causal": Layer(lambda: attention(70, 90, 3, 6, past=20), "Attention"),
    "attention, heads of great width": Layer(lambda: attention(3, 9, 2, 260), "Attention"),
    "attention, one row with heads of odd width": Layer(lambda: attention(1, 40, 3, 7), "Attention"),
    "attention, a window": Layer(lambda: attention(70, 90, past=20, window=7), "Attention"),
    "attention, a window on both sides": Layer(
        lambda: attention(70, 70, 2, 64, past=5, window=9, bias="distance"), "Attention"
    ),
    "attention, a bias on both sides, rows that vary": Layer(
        lambda: attention(T, T, past=3, bias="distance"), "Attention", ROWS
    ),
    "attention, a window, rows that vary": Layer(lambda: attention(T, T, past=0, window=3), "Attention", ROWS),
    "attention, a window, one row": Layer(lambda: attention(1, P + 1, past=P, window=5), "Attention", STEPS),
    "attention, a window, heads of odd width": Layer(lambda: attention(9, 20, 3, 7, 11, window=4), "Attention"),
    "attention, capped": Layer(lambda: attention(70, 90, past=20, cap=1.5), "Attention"),
    "attention, capped, one row": Layer(lambda: attention(1, 90, cap=1.5), "Attention"),
    "attention, many rows, rounded": Layer(
        lambda: attention(70, 90, 2, 64, past=20, window=30, scored=ROUNDED, masked=ROUNDED, weighed=FINE), "Attention"
    ),
    "attention, all rounded, heads of odd width": Layer(
        lambda: attention(9, 20, 3, 7, 11, cap=1.5, scored=ROUNDED, masked=ROUNDED, weighed=FINE), "Attention"
    ),
    "attention, scores rounded": Layer(lambda: attention(9, 20, past=11, scored=ROUNDED), "Attention"),
    # what is not seen has the lowest of the steps, and counts
    "attention, masked scores rounded": Layer(lambda: attention(T, T + 3, past=3, masked=ROUNDED), "Attention", ROWS),
    "attention, one row, all rounded": Layer(
        lambda: attention(1, P + 1, past=P, scored=ROUNDED, masked=ROUNDED, weighed=FINE), "Attention", STEPS
    ),
    "attention, capped, heads of odd width": Layer(lambda: attention(9, 20, 3, 7, cap=1.5), "Attention"),
    **{
        f"attention, a bias by {by}, {name}": Layer(partial(build, bias=by), "Attention", symbols)
        for by in ("key", "distance")
        for name, symbols, build in (
            ("many rows", [{}], partial(attention, 70, 90, past=20, cap=1.5)),
            ("rows that vary", ROWS, partial(attention, T, P + T, past=P, window=9)),
            ("one row", STEPS, partial(attention, 1, P + 1, past=P)),
            ("one row, heads share keys", STEPS, partial(attention, 1, P + 1, 6, past=P, share=3, window=9)),
            ("heads of odd width", ROWS, partial(attention, T, P + T, 3, 7, past=P)),
            ("rows, all rounded", ROWS, partial(attention, T, P + T, past=P, scored=ROUNDED, masked=ROUNDED)),
            ("one row, all rounded", STEPS, partial(attention, 1, P + 1, past=P, masked=ROUNDED, weighed=FINE)),
        )
    },
    **{
        f"rotary, {name}, {'one row' if rows == 1 else 'rows'}": Layer(
            partial(rotary, rows, *sizes), "Rotary Attention", STEPS if rows == 1 else ROWS
        )
        for rows in (T, 1)
        for name, sizes in {
            "halves": (16, 8),
            "part of a head": (16, 4),
            "neighbours": (16, 8, True),
            "neighbours, part of a head": (16, 2, True),
            "halves of odd width": (12, 6),
            "neighbours of odd width": (10, 3, True),
        }.items()
    },
    "rotary, norms of heads": Layer(lambda: rotary(T, 16, 8, norm=True), "Rotary Attention", ROWS),
    "rotary, norms of heads, neighbours": Layer(lambda: rotary(1, 16, 4, True, True), "Rotary Attention", STEPS),
    **{
        f"rotary after layers, {name}": Layer(build, f"Linear{' Rotary' * apart} Attention", STEPS)
        for name, apart, build in (
            ("one row", False, partial(rotated_by_layers, 1, 16, 8)),
            ("one row, a norm before", False, partial(rotated_by_layers, 1, 64, 32, norm=True)),
            ("one row, biases", False, partial(rotated_by_layers, 1, 24, 12, bias=True)),
            (
                "one wide row, a norm before",
                False,
                partial(rotated_by_layers, 1, 16, 8, norm=True, bias=True, width=1280),
            ),
            ("one row, neighbours", False, partial(rotated_by_layers, 1, 16, 8, interleaved=True)),
            ("one row, neighbours in a part", False, partial(rotated_by_layers, 1, 12, 2, interleaved=True, norm=True)),
            ("one wide row, neighbours", False, partial(rotated_by_layers, 1, 16, 4, interleaved=True, width=1280)),
            ("one row, part of a head", True, partial(rotated_by_layers, 1, 16, 4)),
            ("one row, halves of odd width", True, partial(rotated_by_layers, 1, 12, 6)),
        )
    },
    "rotary after layers, rows": Layer(lambda: rotated_by_layers(T, 16, 8), "Linear Rotary Attention", ROWS),
    "RMSNorm and what it is added to": Layer(lambda: rms_norm(T, 24, residual=True), "RMSNormalization", ROWS),
    "RMSNorm": Layer(lambda: rms_norm(T, 24), "RMSNormalization", ROWS),
    "RMSNorm of odd width": Layer(lambda: rms_norm(T, 7), "RMSNormalization", ROWS),
    "RMSNorm, one row": Layer(lambda: rms_norm(1, 24, 16, 8), "2*Linear"),
    "attention, a mask for each head": Layer(lambda: masked(T, 20, 1, 4, T, 20), "Attention", ROWS),
    "attention, a mask of keys": Layer(lambda: masked(9, 20, 1, 1, 1, 20), "Attention"),
    "attention, a mask of many rows": Layer(lambda: masked(70, 90, 1, 1, 70, 90, head_dim=40), "Attention"),
    "attention, a mask, slices of keys": Layer(lambda: masked(T, 90, 1, 1, T, 90), "Attention", ROWS),
    "attention, a mask for one row": Layer(lambda: masked(1, T, 1, 4, 1, T), "Attention", ROWS),
    "attention, a mask, and heads of odd width": Layer(lambda: masked(9, 20, 9, 20, head_dim=5), "Attention"),
    "embedding": Layer(lambda: embedded(T), "Gather", ROWS),
    "embedding, one row": Layer(lambda: embedded(1), "Gather", STEPS),
    "where, of bools": Layer(lambda: choice("bool"), "Elementwise"),
    "where, of f32": Layer(lambda: choice("f32"), "2*Elementwise"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_against_numpy(name: str) -> None:
    layer = LAYERS[name]
    program = Program(layer.build())
    left = Counter(node.op for node in program.graph.nodes if not is_view(node))
    counts = (item.rpartition("*") for item in layer.left.split())
    assert left == sum((Counter({op: int(count or 1)}) for count, _, op in counts), Counter())
    for symbols in layer.symbols:
        program.check(symbols)


@pytest.mark.parametrize("lowest", [np.finfo(np.float32).min, -np.inf])
def test_masks_hide_keys(lowest: float) -> None:
    """Where the lowest number hides all keys from a query, it gets the mean of all values."""
    random = np.random.default_rng(4)
    program = Program(masked(9, 13, 1, 1, 9, 13))
    feeds = {
        name: random.standard_normal((1, rows, 32)).astype(np.float32)
        for name, rows in zip("qkv", (9, 13, 13), strict=True)
    }
    visible = random.random((1, 1, 9, 13)) < 0.5
    visible[..., 3, :] = lowest == -np.inf
    feeds["mask"] = np.where(visible, 0, lowest).astype(np.float32)
    for session in program.sessions:
        assert_equal(session.run("main", feeds), program.reference(feeds))


def is_view(node: Node) -> bool:
    return node.op in ("Slice", "Reshape")
