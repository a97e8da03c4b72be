"""Masks that are computed from sizes: what they hide, and what they add."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from graphs import T, graph, random

from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.compiler.passes.canonical import canonical
from intaglio.compiler.passes.fold import fold
from intaglio.compiler.passes.mask import explained

LONGEST = 64
W = {
    "n0": np.array(0),
    "n1": np.array(1),
    "n2": np.array(2),
    "ax0": np.array([0]),
    "ax1": np.array([1]),
    "zero": np.array(0, np.float32),
    "two": np.array(2, np.float32),
    "lowest": np.array(np.finfo(np.float32).min),
    "far": np.array(-20000, np.float32),
    "slopes": np.array([[[0.5]], [[0.125]]], np.float32),
    "buckets": random(32, 2),
    "log_of_16": np.array(math.log(16), np.float32),
    "n8": np.array(8),
    "eight": np.array(8, np.float32),
    "n15": np.array(15),
}
SIZES = (
    "t = Shape(x) t0 = Squeeze(t) range = Range(n0, t0, n1) row = Unsqueeze(range, ax1)"
    " distance = Sub(row, range) visible = GreaterOrEqual(distance, n0) "
)
# T5's buckets for distances up to 128, the far half logarithmic (Raffel et al. 2020)
BUCKETS = (
    "far_away = Max(distance, n1) f = Cast<to=1>(far_away) part = Div(f, eight) logarithm = Log(part)"
    " share = Div(logarithm, log_of_16) scaled = Mul(share, eight) whole = Cast<to=7>(scaled) later = Add(whole, n8)"
    " limited = Min(later, n15) near = Less(distance, n8) near_or_far = Where(near, distance, limited)"
    " bucket = Max(near_or_far, n0) rows = Gather(buckets, bucket) heads = Transpose<perm=[2,0,1]>(rows) "
)


def attributes(body: str, heads: int = 2, exact: bool = False) -> dict[str, Any] | None:
    g = graph(f"main (float[T] x) => (float mask) {{ {SIZES} {body} }}", W)
    fold(g)
    canonical(g)
    return explained(g, g.outputs[0], heads, T, T, exact)


def test_a_bias_by_the_key() -> None:
    mask = attributes("f = Cast<to=1>(range) g = Mul(f, slopes) mask = Where(visible, g, lowest) ")
    assert mask is not None and mask.keys() == {"past", "bias"}
    assert (mask["past"], mask["bias"].by) == (0, "key")
    np.testing.assert_array_equal(mask["bias"].table.array, np.outer([0.5, 0.125], np.arange(LONGEST)))


def test_the_buckets_of_t5() -> None:
    mask = attributes(BUCKETS + "mask = Where(visible, heads, lowest) ")
    assert mask is not None and mask["bias"].by == "distance"
    distances = np.arange(1, LONGEST)
    later = 8 + (np.log(distances / 8, dtype=np.float32) / W["log_of_16"] * 8).astype(int)
    bucket = np.where(distances < 8, distances, np.minimum(later, 15))
    np.testing.assert_array_equal(mask["bias"].table.array, W["buckets"][[0, *bucket]].T)


def test_a_bias_by_the_distance_within_a_window() -> None:
    near = "inside = Less(distance, n8) b = And(visible, inside) mask = Where(b, heads, lowest) "
    mask = attributes(BUCKETS + near)
    assert mask is not None and mask["window"] == 8
    np.testing.assert_array_equal(mask["bias"].table.array[:, :8], W["buckets"][:8].T)


FROM_THE_LAST = "last = Sub(t0, n1) d = Sub(range, last) f = Cast<to=1>(d) g = Mul(f, slopes) "


def test_a_bias_up_to_a_number_for_each_query() -> None:
    """MPT's depends on how many keys there are, which changes nothing after the softmax."""
    mask = attributes(FROM_THE_LAST + "mask = Where(visible, g, lowest) ")
    assert mask is not None and mask["bias"].by == "distance"
    np.testing.assert_array_equal(mask["bias"].table.array, np.outer([-0.5, -0.125], np.arange(LONGEST)))
    assert attributes(FROM_THE_LAST + "mask = Where(visible, g, lowest) ", exact=True) is None


def test_a_bias_that_is_lower_than_some_masks() -> None:
    steep = "f = Cast<to=1>(distance) g = Mul(f, far) mask = Where(visible, g, lowest) "
    mask = attributes(steep)
    assert mask is not None and mask["bias"].table.shape == (2, LONGEST)
    assert mask["bias"].table.array[1, 2] == -40000


