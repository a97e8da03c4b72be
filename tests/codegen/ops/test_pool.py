"""Pooling."""

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
    typed,
)

CASES = [
    *(
        case(f"y = {op} <kernel_shape = [3, 2]> (x)", x=f32("T", 3, 6, 5))
        for op in ("MaxPool", "AveragePool", "LpPool")
    ),
    *(
        case(f"y = {op} <kernel_shape = [3, 3], pads = [1, 0, 1, 2], strides = [2, 2]> (x)", x=f32(1, 3, 6, 5))
        for op in ("MaxPool", "AveragePool", "LpPool")
    ),
    *(
        case(f"y = {op} <kernel_shape = [3, 3], strides = [2, 3], ceil_mode = 1> (x)", x=f32(1, 2, 6, 8))
        for op in ("MaxPool", "AveragePool")
    ),
    case("y = MaxPool <kernel_shape = [1, 1]> (x)", x=f32(1, 5, 1000, 1000)),  # more than a row of workgroups
    case("y = MaxPool <kernel_shape = [2, 2], dilations = [2, 3]> (x)", x=f32(1, 3, 6, 5)),
    case('y = MaxPool <kernel_shape = [4, 3], auto_pad = "SAME_UPPER", strides = [2, 2]> (x)', x=f32(1, 3, 6, 5)),
    case("y = MaxPool <kernel_shape = [2, 2]> (x)", x=typed("u8", 1, 1, 3, 4, low=0, high=200)),
    case("y, i = MaxPool <kernel_shape = [2, 3], pads = [0, 1, 1, 1]> (x)", x=f32(2, 3, 4, 6)),
    case("y, i = MaxPool <kernel_shape = [2, 3], storage_order = 1> (x)", x=f32(2, 2, 4, 6)),
    case("y, i = MaxPool <kernel_shape = [3]> (x)", x=given([[[2, 2, 2, 5, 1]]], "f32")),
    case("y = MaxPool <kernel_shape = [2, 2, 2], strides = [1, 2, 1]> (x)", x=f32(1, 2, 3, 4, 5)),
    case(
        "y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1, strides = [2, 2]> (x)",
        x=f32(1, 2, 6, 6),
    ),
    case(
        "y = AveragePool <kernel_shape = [3], pads = [1, 1], strides = [3], ceil_mode = 1, count_include_pad = 1> (x)",
        x=f32(1, 2, 8),
    ),
    case("y = AveragePool <kernel_shape = [3], dilations = [2]> (x)", x=f32(1, 2, 8)),
    *(case(f"y = {op}(x)", x=f32("T", 3, 4, 5)) for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")),
    case("y = GlobalLpPool <p = 3> (x)", x=f32(1, 2, 8)),
    case("y = LpPool <kernel_shape = [3], p = 1> (x)", x=f32(1, 2, 8)),
    case("y = LpPool <kernel_shape = [2, 2], p = 3> (x)", x=f32(1, 2, 4, 4)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_onnxruntime(case: Case, bundle_of: Callable[[Case], Path]) -> None:
    against_onnxruntime(case, bundle_of(case))
