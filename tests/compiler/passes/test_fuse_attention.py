"""Attention: the exporters' heads, scales and masks; and masks that must stay what they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from graphs import T, graph, ops, random, unchanged

from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.passes.canonical import canonical
from intaglio.compiler.passes.float_rounding import float_rounding
from intaglio.compiler.passes.float_scale import float_scale
from intaglio.compiler.passes.fold import fold
from intaglio.compiler.passes.fuse_attention import Attention, fuse_attention
from intaglio.compiler.passes.fuse_quantized import fuse_quantized
from intaglio.compiler.passes.pipeline import UNDERSTAND, Trace, run
from intaglio.compiler.rewrite.pattern import apply
from intaglio.compiler.semantics import evaluate

P = dim(Symbol("P", 0, 40))
LOWEST = np.finfo(np.float32).min
W = {
    "split": np.array([1, -1, 2, 4]),
    "join": np.array([0, 0, -1]),
    "half": np.array(0.5, np.float32),
    "root_half": np.array(math.sqrt(0.5), np.float32),
    "one": np.array(1.0, np.float32),
    "row": random(4),
    "zero": np.array(0.0, np.float32),
    "zero1": np.array([0.0], np.float32),
    "minus_inf": np.array(-np.inf, np.float32),
    "minus_inf1": np.array([-np.inf], np.float32),
    "lowest": np.array(LOWEST),
    "ten_thousandth": np.array(-10000.5, np.float32),
    "tenth": np.array(0.1, np.float32),
    "slopes": np.array([[[0.5]], [[0.125]]], np.float32),
    "n0": np.array(0),
    "n1": np.array(1),
    "n2": np.array(2),
    "window": np.array(3),
    "wide_window": np.array(20),
    "longest": np.array(64),
    "ax0": np.array([0]),
    "ax1": np.array([1]),
    "ax3": np.array([3]),
    "ax01": np.array([0, 1]),
    "minus1": np.array([-1]),
    "minus2": np.array([-2]),
    "big": np.array([2**62]),
}

QUERY = "q0 = Reshape(xq, split) q = Transpose<perm=[0,2,1,3]>(q0) "
KEY = "k0 = Reshape(xk, split) kt = Transpose<perm=[0,2,3,1]>(k0) "
VALUE = "v0 = Reshape(xv, split) v = Transpose<perm=[0,2,1,3]>(v0) "
SCORES = "scores = MatMul(q, kt) "
WEIGHTS = "p = Softmax<axis=-1>(scores) "
OUT = "o = MatMul(p, v) o1 = Transpose<perm=[0,2,1,3]>(o) y = Reshape(o1, join) "
PLAIN = QUERY + KEY + VALUE + SCORES + WEIGHTS + OUT

# Sizes: T queries and S keys. `start` is the number of keys before the first query's.
SIZES = (
    "sq = Shape(xq) t = Gather(sq, n1) sk = Shape(xk) s = Gather(sk, n1) start = Sub(s, t)"
    " columns = Range(n0, s, n1) rows = Range(start, s, n1)"
    " column = Unsqueeze(columns, ax0) row0 = Unsqueeze(rows, ax1)"
    " t1 = Unsqueeze(t, ax0) s1 = Unsqueeze(s, ax0) square = Concat<axis=0>(t1, s1) "
)


def attention(body: str, keys: object = T, more: str = "", outputs: str = "float y") -> Graph:
    text = f"main (float[1,T,8] xq, float[1,S,8] xk, float[1,S,8] xv{more}) => ({outputs}) {{ {body} }}"
    g = graph(text, W, S=keys)
    fold(g)
    canonical(g)
    float_scale(g)
    return g


def fused(body: str, keys: object = T, more: str = "", outputs: str = "float y") -> Graph:
    """The graph after the pass, for what it computes held against the graph before."""
    sizes = [{"T": t, "P": p} for t, p in ((5, 3), (1, 2), (24, 0))]
    if keys is T:
        sizes = [5, 1, 24]
    g = attention(body, keys, more, outputs)
    count = unchanged(g, fuse_attention, sizes)
    assert ops(g)["Attention"] == count
    return g


def the_attention(g: Graph):
    canonical(g)
    (node,) = [n for n in g.nodes if n.op == "Attention"]
    assert ops(g) == {"Attention": 1}, "heads, mask and scale are gone"
    return node


# heads


@pytest.mark.parametrize(
    "key",
    [
        KEY,
        "k0 = Reshape(xk, split) k1 = Transpose<perm=[0,2,1,3]>(k0) kt = Transpose<perm=[0,1,3,2]>(k1) ",
        # dynamo: batch and heads are one axis while the last two are swapped
        "k0 = Reshape(xk, split) k1 = Transpose<perm=[0,2,1,3]>(k0) sk1 = Shape(k1)"
        " last = Slice(sk1, minus1, big) middle = Slice(sk1, minus2, minus1) before = Slice(sk1, ax0, minus2)"
        " flat = Concat<axis=0>(minus1, middle, last) k2 = Reshape(k1, flat)"
        " k3 = Transpose<perm=[0,2,1]>(k2) back = Concat<axis=0>(before, last, middle) kt = Reshape(k3, back) ",
    ],
)
def test_keys(key):
    node = the_attention(fused(QUERY + key + VALUE + SCORES + WEIGHTS + OUT))
    assert [v.name for v in node.inputs] == ["xq", "xk", "xv"]
    assert node.settings == {"heads": 2, "kv_heads": 2, "scale": 1.0, "past": None}


def test_cross_attention_has_keys_of_its_own():
    node = the_attention(fused(PLAIN, keys=7))
    assert node.own.past is None


@pytest.mark.parametrize(
    "body",
    [
        PLAIN.replace("q0 = Reshape(xq, split)", "xs = Mul(xq, half) q0 = Reshape(xs, split)"),
        PLAIN.replace(SCORES, "raw = MatMul(q, kt) scores = Mul(raw, half) "),
        PLAIN.replace(SCORES, "raw = MatMul(q, kt) scores = Mul(half, raw) "),
        PLAIN.replace(SCORES, "qs = Mul(q, root_half) ks = Mul(kt, root_half) scores = MatMul(qs, ks) "),
        # Optimum: the scale on the queries, and a scale of 1 on queries and keys each
        PLAIN.replace(SCORES, "qs = Mul(q, half) qt = Mul(qs, one) ks = Mul(kt, one) scores = MatMul(qt, ks) "),
    ],
)
def test_scales(body):
    assert the_attention(fused(body)).own.scale == pytest.approx(0.5)


def check_declined(body: str, **weights: np.ndarray) -> None:
    g = graph(f"main (float[1,T,8] xq, float[1,T,8] xk, float[1,T,8] xv) => (float y) {{ {body} }}", W | weights)
    canonical(g)
    assert unchanged(g, fuse_attention) == 0
    outcome = apply(g, Attention)
    assert "q does not split" in outcome.declined[0]


def test_heads_that_are_not_columns_of_a_row():
    transpose = "q = Transpose<perm=[0,2,1,3]>(q0)"
    check_declined(PLAIN.replace(transpose, "q = Reshape(q0, scrambled)"), scrambled=np.array([1, 2, -1, 4]))
    apart = (
        "q1 = Reshape(xq, apart) q = Transpose<perm=[0,3,1,2]>(q1)"  # [T, D, H]: a head's numbers are not neighbours
    )
    check_declined(PLAIN.replace(transpose, apart), apart=np.array([1, -1, 4, 2]))


@pytest.mark.parametrize(
    "body",
    [
        PLAIN.replace("Softmax<axis=-1>", "Softmax<axis=-2>"),
        PLAIN.replace("Softmax<axis=-1>", "Sigmoid"),
        PLAIN.replace("MatMul(p, v)", "MatMul(p1, v)").replace("o = ", "p1 = Mul(p, p) o = "),
    ],
)
def test_near_misses(body):
    assert ops(fused(body))["Attention"] == 0


def test_scores_that_are_read_elsewhere():
    assert ops(fused(PLAIN + "z = Abs(p)", outputs="float y, float z"))["Attention"] == 0
    assert ops(fused(PLAIN, outputs="float y, float scores"))["Attention"] == 0


def test_a_scale_for_each_key_is_declined():
    body = PLAIN.replace(SCORES, "raw = MatMul(q, kt) scores = Mul(raw, c) ")
    assert ops(fused(body, more=", float c"))["Attention"] == 0
    assert ops(fused(body, more=", float[1,2,1,1] c"))["Attention"] == 0


def test_several_sequences_at_once_are_declined():
    body = PLAIN.replace("split", "pair")
    text = f"main (float[2,T,8] xq, float[2,T,8] xk, float[2,T,8] xv) => (float y) {{ {body} }}"
    g = graph(text, W | {"pair": np.array([2, -1, 2, 4])})
    outcome = apply(g, Attention)
    assert outcome.fired == 0 and "not [1, heads, tokens, head_dim]" in outcome.declined[0]


# masks

MASKED = "masked = Add(scores0, mask) "
WHERE = "masked = Where(visible, scores0, minus_inf) "


def masked(mask: str, join: str = MASKED, safe: bool = False) -> str:
    scores = "scores0 = MatMul(q, kt) " + SIZES + mask + join
    weights = "p = Softmax<axis=-1>(masked) "
    if safe:
        weights = "p0 = Softmax<axis=-1>(masked) bad = IsNaN(p0) p = Where(bad, zero, p0) "
    return QUERY + KEY + VALUE + scores + weights + OUT


VISIBLE = "visible = LessOrEqual(column, row0) "
OPTIMUM = (
    "c1 = Unsqueeze(column, ax0) c2 = Unsqueeze(c1, ax0) r1 = Unsqueeze(row0, ax0) r2 = Unsqueeze(r1, ax0)"
    " seen = LessOrEqual(c2, r2) b1 = Unsqueeze(n1, ax0) wide = Concat<axis=0>(b1, b1, t1, s1)"
    " expanded = Expand(seen, wide) cut = Slice(expanded, ax0, s1, ax3, ax1) mask = Where(cut, zero1, minus_inf1) "
)
CAUSAL = {
    "example": VISIBLE + "m = Where(visible, zero, lowest) mask = Unsqueeze(m, ax01) ",
    "Optimum": OPTIMUM,
    "dynamo": VISIBLE
    + "b = Unsqueeze(visible, ax0) e = Expand(b, square) f = Unsqueeze(e, ax0) mask = Where(f, zero, lowest) ",
    "GreaterOrEqual": "visible = GreaterOrEqual(row0, column) mask = Where(visible, zero, minus_inf) ",
    "Greater": "hidden = Greater(column, row0) mask = Where(hidden, minus_inf, zero) ",
    "Not Less": "hidden = Less(row0, column) visible = Not(hidden) mask = Where(visible, zero, lowest) ",
    "minus ten thousand": VISIBLE + "mask = Where(visible, zero, ten_thousandth) ",
    "one minus mask": VISIBLE + "f = Cast<to=1>(visible) g = Sub(one, f) mask = Mul(g, lowest) ",
    "Trilu of ones": "f = ConstantOfShape<value=float[1]{1.0}>(square) k = Sub(s, t)"
    " g = Trilu<upper=0>(f, k) b = Cast<to=9>(g) mask = Where(b, zero, minus_inf) ",
    "Trilu of lowest": "f = Expand(lowest, square) j = Sub(s, t) k = Add(j, n1) mask = Trilu<upper=1>(f, k) ",
    "and what is always so": VISIBLE
    + "always = Equal(column, column) b = And(visible, always) mask = Where(b, zero, lowest) ",
}


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("past", ["no past", "past"])
def test_causal_masks_fold(name, past):
    keys = T if past == "no past" else P + T
    node = the_attention(fused(masked(CAUSAL[name]), keys))
    assert node.own.past == keys - T
    assert len(node.inputs) == 3


@pytest.mark.parametrize("hidden", ["minus_inf", "lowest"])
def test_boolean_masks_fold(hidden):
    body = masked(VISIBLE, WHERE.replace("minus_inf", hidden))
    assert the_attention(fused(body, P + T)).own.past == P


@pytest.mark.parametrize("hidden", ["minus_inf", "lowest"])
def test_two_masks_fold(hidden):
    """GPT-2's own, and one for tokens that count, which all do."""
    twice = WHERE.replace("minus_inf", hidden).replace("masked", "once") + "masked = Add(once, mask) "
    everything = "f = ConstantOfShape<value=float[1]{0.0}>(square) mask = Add(f, zero) "
    for second in (everything, "mask = Where(visible, zero, lowest) "):
        g = attention(masked(VISIBLE + second, twice), P + T)
        assert unchanged(g, fuse_attention, [{"T": t, "P": p} for t, p in ((5, 3), (1, 2), (24, 0))]) == 2
        assert the_attention(g).own.past == P


