"""Whether caches in f16 cost nothing: what is measured on a text, and what decides."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import intaglio
from intaglio.commands.inspect import describe
from intaglio.compiler.models.cache_accuracy import CacheAccuracy, divergence

FIXTURES = Path(__file__).parents[2] / "fixtures"


@pytest.mark.parametrize(
    ("measured", "free"),
    [
        (CacheAccuracy(32, 1e-7, 0, 30.0), True),
        (CacheAccuracy(32, 1e-5, 0, 30.0), False),
        (CacheAccuracy(32, math.nan, 0, 30.0), False),
        (CacheAccuracy(32, 1e-7, 1, 30.0), False),
        (CacheAccuracy(32, 1e-7, 0, 60000.0), False),
        (CacheAccuracy(32, 1e-7, 0, math.inf), False),
        (CacheAccuracy(32, 1e-7, 0, math.nan), False),
    ],
)
def test_what_costs_nothing(measured: CacheAccuracy, free: bool) -> None:
    assert measured.free == free
    assert measured.report()["on_gpus"] == ("f16" if free else "f32")


def test_divergence() -> None:
    """The mean over two tokens, of which one has other probabilities: 1/2, 1/2 became 3/4, 1/4."""
    p, q = np.log(np.float32([[0.5, 0.5], [0.9, 0.1]])), np.log(np.float32([[0.75, 0.25], [0.9, 0.1]])) + 3
    assert divergence(p, q) == pytest.approx((0.5 * math.log(2 / 3) + 0.5 * math.log(2)) / 2, rel=1e-5)


@pytest.mark.parametrize("precision", [None, "f32", "f16"])
def test_a_bundle_says_what_was_measured(precision: str | None, tmp_path: Path) -> None:
    """Who asks for a precision gets it on every adapter."""
    bundle = intaglio.compile(FIXTURES / "gemma2-optimum", tmp_path / "bundle", precision=precision)
    caches = bundle.report["precision"].get("caches")
    if precision is None:
        assert caches["on_gpus"] == "f16" and caches["tokens"] == 32
        assert 0 < caches["divergence"] < caches["most_divergence"] and not caches["changed_tokens"]
        assert 0 < caches["largest"] < caches["most_number"]
    else:
        assert caches is None
    plan = bundle.whole_plan
    assert "f16" not in describe(bundle) if precision == "f32" else "buffers of f16" in describe(bundle)
    assert [plan.stored(storage).rounded for storage in plan.storages] == [precision is None]


def test_caches_that_change_a_model_stay_f32(tmp_path: Path) -> None:
    """This one has so large scores that a token may change."""
    bundle = intaglio.compile(FIXTURES / "llama-optimum-18", tmp_path / "bundle")
    caches, plan = bundle.report["precision"]["caches"], bundle.whole_plan
    assert caches["on_gpus"] == "f32" and caches["divergence"] > caches["most_divergence"]
    assert plan.storages and not any(plan.stored(storage).rounded for storage in plan.storages)
