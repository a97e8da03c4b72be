"""Binding: sizes by name, by input and axis, or as a shape; contradictions and unknown names are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from intaglio.commands.arguments import binding
from intaglio.compiler.ir.errors import MOST, BadModel
from intaglio.compiler.models.plain.binding import bound

MODEL = onnx.parser.parse_model(
    '<ir_version: 8, opset_import: ["" : 18]> main (float[N, ?, 4] x, float[N] other, int64[1] sr) => (float[N, L] y)'
    "{ y = Identity(x) }"
)
MODEL.graph.input[1].name = "input.1"  # as torch wrote for years


@pytest.mark.parametrize(
    "bind, expected",
    [
        ({"N": 2}, {"N": 2}),
        ({"x.1": 576}, {"x.1": 576}),
        ({"x.0": 2}, {"N": 2}),
        ({"x.2": 4}, {}),
        ({"input.1.0": 3}, {"N": 3}),
        ({"x": (2, range(1, 9), 4)}, {"N": 2, "x.1": range(1, 9)}),
        ({"x": (None, 7, None), "N": 2}, {"x.1": 7, "N": 2}),
        ({"x": (2, 7, 4), "input.1": (2,)}, {"N": 2, "x.1": 7}),
    ],
)
def test_sizes(bind: dict[str, Any], expected: dict[str, Any]) -> None:
    assert bound(MODEL, bind) == expected


def test_arrays_and_numbers_are_contents() -> None:
    values = bound(MODEL, {"sr": 16000, "input.1": [1, 2]})
    assert values["sr"].dtype == np.int64 and values["sr"].tolist() == [16000]
    assert values["input.1"].dtype == np.float32 and values["input.1"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "bind, facts",
    [
        ({"M": 2}, ["M", "x, input.1, sr, N, x.1"]),
        ({"x.3": 2}, ["x.3", "N, x.1"]),
        ({"x": (1, 2)}, ["x=1x2", "rank 3", "rank 2"]),
        ({"x": (1, 2, 5)}, ["x=1x2x5", "axis 2 of x is 4"]),
        ({"N": 2, "x.0": 3}, ["x.0=3", "N is 2"]),
        ({"x.1": 0}, ["x.1=0", "1..64"]),
        ({"input.1": 576}, ["rank 1", "input.1.0=576", "input.1=?"]),
    ],
)
def test_wrong_bindings(bind: dict[str, Any], facts: list[str]) -> None:
    with pytest.raises(BadModel) as caught:
        bound(MODEL, bind)
    assert all(fact in str(caught.value) for fact in facts) and len(str(caught.value)) <= MOST


@pytest.mark.parametrize(
    "text, expected",
    [
        ("x=1x576", ("x", (1, 576))),
        ("x=1x?x1..64", ("x", (1, None, range(1, 65)))),
        ("x=?", ("x", (None,))),
        ("x.1=1..512", ("x.1", range(1, 513))),
        ("x.1=576", ("x.1", 576)),
        ("x=-1", ("x", -1)),
        ("x=0.5", ("x", 0.5)),
    ],
)
def test_options(text: str, expected: tuple[str, Any]) -> None:
    assert binding(text) == expected
