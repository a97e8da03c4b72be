"""Fourier transforms and windows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from parity import (
    Case,
    against_onnxruntime,
    case,
    const,
    f32,
    given,
    weight,
)

CASES = [
    case("y = DFT(x)", x=f32(2, 10, 1)),
    case("y = DFT(x)", x=f32("T", 9, 2)),
    case('y = DFT(x, "", a)', x=f32(2, 6, 3, 2), a=const(1)),
    case("y = DFT <inverse = 1> (x)", x=f32(2, 10, 2)),
    case("y = DFT <onesided = 1> (x, n)", x=f32(2, 10, 1), n=const(16)),
    case("y = DFT <onesided = 1> (x, n)", x=f32(2, 10, 1), n=const(7)),
    case("y = DFT <axis = 1> (x)", x=f32(2, 10, 3, 1), opset=17),
    case("y = STFT(x, s, w)", x=f32("T", 40, 1), s=const(5), w=weight(16), opset=17),
    case('y = STFT <onesided = 0> (x, s, "", n)', x=f32(2, 40, 1), s=const(7), n=const(12), opset=17),
    case("y = STFT(x, s, w)", x=f32("T", 40), s=const(5), w=weight(16), opset=17),
    case("y = Det(x)", x=f32(3, 3)),
    case("y = Det(x)", x=f32("T", 2, 5, 5)),
    case("y = Det(x)", x=given([[[0.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 1.0]]])),
    case("y = Col2Im(x, s, k)", x=f32("T", 12, 20), s=const([5, 6]), k=const([2, 2]), opset=18),
    case(
        "y = Col2Im <strides = [2, 2], pads = [1, 0, 1, 1], dilations = [1, 2]> (x, s, k)",
        x=f32(1, 12, 9),
        s=const([6, 6]),
        k=const([3, 2]),
        opset=18,
    ),
    case("y = Compress <axis = 1> (x, c)", x=f32("T", 4), c=const([True, False, True, True])),
    case("y = Compress(x, c)", x=f32(2, 3), c=const([False, True, False, False, True])),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_onnxruntime(case: Case, bundle_of: Callable[[Case], Path]) -> None:
    against_onnxruntime(case, bundle_of(case))
