"""Queries and keys are rotated by one operator, which caches the keys, and takes the norms of their heads."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import T, ops, unchanged
from parity import Build
from rotations import SIZES, P, attended, cached, normed, rotated, states_after, tables

from intaglio.codegen.fuse.merge_rotary import merge_rotary
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.operators import Rotary

HEAD_DIM = 8


def build(interleaved: bool = False, norm: tuple[float, float] | None = None, head_dim: int = HEAD_DIM) -> Graph:
    b = Build()
    q, k = b.input("q", 1, T, 3 * head_dim), b.input("k", 1, T, head_dim)
    if norm is not None:
        q, k = (normed(b, x, head_dim, epsilon) for x, epsilon in zip((q, k), norm, strict=True))
    angles = tables(b, head_dim // 2)
    q, k = rotated(b, q, angles, 3, interleaved), rotated(b, k, angles, 1, interleaved)
    return attended(b, q, cached(b, k))


def assert_merged(g: Graph, count: int) -> Rotary:
    before = [states_after(g, sizes) for sizes in SIZES]
    assert unchanged(g, merge_rotary, SIZES) == count
    for sizes, expected in zip(SIZES, before, strict=True):
        np.testing.assert_allclose(states_after(g, sizes)["key"], expected["key"], rtol=1e-5, atol=1e-5)
    (node,) = [n for n in g.nodes if n.op == "Rotary"]
    assert [s.name for s in node.written.values()] == ["key"]
    rotary = Rotary.of(node)
    assert rotary is not None
    return rotary


@pytest.mark.parametrize("interleaved", [False, True])
def test_queries_and_keys(interleaved: bool) -> None:
    g = build(interleaved)
    rotary = assert_merged(g, 2)
    assert ops(g) == {"Rotary": 1, "Attention": 1}
    assert (rotary.heads, [x.name for x in rotary.rows], rotary.norm) == ((3, 1), ["q", "k"], None)


@pytest.mark.parametrize("interleaved", [False, True])
def test_with_the_norms_of_their_heads(interleaved: bool) -> None:
    g = build(interleaved, norm=(1e-6, 1e-6))
    rotary = assert_merged(g, 3)
    assert ops(g) == {"Reshape": 4, "Rotary": 1, "Attention": 1}, "views cost nothing"
    assert rotary.norm.epsilon == pytest.approx(1e-6) and [s.shape for s in rotary.norm.scales] == [(8,), (8,)]


@pytest.mark.parametrize(
    "norm, head_dim",
    [
        ((1e-6, 1e-5), 8),  # one kernel has one epsilon
        ((1e-6, 1e-6), 6),  # heads that are not whole vec4s
    ],
)
def test_other_norms_stay(norm: tuple[float, float], head_dim: int) -> None:
    g = build(norm=norm, head_dim=head_dim)
    assert_merged(g, 2)
    assert ops(g)["RMSNormalization"] == 2


def test_a_norm_that_is_read_too_stays() -> None:
    b = Build()
    q, k = (normed(b, b.input(n, 1, T, count * 8), 8) for n, count in (("q", 3), ("k", 1)))
    angles = tables(b, 4)
    g = attended(b, rotated(b, q, angles, 3), cached(b, rotated(b, k, angles, 1)), b.Abs(q))
    assert_merged(g, 2)
    assert ops(g)["RMSNormalization"] == 2


def two(other_angles: bool = False, other_pairs: bool = False, other_row: bool = False, read: bool = False) -> Graph:
    b = Build()
    q, k = b.input("q", 1, T, 24), b.input("k", 1, T, 8)
    angles = tables(b, 4)
    q = rotated(b, q, angles, 3)
    k = rotated(b, k, tables(b, 4) if other_angles else angles, 1, interleaved=other_pairs)
    return attended(b, q, cached(b, k, P + 1 if other_row else P), *[b.Abs(k)] * read)


@pytest.mark.parametrize("how", ["other_angles", "other_pairs", "other_row", "read"])
def test_near_misses(how: str) -> None:
    g = two(**{how: True})
    assert unchanged(g, merge_rotary, SIZES) == 0
    assert ops(g)["Rotary"] == 2


def test_keys_that_are_not_cached_stay() -> None:
    b = Build()
    angles = tables(b, 4)
    q, k = rotated(b, b.input("q", 1, T, 24), angles, 3), rotated(b, b.input("k", 1, T, 8), angles, 1)
    g = b.output(b.Attention(q, k, k, heads=3, kv_heads=1, scale=0.5, past=0))
    assert unchanged(g, merge_rotary, SIZES) == 0