def test_a_bias_without_a_mask() -> None:
    """The keys after a query have distances too: those below 0, before which the table begins."""
    mask = attributes("f = Cast<to=1>(distance) mask = Mul(f, slopes) ")
    assert mask is not None and mask.keys() == {"past", "bias"}
    assert (mask["past"], mask["bias"].by) == (LONGEST - 1, "distance")
    distances = np.arange(1 - LONGEST, LONGEST)
    np.testing.assert_array_equal(mask["bias"].table.array, np.outer([0.5, 0.125], distances))


def test_a_window_on_both_sides() -> None:
    mask = attributes("apart = Abs(distance) inside = Less(apart, n8) mask = Where(inside, zero, lowest) ")
    assert mask == {"past": 7, "window": 15}
    before = "limit = Neg(n2) late = Greater(distance, limit) early = Less(distance, n8) inside = And(late, early) "
    assert attributes(before + "mask = Where(inside, zero, lowest) ") == {"past": 1, "window": 9}
    mask = attributes(before + "f = Cast<to=1>(distance) g = Mul(f, slopes) mask = Where(inside, g, lowest) ")
    assert mask is not None and (mask["past"], mask["window"], mask["bias"].by) == (1, 9, "distance")
    np.testing.assert_array_equal(mask["bias"].table.array[:, :9], np.outer([0.5, 0.125], np.arange(-1, 8)))


NO_ATTRIBUTES = {
    "a bias by key and query": "d = Mul(range, row) f = Cast<to=1>(d) mask = Where(visible, f, lowest) ",
    "a bias that depends on the number of keys": "f0 = Cast<to=1>(t0) f = Cast<to=1>(distance) g = Div(f, f0)"
    " mask = Where(visible, g, lowest) ",
    "a mask of another shape": "e = Mod(distance, n2) odd = Equal(e, n0) b = And(visible, odd)"
    " mask = Where(b, zero, lowest) ",
}


@pytest.mark.parametrize("name", NO_ATTRIBUTES)
def test_other_masks(name: str) -> None:
    assert attributes(NO_ATTRIBUTES[name]) is None


def test_a_bias_of_other_heads() -> None:
    assert attributes("f = Cast<to=1>(range) g = Mul(f, slopes) mask = Where(visible, g, lowest) ", heads=3) is None


LONG = dim(Symbol("L", 1, 100_000))
SHORTER = dim(Symbol("L", 1, 8192))
LONG_MASKS = {
    "causal": ("mask = Identity(visible)", {"past": 0}),
    "window": ("near = Less(distance, w) mask = And(visible, near)", {"past": 0, "window": 30_000}),
    "another first row": ("p = Equal(row, n0) q = Equal(range, w) a = And(p, q) mask = Or(visible, a)", None),
    "a prefix sees all": ("p = Less(row, w) q = Less(range, w) a = And(p, q) mask = Or(visible, a)", None),
    "one row sees more": ("p = Equal(row, w) mask = Or(visible, p)", None),
    "one key is hidden": ("p = Equal(range, w) h = Not(p) mask = And(visible, h)", None),
    "the row before the last": ("e = Sub(t0, n2) p = Equal(row, e) mask = Or(visible, p)", None),
    "long texts see all": ("p = Greater(t0, w) mask = Or(visible, p)", None),
    "chunks": ("a = Div(row, w) b = Div(range, w) p = Equal(a, b) mask = And(visible, p)", None),
    "remainders": ("a = Mod(distance, w) p = Less(a, n2) mask = And(visible, p)", None),
}


@pytest.mark.parametrize("name", LONG_MASKS)
def test_masks_of_long_texts(name: str) -> None:
    """Only some rows are compared, and those that differ are among them."""
    body, expected = LONG_MASKS[name]
    g = graph(f"main (float[L] x) => (bool mask) {{ {SIZES} {body} }}", W | {"w": np.array(30_000)}, L=LONG)
    fold(g)
    canonical(g)
    assert explained(g, g.outputs[0], 1, LONG, LONG) == expected


def test_chunks_of_shorter_texts_are_compared_whole() -> None:
    g = graph(
        f"main (float[L] x) => (bool mask) {{ {SIZES} {LONG_MASKS['chunks'][0]} }}", W | {"w": np.array(9)}, L=SHORTER
    )
    fold(g)
    canonical(g)
    assert explained(g, g.outputs[0], 1, SHORTER, SHORTER) is None
