"""The cache derived from a decoder without one: a decoder run in pieces says what it says in one go."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import T, graph, ops, random, unchanged

from intaglio.codegen.fuse.pipeline import FUSE
from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.passes import pipeline
from intaglio.compiler.passes.canonical import canonical
from intaglio.compiler.passes.fold import fold
from intaglio.compiler.passes.kv_cache import kv_cache, last_position
from intaglio.compiler.passes.merge_linear import merge_linear
from intaglio.compiler.passes.pipeline import UNDERSTAND, Trace
from intaglio.compiler.passes.positions import positions
from intaglio.compiler.semantics import evaluate

P = dim(Symbol("P", 0, 63))
TOKENS = T.terms[0][0]
WIDTH, HEADS, VOCABULARY, ROWS = 8, 2, 20, 6


def decoder(layers: int = 2) -> Graph:
    """ids i64[1,T], rows f32[1,6,8] -> logits f32[1,T,20]: as exporters write it, with causal and cross-attention."""
    weights = {
        "embed": random(VOCABULARY, WIDTH, seed=1),
        "table": random(64, WIDTH, seed=2),
        "n0": np.array(0),
        "n1": np.array(1),
        "ax0": np.array([0]),
        "ax1": np.array([1]),
        "split": np.array([1, -1, HEADS, WIDTH // HEADS]),
        "join": np.array([0, 0, -1]),
        "scale": np.array(0.5, np.float32),
        "zero": np.array(0, np.float32),
        "lowest": np.array(np.finfo(np.float32).min),
        "g": random(WIDTH, seed=3),
        "b": random(WIDTH, seed=4),
    }
    text = (
        "s = Shape(ids) t = Gather(s, n1) r = Range(n0, t, n1) e = Gather(embed, ids) p = Gather(table, r)"
        " x0 = Add(e, p)"
        " column = Unsqueeze(r, ax0) row = Unsqueeze(r, ax1) see = LessOrEqual(column, row)"
        " mask = Where(see, zero, lowest) "
    )
    for i in range(layers):
        for j, kind in enumerate("sc"):  # self, cross
            x, n = f"x{3 * i + j}", f"{kind}{i}"
            keys = f"{n}n" if kind == "s" else "rows"
            weights |= {f"{n}{w}": random(WIDTH, WIDTH, seed=10 * i + 5 * j + k) for k, w in enumerate("qkvo")}
            text += (
                f" {n}n = LayerNormalization<axis=-1>({x}, g, b) {n}q0 = MatMul({n}n, {n}q) {n}q1 = Mul({n}q0, scale)"
                f" {n}k0 = MatMul({keys}, {n}k) {n}v0 = MatMul({keys}, {n}v)"
                f" {n}q2 = Reshape({n}q1, split) {n}k2 = Reshape({n}k0, split) {n}v2 = Reshape({n}v0, split)"
                f" {n}q3 = Transpose<perm=[0,2,1,3]>({n}q2) {n}k3 = Transpose<perm=[0,2,3,1]>({n}k2)"
                f" {n}v3 = Transpose<perm=[0,2,1,3]>({n}v2) {n}r = MatMul({n}q3, {n}k3)"
                + (f" {n}m = Add({n}r, mask)" if kind == "s" else f" {n}m = Identity({n}r)")
                + f" {n}w = Softmax<axis=-1>({n}m) {n}a = MatMul({n}w, {n}v3) {n}a1 = Transpose<perm=[0,2,1,3]>({n}a)"
                f" {n}a2 = Reshape({n}a1, join) {n}y = MatMul({n}a2, {n}o) x{3 * i + j + 1} = Add({x}, {n}y)"
            )
        weights |= {f"f{i}": random(WIDTH, 16, seed=90 + i), f"h{i}": random(16, WIDTH, seed=95 + i)}
        text += (
            f" m{i} = LayerNormalization<axis=-1>(x{3 * i + 2}, g, b) u{i} = MatMul(m{i}, f{i}) a{i} = Gelu(u{i})"
            f" d{i} = MatMul(a{i}, h{i}) x{3 * i + 3} = Add(x{3 * i + 2}, d{i})"
        )
    last = f"x{3 * layers}"
    text += f" n = LayerNormalization<axis=-1>({last}, g, b) et = Transpose(embed) logits = MatMul(n, et)"
    head = f"main (int64[1,T] ids, float[1,{ROWS},{WIDTH}] rows) => (float[1,T,{VOCABULARY}] logits)"
    return graph(f"{head} {{ {text} }}", weights, opset=20)


IDS = np.array([[3, 1, 4, 1, 5]])
FEEDS = {"ids": IDS, "rows": random(1, ROWS, WIDTH, seed=7)}


class Caches:
    """The states of a graph, carried from run to run by hand."""

    def __init__(self, g: Graph) -> None:
        rng = np.random.default_rng(0)  # what is left from an earlier window must not be seen
        self.states = {v.name: rng.standard_normal(v.shape).astype(np.float32) for v in g.states}

    def run(self, g: Graph, ids: np.ndarray, past: int) -> np.ndarray:
        sizes = {"T": ids.shape[1], "P": past}
        feeds = {"ids": ids, "rows": FEEDS["rows"], **self.states}
        values = {v: feeds[v.name] for v in (*g.inputs, *g.states)}
        results = evaluate.compute(g, g.nodes, values, sizes)
        for out, state in ((o, s) for n in g.nodes for o, s in n.written.items()):
            rows = results[out]
            assert rows.shape[-2] == past + ids.shape[1]
            self.states[state.name][..., : rows.shape[-2], :] = rows
        return results[g.outputs[0]]


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return evaluate.run(decoder(), FEEDS, {"T": 5})["logits"]


@pytest.fixture(scope="module")
def derived() -> Graph:
    g = decoder()
    pipeline.run(g, UNDERSTAND, Trace())
    assert positions(g, TOKENS, P) == 1
    pipeline.run(g, (fold,), Trace())
    assert kv_cache(g, TOKENS, P) == 2
    g.verify()
    return g


def test_the_states(derived):
    assert [str(v) for v in derived.states] == [
        f"self.{i}.{k}: f32[1,2,64,4]" for i in range(2) for k in ("key", "value")
    ]
    causal = [n for n in derived.nodes if n.op == "Attention" and n.own.past is not None]
    assert [n.own.past for n in causal] == [P, P]
    assert all(n.inputs[1].shape == (1, HEADS, P + T, WIDTH // HEADS) for n in causal)


@pytest.mark.parametrize("pieces", [[5], [3, 1, 1], [1, 1, 1, 1, 1], [2, 3], [4, 1]])
@pytest.mark.parametrize("fuse", [(), (merge_linear, *FUSE)], ids=["as derived", "fused"])
def test_pieces_say_what_the_whole_says(derived, expected, pieces, fuse):
    prefill, step = derived.copy("prefill"), derived.copy("step", {"T": 1})
    for g in (prefill, step):
        pipeline.run(g, fuse, Trace())
    caches, done = Caches(derived), 0
    for size in pieces:
        ids = IDS[:, done : done + size]
        logits = caches.run(step if size == 1 and done else prefill, ids, done)
        np.testing.assert_allclose(logits, expected[:, done : done + size], rtol=1e-4, atol=1e-5)
        done += size


def test_going_back(derived, expected):
    """Rows after the new ones are of no account: a search may go back to an earlier token."""
    caches = Caches(derived)
    caches.run(derived, IDS, 0)
    logits = caches.run(derived, IDS[:, 2:4], 2)
    np.testing.assert_allclose(logits, expected[:, 2:4], rtol=1e-4, atol=1e-5)


def test_the_last_position(derived, expected):
    g = derived.copy("prefill")
    assert last_position(g, T) == 1
    g.verify()
    assert g.outputs[0].shape == (1, 1, VOCABULARY) and g.outputs[0].name == "logits"
    for size in (5, 2, 1):
        np.testing.assert_allclose(
            Caches(g).run(g, IDS[:, :size], 0), expected[:, size - 1 : size], rtol=1e-4, atol=1e-5
        )
    products = [n for n in g.nodes if n.op == "Linear" and n.output.shape[-1] == VOCABULARY]
    assert [n.output.shape for n in products] == [(1, 1, VOCABULARY)], "only one row meets the vocabulary"


def test_the_last_of_one_token_is_that_token(derived):
    g = derived.copy("step", {"T": 1})
    assert last_position(g, 1) == 0


# tokens that meet elsewhere

W = {
    "w": random(4, 4),
    "n0": np.array(0),
    "n1": np.array(1),
    "ax1": np.array([1]),
    "ax2": np.array([2]),
    "i0": np.array([0]),
    "i1": np.array([1]),
    "minus1": np.array([-1]),
    "far": np.array([2**62]),
    "row": random(1, 1, 4),
    "tall": random(4, seed=1),
    "split": np.array([1, -1, 2, 2]),
    "join": np.array([0, 0, -1]),
    "scrambled": np.array([1, 2, -1, 2]),
    "flat": np.array([1, 1, -1]),
    "swapped": np.array([1, 4, -1]),
    "four": np.array([2, 2]),
    "mask": np.array(0.0, np.float32),
}


def check(body: str) -> int:
    g = graph(f"main (int64[1,T] ids, float[1,T,4] x, float[1,T,4] z) => (float y) {{ {body} }}", W)
    fold(g)
    canonical(g)
    return kv_cache(g, TOKENS, P)


@pytest.mark.parametrize(
    "body",
    [
        "y = MatMul(x, w)",
        "a = MatMul(x, w) y = Add(a, z)",
        "y = Softmax<axis=2>(x)",
        "y = LayerNormalization<axis=2>(x, tall)",
        "y = LayerNormalization<axis=-1>(x, tall)",
        "y = ReduceMean(x, ax2)",
        "y = ReduceMean(x, minus1)",
        "y = ReduceMax<keepdims=0>(x, minus1)",
        "y = Concat<axis=2>(x, z)",
        "a, b = Split<axis=2>(x, four) y = Mul(a, b)",
        "a = Slice(x, i1, far, ax2) y = Abs(a)",
        "a = Reshape(x, split) b = Transpose<perm=[0,2,1,3]>(a) c = Transpose<perm=[0,2,1,3]>(b) y = Reshape(c, join)",
        "a = Squeeze(x, i0) b = MatMul(a, w) y = Unsqueeze(b, i0)",
        "e = Gather(w, ids) y = Add(e, x)",
        "a = Gather<axis=2>(x, n1) y = Abs(a)",
        "a = Add(x, row) y = Erf(a)",
    ],
)
def test_tokens_that_stay_apart(body):
    assert check(body) == 0


@pytest.mark.parametrize(
    "body",
    [
        "y = ReduceMean(x, ax1)",
        "y = ReduceMean(x)",
        "y = ReduceMean<keepdims=0>(x, ax1)",
        "y = Softmax<axis=1>(x)",
        "y = LayerNormalization<axis=1>(x, w)",
        "y = CumSum(x, n1)",
        "t = Transpose<perm=[0,2,1]>(z) y = MatMul(x, t)",  # every token with every other
        "t = Transpose<perm=[0,2,1]>(x) y = Softmax<axis=-1>(t)",
        "t = Transpose<perm=[0,2,1]>(x) y = ReduceMax(t, minus1)",
        "a = Slice(x, i0, minus1, ax1) y = Concat<axis=1>(row, a)",  # each token sees the one before
        "y = Concat<axis=1>(x, z)",
        "a = Gather<axis=1>(x, n0) y = Abs(a)",  # the first token
        "a = Slice(x, minus1, far, ax1) y = Add(x, a)",  # the last token
        "a = Unsqueeze(x, ax1) b = Unsqueeze(z, ax2) y = Mul(a, b)",
        "a = Reshape(x, scrambled) y = Abs(a)",
        "a = Reshape(x, flat) y = Abs(a)",
        "a = Reshape(x, swapped) y = Abs(a)",
    ],
)
def test_tokens_that_meet_are_refused(body):
    with pytest.raises(UnsupportedOperator, match="mixes tokens"):
        check(body)


def attention(mask: str, keys: str = "x") -> str:
    return (
        f"q0 = Reshape(x, split) q = Transpose<perm=[0,2,1,3]>(q0) k0 = Reshape({keys}, split)"
        f" k = Transpose<perm=[0,2,3,1]>(k0) v = Transpose<perm=[0,2,1,3]>(k0) r = MatMul(q, k) {mask}"
        " p = Softmax<axis=-1>(m) o = MatMul(p, v) o1 = Transpose<perm=[0,2,1,3]>(o) y = Reshape(o1, join) "
    )


def understood(body: str) -> Graph:
    g = graph(f"main (float[1,T,4] x, float[1,6,4] rows, float[1,1,T,T] bias) => (float y) {{ {body} }}", W)
    unchanged(g, lambda g: sum(step(g) for step in UNDERSTAND))
    assert ops(g)["Attention"] == 1
    return g


def test_attention_that_is_not_causal_is_refused():
    for mask in ("m = Identity(r)", "m = Add(r, bias)"):
        with pytest.raises(UnsupportedOperator, match="mixes tokens"):
            kv_cache(understood(attention(mask)), TOKENS, P)
    assert kv_cache(understood(attention("m = Identity(r)", "rows")), TOKENS, P) == 0


def test_keys_before_those_of_the_tokens_are_refused():
    """A prefix that every sequence has: the cache would have to hold it first."""
    body = (
        " keys = Concat<axis=1>(row, x) s = Shape(x) t = Gather(s, n1) t1 = Add(t, n1) c = Range(n0, t1, n1)"
        " d = Range(n1, t1, n1) d1 = Unsqueeze(d, ax1) see = LessOrEqual(c, d1) lowest = Log(mask)"
        " hide = Where(see, mask, lowest)" + attention("m = Add(r, hide)", "keys")
    )
    with np.errstate(divide="ignore"):
        g = graph(f"main (float[1,T,4] x) => (float y) {{ {body} }}", W)
        for step in UNDERSTAND:
            step(g)
    assert [n.own.past for n in g.nodes if n.op == "Attention"] == [1]
    with pytest.raises(UnsupportedOperator):
        kv_cache(g, TOKENS, P)