def test_two_masks_stay_where_the_first_is_not_lower_than_any_score():
    twice = WHERE.replace("minus_inf", "ten_thousandth").replace("masked", "once") + "masked = Add(once, mask) "
    assert ops(fused(masked(VISIBLE, twice), more=", float[1,1,T,T] mask"))["Attention"] == 0


@pytest.mark.parametrize("name", CAUSAL)
def test_the_guard_against_rows_without_a_key_folds_too(name):
    assert the_attention(fused(masked(CAUSAL[name], safe=True))).own.past == 0


def test_a_table_that_is_longer_than_the_sequence():
    table = np.where(np.tri(64, dtype=bool), 0, LOWEST).astype(np.float32)[None, None]
    body = masked("rows_of = Slice(table, ax0, t1, n2x) mask = Slice(rows_of, ax0, s1, ax3) ")
    text = f"main (float[1,T,8] xq, float[1,T,8] xk, float[1,T,8] xv) => (float y) {{ {body} }}"
    g = graph(text, W | {"table": table, "n2x": np.array([2])}, S=T)
    fold(g)
    canonical(g)
    unchanged(g, fuse_attention, sizes=(5, 1, 64))
    assert the_attention(g).own.past == 0


@pytest.mark.parametrize("name, seen", [("window", 3), ("wide_window", 20)])
@pytest.mark.parametrize("past", ["no past", "a past"])
def test_sliding_windows_are_found_whatever_their_size(name, seen, past):
    """The longest sequence is 64, of which a window of 20 leaves a part."""
    near = f"low = Sub(row0, {name}) near = Greater(column, low) b = And(visible, near) mask = Where(b, zero, lowest) "
    keys = T if past == "no past" else P + T
    node = the_attention(fused(masked(VISIBLE + near), keys))
    assert (node.own.past, node.own.window) == (keys - T, seen)
    assert len(node.inputs) == 3


