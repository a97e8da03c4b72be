"""Operators mean what ONNX says: its node tests, each passed or refused, none wrong. See node_tests.py."""

from __future__ import annotations

import node_tests
import pytest
from node_tests import Result


@pytest.fixture(scope="module")
def results(pytestconfig: pytest.Config) -> dict[str, Result]:
    """What came of each test, by name; the counts are printed."""
    made = {r.name: r for r in node_tests.run_all(node_tests.cases())}
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        for which in ("core", "scope"):
            print(f"\nONNX node tests, {which}: {node_tests.summary(made[n] for n in node_tests.names(which))}", end="")
        print(f"\nONNX node tests: {node_tests.summary(made.values())}")
    return made


@pytest.mark.parametrize("verdict", ["wrong", "crashed"])
def test_none_is(verdict: str, results: dict[str, Result]) -> None:
    assert not {r.name: r.why for r in results.values() if r.verdict == verdict}


@pytest.mark.parametrize("which, count", [("core", 249), ("scope", 1412)])
def test_what_is_in_scope_passes(which: str, count: int, results: dict[str, Result]) -> None:
    names = node_tests.names(which)
    assert len(names) == count
    assert not {name: results[name].why for name in names if results[name].verdict != "passed"}


def test_what_is_refused_is_listed(results: dict[str, Result]) -> None:
    """The list may only shrink: what passes must leave it, and what is not on it must pass."""
    refused = sorted(r.name for r in results.values() if r.verdict == "unsupported")
    assert refused == node_tests.names("unsupported")
