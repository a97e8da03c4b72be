"""Bundles that several tests look at, compiled once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from parity import Case, compiled, graph_of

import intaglio

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Path]:
    """The bundle of a case."""
    root, done = tmp_path_factory.mktemp("cases"), {}

    def bundle(case: Case) -> Path:
        if id(case) not in done:
            done[id(case)] = compiled(graph_of(case.model()), root / str(len(done)))
        return done[id(case)]

    return bundle


@pytest.fixture(scope="session")
def whispers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The bundle of every export flavour, by name."""
    root = tmp_path_factory.mktemp("whispers")
    flavours = sorted(FIXTURES.glob("whisper-*"))
    return {f.name: intaglio.compile(f, root / f.name).folder for f in flavours}


@pytest.fixture(scope="session")
def whisper(whispers: dict[str, Path]) -> Path:
    """One of them."""
    return whispers["whisper-merged-18"]
