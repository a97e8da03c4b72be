"""Operators mean what ONNX says: its node tests, each passed or refused, none wrong. See node_tests.py."""

from __future__ import annotations

import node_tests
import pytest
from node_tests import Result


@pytest.fixture(scope="module")
def results(pytestconfig: pytest.Config) -> dict[str, Result]:
    """What came of each test, by name; the counts are printed."""
    made = {r.name: r for r in node_tests.run_all(node_tests.names("all"))}
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nONNX node tests: {node_tests.summary(made.values())}")
    return made


@pytest.mark.parametrize("verdict", ["wrong", "crashed"])
def test_none_is(verdict: str, results: dict[str, Result]) -> None:
    assert not {r.name: r.why for r in results.values() if r.verdict == verdict}


def test_the_operators_of_the_export_flavours_all_pass(results: dict[str, Result]) -> None:
    core = node_tests.names("core")
    assert len(core) == 249
    assert not {name: results[name].why for name in core if results[name].verdict != "passed"}


def test_nine_of_ten_pass(results: dict[str, Result]) -> None:
    assert len(results) == 1412
    assert sum(r.verdict == "passed" for r in results.values()) >= 0.9 * len(results)


def test_what_is_refused_is_listed(results: dict[str, Result]) -> None:
    """The list may only shrink: what passes must leave it, and what is not on it must pass."""
    assert [r.name for r in results.values() if r.verdict == "unsupported"] == node_tests.names("unsupported")
