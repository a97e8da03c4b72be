"""A small bundle that has some of everything a plan can say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parity import Build, compiled

from intaglio.compiler.ir.dims import Symbol, dim


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state, a weight, textures, buffers, and a size that varies."""
    tokens = dim(Symbol("new_tokens", 1, 40))
    b = Build()
    x = b.input("x", 1, tokens, 8)
    rows = b.Write(b.Linear(x, b.weight(8, 8)), b.state("rows", 1, 64, 8), at=0)
    graph = b.output(b.Neg(b.Gelu(rows)), b.Greater(x, b.constant(np.float32(0))))
    return compiled(graph, tmp_path_factory.mktemp("plan") / "bundle")
