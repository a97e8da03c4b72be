"""Kernels are short, because a driver takes as long to compile one as it is, and a start waits for it."""

from __future__ import annotations

from pathlib import Path

import pytest

LIMIT = 16 << 10  # bytes of WGSL
SUBGROUPS = 20.5 * 1024  # attention of a subgroup, whose head is unrolled
UNROLLED = 48 << 10  # attention without subgroups, of 8 queries and 2 keys at a time


def limit(kernel: str) -> float:
    if not kernel.startswith("attention_64"):
        return LIMIT
    return SUBGROUPS if kernel.endswith("_subgroup") else UNROLLED


@pytest.mark.parametrize("model", ["tiny_en_bundle", "smollm2_bundle"])
def test_kernels_are_short(model: str, request: pytest.FixtureRequest):
    bundle: Path = request.getfixturevalue(model)
    sizes = {path.stem: path.stat().st_size for path in bundle.rglob("*.wgsl")}
    assert {name: size for name, size in sizes.items() if size > limit(name)} == {}
    assert len(sizes) > 20
