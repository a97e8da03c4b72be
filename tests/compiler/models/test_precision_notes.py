"""What is computed in fewer bits than the model says is told; what only moves, or folds away, is not."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph

from intaglio.compiler.models import precision_notes
from intaglio.compiler.passes import pipeline
from intaglio.compiler.passes.pipeline import UNDERSTAND, Trace


def notes(text: str, **weights: np.ndarray) -> list[str]:
    return precision_notes.notes(pipeline.run(graph(f"main {text}", weights), UNDERSTAND, Trace()))


@pytest.mark.parametrize(
    "text, told",
    [
        ("(int64[3] x) => (int64[3] y) { [a] y = Add(x, x) }", ["i64 and u64 in 32 bits: larger numbers wrap around"]),
        ("(uint64[3] x) => (uint64[3] y) { [a] y = Mul(x, x) }", ["i64 and u64 in 32 bits"]),
        ("(double[3] x) => (double[3] y) { [a] y = Exp(x) }", ["f64 in 32 bits: digits are lost"]),
        ("(double[3] x) => (double[3] y) { [a] y = Transpose(x) z = Neg(y) }", ["f64 in 32 bits: digits are lost"]),
    ],
)
def test_told(text: str, told: list[str]) -> None:
    found = notes(text)
    assert len(found) == len(told)
    assert all(
        line.startswith(start) and line.endswith("; 1 nodes: a") for line, start in zip(found, told, strict=True)
    )


@pytest.mark.parametrize(
    "text",
    [
        "(int64[3] x) => (int64[3] y) { a = Transpose(x) y = Concat <axis = 0> (a, a) }",
        "(float[T,4] x, int64[2] i) => (float[2,4] y) { y = Gather(x, i) }",
        "(float[T,4] x) => (float z) { s = Shape(x) n = Mul(s, s) z = Expand(x, s) }",
        "(int32[3] x, float[3] f) => (int32[3] y, float[3] g) { y = Mul(x, x) g = Exp(f) }",
        "(float[3] x) => (int64[1] y) { y = ArgMax(x) }",
    ],
)
def test_operators_without_a_note(text: str) -> None:
    assert not notes(text)


def test_names_are_few() -> None:
    body = " ".join(f"[n{i}] y{i} = Mul(x, c{i})" for i in range(6))
    outputs = ", ".join(f"int64[1] y{i}" for i in range(6))
    constants = {f"c{i}": np.array([i + 2]) for i in range(6)}
    (line,) = notes(f"(int64[1] x) => ({outputs}) {{ {body} }}", **constants)
    assert line.endswith("6 nodes: n0, n1, n2, n3, ...")


@pytest.mark.parametrize(
    "text, shape, scale, stored",
    [
        (
            "float[1,16,9,9] x) => (y) { w = DequantizeLinear(codes, scale) [c] y = Conv(x, w) }",
            (64, 16, 3, 3),
            1,
            True,
        ),
        (
            "float[1,9,64] x) => (y) { c = Cast <to = 1> (codes) w = Mul(c, scale) [c] y = MatMul(x, w) }",
            (64, 96),
            96,
            False,
        ),
        (
            "float[1,9,4] x) => (y) { w = DequantizeLinear(codes, scale) [c] y = MatMul(x, w) }",
            (4, 8),
            1,
            False,
        ),  # small
    ],
)
def test_weights_whose_bits_are_lost(text: str, shape: tuple[int, ...], scale: int, stored: bool) -> None:
    weights = {"codes": np.full(shape, 3, np.int8), "scale": np.full(() if scale == 1 else scale, 0.5, np.float32)}
    made = pipeline.run(graph(f"main ({text.replace('(y)', '(float y)')}", weights), UNDERSTAND, Trace())
    (line,) = precision_notes.widened([made]) or [""]
    assert ("stored in f32" in line and line.endswith(" c")) == stored
