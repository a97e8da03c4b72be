"""What is stored as f16 is rounded as numpy rounds it: to the nearest, ties to even. Adapters themselves truncate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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


def cache() -> Graph:
    """Attention over a cache of keys and values in f16 that are the input itself, times an identity matrix."""
    b = Build()
    x = b.input("x", 1, dim(Symbol("T", 1, ROWS)), WIDTH)
    identity = b.constant(np.eye(WIDTH, dtype=np.float32))
    keys, values = (
        b.Write(b.Linear(x, identity), b.state(name, 1, HEADS, ROWS, WIDTH // HEADS, dtype="f16"), at=0)
        for name in ("keys", "values")
    )
    return b.output(b.Attention(x, keys, values, heads=HEADS, kv_heads=HEADS, past=0, scale=0.125))


def test_caches_round_to_the_nearest(tmp_path: Path) -> None:
    x = numbers()
    expected = x.astype(np.float16).reshape(1, ROWS, HEADS, -1).swapaxes(1, 2)
    assert np.isfinite(expected).all()
    for executor in every_variant(compiled(cache(), tmp_path / "bundle")):
        executor.run("main", {"x": x})
        for name in ("keys", "values"):
            stored = executor.read(name, {})
            np.testing.assert_array_equal(stored.astype(np.float16).reshape(expected.shape), expected, err_msg=name)
