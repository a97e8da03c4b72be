"""Where there is one row, the layer that makes queries and keys rotates them, and caches the keys."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import T, ops, unchanged
from parity import Build
from rotations import SIZES, attended, cached, normed, rotated, states_after, tables

from intaglio.codegen.fuse.fuse_rotary import fuse_rotary
from intaglio.codegen.fuse.merge_rotary import merge_rotary
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.operators import Linear
from intaglio.compiler.passes.merge_linear import merge_linear

WIDTH = 16


def build(
    rows: Dim = 1,
    head_dim: int = 8,
    pairs: int = 4,
    interleaved: bool = False,
    norm: bool = False,
    bias: bool = False,
    apart: bool = False,
    read: bool = False,
) -> Graph:
    """Queries of 3 heads and keys of one, made by one layer, rotated by one operator, and attended to."""
    b = Build()
    x = b.input("x", 1, rows, WIDTH)
    y = b.input("z", 1, rows, WIDTH) if apart else x
    q = b.Linear(x, b.weight(3 * head_dim, WIDTH), *[b.weight(3 * head_dim)] * bias)
    k = b.Linear(y, b.weight(head_dim, WIDTH), *[b.weight(head_dim)] * bias)
    more = [b.Abs(q)] * read
    if norm:
        q, k = normed(b, q, head_dim), normed(b, k, head_dim)
    angles = tables(b, pairs)
    q, k = rotated(b, q, angles, 3, interleaved), rotated(b, k, angles, 1, interleaved)
    g = attended(b, q, cached(b, k), *more)
    merge_linear(g)
    assert merge_rotary(g) >= 2
    return g


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("head_dim", [8, 16])
def test_the_layer_rotates(bias: bool, head_dim: int) -> None:
    g = build(bias=bias, head_dim=head_dim, pairs=head_dim // 2)
    before = [states_after(g, sizes) for sizes in SIZES]
    assert unchanged(g, fuse_rotary, SIZES) == 1
    assert ops(g) == {"Linear": 1, "Attention": 1}
    layer = next(found for n in g.nodes if (found := Linear.of(n)))
    assert layer.rotary.outputs == (0, 1) and [w.output for w in layer.cached] == [1]
    for sizes, expected in zip(SIZES, before, strict=True):
        np.testing.assert_allclose(states_after(g, sizes)["key"], expected["key"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("head_dim, pairs", [(8, 4), (12, 6), (16, 2)])
def test_the_layer_rotates_neighbours(head_dim: int, pairs: int) -> None:
    """Of whole heads, or of a part of each."""
    g = build(head_dim=head_dim, pairs=pairs, interleaved=True)
    before = [states_after(g, sizes) for sizes in SIZES]
    assert unchanged(g, fuse_rotary, SIZES) == 1
    assert ops(g) == {"Linear": 1, "Attention": 1}
    for sizes, expected in zip(SIZES, before, strict=True):
        np.testing.assert_allclose(states_after(g, sizes)["key"], expected["key"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "how",
    [
        {"rows": T},  # a tiled product has no pair of columns in one invocation
        {"interleaved": True, "pairs": 3},  # a vec4 that is rotated in part
        {"norm": True},  # the kernel that rotates takes it
        {"pairs": 2},  # heads of which only a part is rotated
        {"head_dim": 12, "pairs": 6},  # halves that are not whole vec4s
        {"apart": True},  # two layers make them
        {"read": True},  # somebody reads what is not rotated
    ],
)
def test_near_misses(how: dict) -> None:
    g = build(**how)
    assert unchanged(g, fuse_rotary, SIZES) == 0
    assert ops(g)["Rotary"] == 1