def test_a_window_longer_than_the_context_is_dropped():
    near = "low = Sub(row0, longest) near = Greater(column, low) b = And(visible, near) mask = Where(b, zero, lowest) "
    assert the_attention(fused(masked(VISIBLE + near))).own.window is None


NOT_CAUSAL = {
    "strictly before": "visible = Less(column, row0) mask = Where(visible, zero, lowest) ",
    "a bias that depends on key and query": VISIBLE
    + "d = Mul(column, row0) f = Cast<to=1>(d) g = Mul(f, tenth) mask = Where(visible, g, lowest) ",
    "the first key always": VISIBLE + "first = Equal(column, n0) b = Or(visible, first) c = Equal(column, n1)"
    " d = Or(b, c) mask = Where(d, zero, lowest) ",
}


BY_KEY = "f = Cast<to=1>(column) g = Mul(f, slopes) "
BY_DISTANCE = "d = Sub(column, row0) f = Cast<to=1>(d) g = Mul(f, slopes) "
FROM_THE_LAST = "last = Sub(s, n1) d = Sub(column, last) f = Cast<to=1>(d) g = Mul(f, slopes) "  # MPT
WITH_MASK = "m = Where(visible, zero, lowest) "
BIASES = {
    "a choice": "mask = Where(visible, g, lowest) masked = Add(scores0, mask) ",
    "Bloom": WITH_MASK + "b = Add(scores0, g) masked = Add(b, m) ",
    "T5": WITH_MASK + "b = Add(m, g) masked = Add(scores0, b) ",
    "MPT": "hidden = Not(visible) b = Add(scores0, g) masked = Where(hidden, lowest, b) ",
    "Falcon": WITH_MASK + "b = Add(scores0, g) c = Mul(b, half) masked = Add(c, m) ",
    "GPT-2": WITH_MASK + "b = Where(visible, scores0, lowest) masked = Add(b, g) ",
}


