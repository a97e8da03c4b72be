"""What is packed, in which format, and what is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import graph, random

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.packed import PackedMatrix
from intaglio.compiler.passes.canonical import canonical
from intaglio.compiler.passes.fold import fold
from intaglio.compiler.passes.linear import linear
from intaglio.compiler.passes.quantize import Precision, observe, quantize
from intaglio.compiler.semantics import evaluate

EMBEDDING = random(48, 64, seed=1)
W = {"table": EMBEDDING, "w": random(64, 64, seed=2), "odd": random(64, 68, seed=3), "v": random(68, 64, seed=4)}
TIED = "e = Gather(table, ids) a = MatMul(e, w) t = Transpose(table) y = MatMul(a, t)"
IDS = np.array([[3, 1, 4, 1, 5]])


def model(text: str = TIED, weights: dict[str, np.ndarray] | None = None) -> Graph:
    g = graph(f"main (int64[1,T] ids) => (float y) {{ {text} }}", weights or W)
    for step in (fold, canonical, linear):
        step(g)
    return g


def packed(g: Graph) -> list[Any]:
    """By operator, in order: the constants that are packed, and those that are not."""
    return [n.inputs[0 if n.op == "Gather" else 1].const for n in g.nodes]


@pytest.mark.parametrize(
    "precision", [Precision("q8"), Precision("q4"), Precision(storage="f16")], ids=lambda p: p.name
)
def test_weights_and_tables(precision: Precision) -> None:
    g = model()
    before = evaluate.run(g, {"ids": IDS}, {"T": 5})["y"]
    assert quantize(g, precision, {}) == 3
    table, _, head = packed(g)
    assert table is head, "a tied matrix is stored once"
    assert {c.format for c in packed(g)} == {precision.quantize or precision.storage}
    after = evaluate.run(g, {"ids": IDS}, {"T": 5})["y"]
    assert 0 < np.abs(after - before).max() < 0.3 * np.abs(before).max()


def test_the_head_can_be_kept() -> None:
    g = model()
    assert quantize(g, Precision("q4", keep_head=True), {}) == 1
    assert [isinstance(c, PackedMatrix) for c in packed(g)] == [False, True, False]
    g = model()
    quantize(g, Precision("q4", "f16", keep_head=True), {})
    assert [c.format for c in packed(g)] == ["f16", "q4", "f16"]


def test_what_a_file_has_in_f16_is_quantized_too() -> None:
    g = model()
    quantize(g, Precision(storage="f16"), {})
    precision = Precision("q8", "f16")
    assert quantize(g, precision, {}) == 3
    assert {c.format for c in packed(g)} == {"q8"}
    g = model("e = Gather(table, ids) a = MatMul(e, odd) y = MatMul(a, v)")
    quantize(g, Precision(storage="f16"), {})
    precision = Precision("q8")
    assert quantize(g, precision, {}) == 2
    assert packed(g)[2].format == "f16" and not precision.kept


def test_rows_that_are_not_whole_groups_take_the_other_format() -> None:
    text = "e = Gather(table, ids) a = MatMul(e, odd) y = MatMul(a, v)"
    precision = Precision("q4")
    quantize(g := model(text), precision, {})
    assert [isinstance(c, PackedMatrix) for c in packed(g)] == [True, True, False]
    assert "rows of 68" in precision.kept["v"]
    quantize(g := model(text), Precision("q4", "f16"), {})
    assert packed(g)[2].format == "f16"


def test_what_f16_cannot_hold_stays_and_is_named() -> None:
    precision = Precision(storage="f16")
    quantize(g := model(weights=W | {"w": W["w"] * 1e6}), precision, {})
    assert [isinstance(c, PackedMatrix) for c in packed(g)] == [True, False, True]
    assert list(precision.kept) == ["w"] and "numbers up to" in precision.kept["w"]


def test_what_is_observed_makes_the_head_closer() -> None:
    """Where a column is always large, an error in it is an error in every result."""
    weights = W | {"table": EMBEDDING[:15] + np.where(np.arange(64) == 7, 30, 0).astype(np.float32)}  # it is not packed
    text = "e = Gather(table, ids) y = MatMul(e, w)"
    exact = evaluate.run(model(text, weights), {"ids": IDS}, {"T": 5})["y"]
    errors = []
    for learn in (False, True):
        g = model(text, weights)
        seen = observe(g, {"ids": np.arange(15)[None]}, {"T": 15}) if learn else {}
        quantize(g, Precision("q4"), seen)
        errors.append(np.square(evaluate.run(g, {"ids": IDS}, {"T": 5})["y"] - exact).mean())
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("wanted", [("q2", "f32"), (None, "f64"), ("f16", "f32")])
def test_formats_that_there_are_not(wanted: tuple[str | None, str]) -> None:
    with pytest.raises(ValueError, match="q8 or q4"):
        Precision(*wanted)
