"""Bundles that several tests look at, compiled once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from parity import Case, compiled, graph_of


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Path]:
    """The bundle of a case."""
    root, done = tmp_path_factory.mktemp("cases"), {}

    def bundle(case: Case) -> Path:
        if id(case) not in done:
            done[id(case)] = compiled(graph_of(case.model()), root / str(len(done)))
        return done[id(case)]

    return bundle