@pytest.mark.parametrize("keys", [T, P + T], ids=["no past", "past"])
@pytest.mark.parametrize("by, bias", [("key", BY_KEY), ("distance", BY_DISTANCE), ("distance", FROM_THE_LAST)])
@pytest.mark.parametrize("name", BIASES)
def test_position_biases_become_tables(name, by, bias, keys):
    g = attention(masked(VISIBLE + bias, BIASES[name]), keys)
    assert unchanged(g, fuse_attention, [{"T": t, "P": p} for t, p in ((5, 3), (1, 2), (24, 0))]) > 0
    node = the_attention(g)
    assert node.own.past == keys - T and node.own.mask is None
    assert node.own.bias.by == by and node.own.bias.table.shape == (2, 64 if keys is T else 104)


def test_layers_share_a_position_bias():
    layer = "vt = Transpose<perm=[0,1,3,2]>(v) scores2 = MatMul(q, vt) b2 = Add(scores2, g) masked2 = Add(b2, m) "
    layer += (
        "p2 = Softmax<axis=-1>(masked2) o2 = MatMul(p2, v) o3 = Transpose<perm=[0,2,1,3]>(o2) z = Reshape(o3, join) "
    )
    g = attention(masked(VISIBLE + BY_DISTANCE, BIASES["Bloom"]) + layer, outputs="float y, float z")
    assert unchanged(g, fuse_attention) > 0
    first, second = (n.own.bias.table for n in g.nodes if n.op == "Attention")
    assert first is second


