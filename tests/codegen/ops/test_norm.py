"""Norms and softmax."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from parity import (
    Case,
    against_onnxruntime,
    case,
    f32,
    given,
    weight,
)

NORMS = [
    case("y = Softmax(x)", x=f32(5, 7)),
    case("y = Softmax <axis = 1> (x)", x=f32(3, 7, 4)),
    case("y = Softmax <axis = 0> (x)", x=f32("T", 3)),
    case("y = Softmax(x)", x=f32("T", 9, low=-80, high=80)),
    case("y = Softmax <axis = 1> (x)", x=f32(3, 7), opset=11),
    case("y = LogSoftmax(x)", x=f32(5, 7, low=-20, high=20)),
    *(case(f"y = {op}(x)", x=f32(2, 70000, low=-9, high=9), rtol=1e-4) for op in ("Softmax", "LogSoftmax")),
    case("y = Softmax <axis = 0> (x)", x=f32(20000, 2), rtol=1e-4),
    case("y = LayerNormalization(x, s, b)", x=f32(5, 8), s=weight(8), b=weight(8)),
    case("y = LayerNormalization(x, s, b)", x=f32("T", 24), s=weight(24), b=weight(24)),
    case("y = LayerNormalization(x, s, b)", x=f32(2, 3, 7), s=weight(7), b=weight(7)),
    case("y = LayerNormalization(x, s)", x=f32(5, 8), s=weight(8)),
    case("y = LayerNormalization <epsilon = 0.1> (x, s)", x=f32(5, 5), s=weight(5)),
    case("y = LayerNormalization <axis = 1> (x, s, b)", x=f32(5, 3, 4), s=weight(3, 4), b=weight(3, 4)),
    case("y = LayerNormalization(x, s, b)", x=f32(5, 8, low=999, high=1000), s=weight(8), b=weight(8), atol=2e-3),
    case("y = LayerNormalization(x, s, b) z = MatMul(y, w)", x=f32(1, 8), s=weight(8), b=weight(8), w=weight(8, 12)),
    case("y = LayerNormalization(x, s) z = MatMul(y, w)", x=f32(1, 8), s=weight(8), w=weight(8, 12)),
    case("y = LayerNormalization(x, s, b) z = MatMul(y, w)", x=f32(1, 6), s=weight(6), b=weight(6), w=weight(6, 8)),
    case("y = LayerNormalization(x, s, b) z = MatMul(y, w)", x=f32("T", 8), s=weight(8), b=weight(8), w=weight(8, 12)),
]

OTHER_NORMS = [
    case(
        "y = BatchNormalization(x, s, b, m, v)",
        x=f32("T", 3, 4, 5),
        s=weight(3),
        b=weight(3),
        m=weight(3),
        v=weight(3, low=0.1),
    ),
    case(
        "y = BatchNormalization <epsilon = 0.1> (x, s, b, m, v)",
        x=f32(5, 3),
        s=f32(3),
        b=f32(3),
        m=f32(3),
        v=f32(3, low=0.1),
    ),
    case(
        "y, m1, v1 = BatchNormalization <training_mode = 1, momentum = 0.7> (x, s, b, m, v)",
        x=f32(2, 3, 4, 5),
        s=f32(3),
        b=f32(3),
        m=f32(3),
        v=f32(3, low=0.1),
    ),
    case("y = InstanceNormalization(x, s, b)", x=f32(2, 3, 4, 5), s=weight(3), b=weight(3)),
    case("y = InstanceNormalization <epsilon = 0.1> (x, s, b)", x=f32("T", 3, 7), s=weight(3), b=weight(3)),
    case("y = LRN <size = 3> (x)", x=f32(2, 5, 3, 3)),
    case("y = LRN <size = 5, alpha = 0.2, beta = 0.6, bias = 2.0> (x)", x=f32(1, 7, 2, 3)),
    case("y = LpNormalization(x)", x=f32(3, 5)),
    case("y = LpNormalization <axis = 0, p = 1> (x)", x=given([[1.0, 0.0], [-3.0, 0.0]])),
]

CASES = [*NORMS, *OTHER_NORMS]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_onnxruntime(case: Case, bundle_of: Callable[[Case], Path]) -> None:
    against_onnxruntime(case, bundle_of(case))
