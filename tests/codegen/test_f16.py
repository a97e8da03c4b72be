"""What is stored as f16 is rounded as numpy rounds it: to the nearest, ties to even. Adapters themselves truncate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parity import Build, compiled, every_variant

from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.compiler.ir.graph import Graph

ROWS, WIDTH, HEADS = 8, 64, 2


def numbers() -> np.ndarray:
    """Ties between neighbouring f16 of either parity, numbers just beside ties, subnormals and random ones."""
    random = np.random.default_rng(5)
    f16 = random.uniform(-8, 8, ROWS * WIDTH // 4).astype(np.float16)
    next_up = np.nextafter(f16, np.float16(np.inf))
    ties = (f16.astype(np.float32) + next_up.astype(np.float32)) / 2
    beside = np.nextafter(ties, random.choice(np.float32([-np.inf, np.inf]), ties.shape))
    small = random.integers(-2000, 2000, ties.shape).astype(np.float32) * np.float32(2.0**-25)
    rest = random.standard_normal(ties.shape).astype(np.float32) * 1000
    return np.stack([ties, beside, small, rest]).reshape(1, ROWS, WIDTH).astype(np.float32)


def cache(dtype: str, picks: bool = False) -> Graph:
    """Attention over a cache of keys and values that are the input itself, times an identity matrix.

    picks: the keys are an output too, head by head in another order.
    """
    b = Build()
    x = b.input("x", 1, dim(Symbol("T", 1, ROWS)), WIDTH)
    identity = b.constant(np.eye(WIDTH, dtype=np.float32))
    keys, values = (
        b.Write(b.Linear(x, identity), b.state(name, 1, HEADS, ROWS, WIDTH // HEADS, dtype=dtype), at=0)
        for name in ("keys", "values")
    )
    outputs = [b.Attention(x, keys, values, heads=HEADS, kv_heads=HEADS, past=0, scale=0.125)]
    return b.output(*outputs, *([b.Gather(keys, b.constant(np.array([1, 0])), axis=1)] if picks else []))


@pytest.mark.parametrize("dtype", ["f16", "f32"])
def test_caches_round_to_the_nearest(dtype: str, tmp_path: Path) -> None:
    """Those of f32 in the storages that have them in f16. Elsewhere they keep their numbers."""
    x = numbers()
    exact = x.reshape(1, ROWS, HEADS, -1).swapaxes(1, 2)
    expected = exact.astype(np.float16)
    assert np.isfinite(expected).all()
    sessions = every_variant(compiled(cache(dtype), tmp_path / "bundle", half_caches=dtype == "f32"))
    assert dtype == "f16" or {s.plan.rounded for s in sessions} == {False, True}
    for executor in sessions:
        executor.run("main", {"x": x})
        for name in ("keys", "values"):
            stored = executor.read(name, {}).reshape(expected.shape)
            right = expected if dtype == "f16" or executor.plan.rounded else exact
            np.testing.assert_array_equal(stored, right, err_msg=name)


def test_numbers_of_a_cache_are_read_one_by_one(tmp_path: Path) -> None:
    """A kernel that picks heads reads no vec4s."""
    graph, x = cache("f32", picks=True), numbers()
    right = x.reshape(1, ROWS, HEADS, -1).swapaxes(1, 2)[:, ::-1]
    sessions = every_variant(compiled(graph, tmp_path / "bundle", half_caches=True))
    assert {s.plan.rounded for s in sessions} == {False, True}
    for session in sessions:
        actual = session.run("main", {"x": x})["y1"]
        expected = right.astype(np.float16).astype(np.float32) if session.plan.rounded else right
        np.testing.assert_array_equal(actual, expected)