AHEAD = {
    "from here on": ("visible = GreaterOrEqual(column, row0)", 63, 64),
    "one later": ("r = Add(row0, n1) visible = LessOrEqual(column, r)", 1, None),
    "one before to one later": (
        "d = Sub(column, row0) apart = Abs(d) visible = LessOrEqual(apart, n1)",
        1,
        3,
    ),
}


@pytest.mark.parametrize("name", AHEAD)
def test_masks_that_show_keys_ahead(name):
    visible, ahead, window = AHEAD[name]
    g = attention(masked(f"{visible} mask = Where(visible, zero, lowest) "))
    assert unchanged(g, fuse_attention) > 0
    node = the_attention(g)
    assert (node.own.past, node.own.window, len(node.inputs)) == (ahead, window, 3)


@pytest.mark.parametrize("name", NOT_CAUSAL)
def test_other_masks_stay_data(name):
    g = fused(masked(NOT_CAUSAL[name]))
    (node,) = [n for n in g.nodes if n.op == "Attention"]
    assert node.own.past is None
    assert node.inputs[3].name == "mask"


@pytest.mark.parametrize("safe", [False, True])
def test_a_mask_that_hides_nothing_is_dropped(safe):
    node = the_attention(
        fused(masked("f = ConstantOfShape<value=float[1]{0.0}>(square) mask = Add(f, zero) ", safe=safe))
    )
    assert node.own.past is None and len(node.inputs) == 3


def test_masks_that_are_data():
    g = fused(masked("mask = Where(pad, zero, lowest) "), more=", bool[1,1,1,T] pad")
    assert [n.own.past for n in g.nodes if n.op == "Attention"] == [None]
    g = fused(masked(VISIBLE + "b = And(visible, pad) mask = Where(b, zero, lowest) "), more=", bool[1,1,1,T] pad")
    assert [n.own.past for n in g.nodes if n.op == "Attention"] == [None]
    g = fused(masked(""), more=", float[1,1,T,T] mask")
    assert [len(n.inputs) for n in g.nodes if n.op == "Attention"] == [4]


def test_a_mask_for_each_head_folds_if_all_are_causal():
    heads = "h = Unsqueeze(m, ax0) two = Concat<axis=0>({}) mask = Unsqueeze(two, ax0) "
    both = VISIBLE + "m = Where(visible, zero, lowest) " + heads.format("h, h")
    assert the_attention(fused(masked(both))).own.past == 0
    one = VISIBLE + "m = Where(visible, zero, lowest) u = Where(visible, zero, zero) uu = Unsqueeze(u, ax0) "
    g = fused(masked(one + heads.format("h, uu")))
    assert [n.own.past for n in g.nodes if n.op == "Attention"] == [None]


def test_boolean_data_is_declined():
    g = attention(masked("", WHERE), more=", bool[1,1,T,T] visible")
    outcome = apply(g, Attention)
    assert outcome.fired == 0 and any("visible is boolean" in why for why in outcome.declined)


def test_a_guard_stays_where_data_may_hide_everything():
    """All keys of a query are masked: the exporter's graph makes zeros of it, a softmax alone would make NaN."""
    g = attention(masked("", safe=True), more=", float[1,1,T,T] mask")
    rows = {name: random(1, 3, 8, seed=i) for i, name in enumerate(("xq", "xk", "xv"))}
    feeds = rows | {"mask": np.full((1, 1, 3, 3), -np.inf, np.float32)}
    with np.errstate(invalid="ignore"):
        assert (evaluate.run(g, feeds, {"T": 3})["y"] == 0).all()
        fuse_attention(g)
        assert (evaluate.run(g, feeds, {"T": 3})["y"] == 0).all()


def test_sequences_too_long_to_try():
    """A window wider than what can be tried would look causal."""
    long = dim(Symbol("L", 1, 1 << 18))
    body = masked(CAUSAL["example"])
    text = f"main (float[1,L,8] xq, float[1,L,8] xk, float[1,L,8] xv) => (float y) {{ {body} }}"
    g = graph(text, W, L=long)
    fold(g)
    canonical(g)
    fuse_attention(g)
    assert [n.own.past for n in g.nodes if n.op == "Attention"] == [None]


# roundings to 8 bits


def rounded(value: str, result: str) -> str:
    """`result` is `value` rounded, as a quantizer writes it."""
    return f"{result}_q = QuantizeLinear({value}, step, middle) {result} = DequantizeLinear({result}_q, step, middle) "


def rounding(body: str) -> Graph:
    text = f"main (float[1,T,8] xq, float[1,T,8] xk, float[1,T,8] xv) => (float y) {{ {body} }}"
    g = graph(
        text,
        W | {"step": np.array(0.25, np.float32), "giant": np.array(2e36, np.float32), "middle": np.array(100, np.int8)},
    )
    fuse_quantized(g)
    fold(g)
    canonical(g)
    float_rounding(g)
    return g


TRIANGLE = SIZES + "seen = LessOrEqual(column, row0) mask = Where(seen, zero, lowest) "
ROUNDED = {
    "scores": rounded("dots", "scores"),
    "scores, then scaled": rounded("dots", "a") + "scores = Mul(a, half) ",
    "scores, scaled, and again": rounded("dots", "a") + "b = Mul(a, half) " + rounded("b", "scores"),
    "before the mask": rounded("dots", "a") + TRIANGLE + "scores = Add(a, mask) ",
    "after the mask": TRIANGLE + "a = Add(dots, mask) " + rounded("a", "scores"),
    "around the mask": rounded("dots", "a") + TRIANGLE + "b = Add(a, mask) " + rounded("b", "scores"),
    "with the mask": TRIANGLE
    + rounded("mask", "m").replace("step", "giant")
    + "a = Add(dots, m) "
    + rounded("a", "scores"),
    "a choice": rounded("dots", "a") + TRIANGLE + "scores = Where(seen, a, lowest) ",
    "a choice and a sum": rounded("dots", "a")
    + TRIANGLE
    + "b = Where(seen, a, lowest) c = Add(b, mask) "
    + rounded("c", "scores"),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_scores_are_rounded(name: str) -> None:
    g = rounding(PLAIN.replace(SCORES, "dots = MatMul(q, kt) " + ROUNDED[name]))
    assert unchanged(g, fuse_attention) > 0
    (node,) = [n for n in g.nodes if n.op == "Attention"]
    assert node.own.scored or node.own.masked
    assert node.own.past == (0 if "mask" in name or "choice" in name else None)


@pytest.mark.parametrize(
    "weights",
    [
        "a = Softmax<axis=-1>(scores) " + rounded("a", "p"),
        "a = Softmax<axis=-1>(scores) n = IsNaN(a) b = Where(n, zero, a) " + rounded("b", "p"),
        "s = Softmax<axis=-1>(scores) " + rounded("s", "a") + "n = IsNaN(a) b = Where(n, zero, a) " + rounded("b", "p"),
    ],
)
def test_weights_are_rounded(weights: str) -> None:
    g = rounding(PLAIN.replace(WEIGHTS, weights))
    assert unchanged(g, fuse_attention) == 1
    assert [n.op for n in g.nodes if "weighed" in n.settings] == ["Attention"]


def test_heads_are_rounded_as_rows() -> None:
    body = PLAIN
    for before, after in (("q = ", "q1 = "), ("kt = ", "k1 = "), ("v = ", "v1 = ")):
        body = body.replace(before, after, 1)
    body = body.replace(SCORES, "".join(map(rounded, ("q1", "k1", "v1"), ("q", "kt", "v"))) + SCORES)
    g = rounding(body)
    assert unchanged(g, fuse_attention) == 1
    canonical(g)
    assert ops(g) == {"FakeQuantize": 3, "Attention": 1}


def test_heads_that_are_computed_apart() -> None:
    """What differs from head to head, and what is repeated after it was computed, is put together to rows."""
    query = "q0 = Reshape(xq, split) q1 = Transpose<perm=[0,2,1,3]>(q0) q = Mul(q1, heads) "
    one = "k0 = Reshape(xk, one_head) k1 = Transpose<perm=[0,2,1,3]>(k0) k2 = Abs(k1) k3 = Expand(k2, twice) "
    body = query + one + "kt = Transpose<perm=[0,1,3,2]>(k3) v = Identity(k3) " + SCORES + WEIGHTS + OUT
    g = graph(
        f"main (float[1,T,8] xq, float[1,T,4] xk) => (float y) {{ {body} }}",
        W
        | {"one_head": np.array([1, -1, 1, 4]), "twice": np.array([1, 2, 1, 1])}
        | {"heads": np.array([[[[2.0]], [[3.0]]]], np.float32)},
    )
    fold(g)
    canonical(g)
    assert unchanged(g, fuse_attention) == 1
    (node,) = [n for n in g.nodes if n.op == "Attention"]
    assert (node.own.heads, node.own.kv_heads) == (2, 1)


# the reference


def test_reference():
    q, k, v = random(1, 2, 3, 4), random(1, 2, 4, 5, seed=1), random(1, 2, 5, 4, seed=2)
    mask = np.where(np.tri(3, 5, 2, dtype=bool), 0, -np.inf).astype(np.float32)
    scores = np.tanh(q @ k * 0.5) * 3 + mask
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    actual = Attention.reference(
        q=q,
        k=k,
        v=v,
        scale=np.array(0.5, np.float32),
        cap=np.array(3, np.float32),
        mask=mask,
        blind=np.zeros((3, 1), bool),
        **dict.fromkeys(("scored", "masked", "weighed")),
    )
    np.testing.assert_allclose(actual, weights @ v, rtol=1e-5, atol=1e-6)


def test_grouped_queries():
    """Each head of keys serves two heads of queries, repeated by Expand: no split of rows, so it stays decomposed."""
    body = (
        (
            "q0 = Reshape(xq, four) q = Transpose<perm=[0,2,1,3]>(q0) "
            "k0 = Reshape(xk, two) k1 = Transpose<perm=[0,2,3,1]>(k0) kt = Concat<axis=1>(k1, k1) "
            "v0 = Reshape(xv, two) v1 = Transpose<perm=[0,2,1,3]>(v0) v = Concat<axis=1>(v1, v1) "
        )
        + SCORES
        + WEIGHTS
        + OUT
    )
    text = f"main (float[1,T,8] xq, float[1,T,4] xk, float[1,T,4] xv) => (float y) {{ {body} }}"
    g = graph(text, W | {"four": np.array([1, -1, 4, 2]), "two": np.array([1, -1, 2, 2])})
    canonical(g)
    assert unchanged(g, fuse_attention) == 0


def test_scores_that_are_scaled_with_their_mask():
    join = "late = Add(scores0, mask) masked = Mul(late, half) "
    g = attention(masked(CAUSAL["example"], join))
    assert unchanged(g, fuse_attention) == 2
    assert (the_attention(g).own.past, the_attention(g).own.scale) == (0, 0.5)
    g = attention(masked("", join), more=", float[1,1,T,T] mask")
    assert unchanged(g, fuse_attention) == 2
    assert [(len(n.inputs), n.own.scale) for n in g.nodes if n.op == "Attention"] == [(4, 0.5)]


# ONNX's own operator, from opset 23 on

GROUPED = "q_num_heads=4, kv_num_heads=2"
WHOLE = {"heads": 4, "kv_heads": 4, "scale": pytest.approx(1 / math.sqrt(8)), "past": None}
TRIANGLE = (
    "t = Shape<start=1,end=2>(x) t0 = Squeeze(t) i = Range(n0, t0, n1) i1 = Unsqueeze(i, ax1) i0 = Unsqueeze(i, ax0)"
    " seen = LessOrEqual(i0, i1) added = Where(seen, zero, lowest) "
)
FOUR = (
    "q0 = Reshape(x, heads4) q = Transpose<perm=[0,2,1,3]>(q0)"
    " k0 = Reshape(k16, heads2) k = Transpose<perm=[0,2,1,3]>(k0)"
    " a = Attention<is_causal=1>(q, k, k) a0 = Transpose<perm=[0,2,1,3]>(a) y = Reshape(a0, join) "
)


@pytest.mark.parametrize(
    "body, attrs",
    [
        ("y = Attention<q_num_heads=4, kv_num_heads=4>(x, x, x)", {}),
        ("y = Attention<q_num_heads=4, kv_num_heads=4, is_causal=1, scale=0.25>(x, x, x)", {"scale": 0.25, "past": 0}),
        (f"y = Attention<{GROUPED}, is_causal=1>(x, k16, k16)", {"kv_heads": 2, "past": 0}),
        (f"{TRIANGLE} y = Attention<{GROUPED}>(x, k16, k16, seen)", {"kv_heads": 2, "past": 0}),
        (
            f"{TRIANGLE} y = Attention<{GROUPED}, softcap=2.0>(x, k16, k16, added)",
            {"kv_heads": 2, "past": 0, "cap": 2.0},
        ),
        (FOUR, {"kv_heads": 2, "past": 0}),
    ],
)
def test_attention_of_onnx(body, attrs):
    weights = W | {"heads4": np.array([1, -1, 4, 8]), "heads2": np.array([1, -1, 2, 8])}
    g = graph(f"main (float[1,T,32] x, float[1,T,16] k16) => (float y) {{ {body} }}", weights, opset=23)
    assert unchanged(g, lambda g: len(run(g, UNDERSTAND, Trace()).nodes), [5, 1, 24])
    assert the_attention(g).settings == WHOLE | attrs


def test_layers_share_what_says_that_a_query_sees_nothing():
    layer = "{0} = Attention<q_num_heads=4, kv_num_heads=4>({1}, {1}, {1}, added) "
    body = TRIANGLE + layer.format("a", "x") + layer.format("b", "a") + layer.format("c", "b") + layer.format("y", "c")
    g = graph(f"main (float[1,T,32] x) => (float y) {{ {body} }}", W, opset=23)
    assert unchanged(g, lambda g: len(run(g, UNDERSTAND, Trace()).nodes), [5, 1, 24])
    assert ops(g) == {"Attention": 4}


def test_zeros_where_something_else_says_so_are_declined():
    """A guard that is not of the mask's making."""
    guard = "p0 = Softmax<axis=-1>(scores) p = Where(pad, zero, p0) "
    g = attention(PLAIN.replace(WEIGHTS, guard), more=", bool[1,1,T,1] pad")
    outcome = apply(g, Attention)
    assert outcome.fired == 0 and any("pad selects" in why for why in outcome.declined)
