"""Numbers in 8 bits, or in 4, as quantizers write them."""

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
    i32,
    typed,
)

# numbers in 8 bits, or in 4: the products are exact, and so is what comes of them but for the last rounding
CODES = typed("u8", 6, 8, low=0, high=255), typed("i8", 8, 5, low=-128, high=127)
CASES = [
    case("y = QuantizeLinear(x, s, z)", x=f32(60, low=-9), s=const(0.1), z=const(128, "u8")),
    case("y = QuantizeLinear(x, s, z)", x=given([0.5, 1.5, 2.5, -0.5, 1e9, -1e9]), s=const(1.0), z=const(0, "i8")),
    case("y = QuantizeLinear(x, s)", x=f32(60), s=f32(low=0.1)),
    case(
        "y = QuantizeLinear <axis = 1> (x, s, z)", x=f32("T", 3, 4), s=const([0.1, 0.2, 0.3]), z=const([1, 2, 3], "i8")
    ),
    case("y = QuantizeLinear(x, s, z)", x=f32(60, low=-9), s=const(0.01), z=const(7, "i16"), opset=21),
    case(
        "y = QuantizeLinear <axis = -1, block_size = 2> (x, s, z)",
        x=f32(3, 4),
        s=const([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]),
        z=const([[1, 2], [3, 4], [5, 6]], "u8"),
        opset=21,
    ),
    case("y = DequantizeLinear(x, s, z)", x=CODES[0], s=const(0.1), z=const(128, "u8")),
    case("y = DequantizeLinear <axis = 0> (x, s)", x=CODES[1], s=f32(8)),
    case("y = DequantizeLinear(x, s)", x=i32(9, low=-1000, high=1000), s=const(0.1)),
    case(
        "q, s, z = DynamicQuantizeLinear(x) y = DequantizeLinear(q, s, z)",
        x=f32("T", 7, low=-5, high=9),
        outputs="s, z, y",
    ),
    case("y = MatMulInteger(a, b, p, q)", a=CODES[0], b=CODES[1], p=const(100, "u8"), q=const([1, 2, 3, 4, 5], "i8")),
    case("y = MatMulInteger(a, b)", a=typed("u8", "T", 300, low=0, high=255), b=typed("u8", 300, 5, low=0, high=255)),
    case(
        "y = QLinearMatMul(a, sa, za, b, sb, zb, sy, zy)",
        a=CODES[0],
        sa=const(0.1),
        za=const(100, "u8"),
        b=CODES[1],
        sb=const([0.1, 0.2, 0.3, 0.4, 0.5]),
        zb=const([1, 2, 3, 4, 5], "i8"),
        sy=const(9.0),
        zy=const(30, "u8"),
    ),
    case(
        "y = ConvInteger <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w)",
        x=typed("u8", 1, 3, 4, "T", low=0, high=255),
        w=typed("i8", 4, 3, 3, 3),
    ),
    case(
        "y = ConvInteger <pads = [1, 1, 1, 1]> (x, w, zx, zw)",
        x=typed("u8", 1, 3, 6, 6, low=0, high=255),
        w=typed("u8", 4, 3, 3, 3, low=0, high=255),
        zx=const(9, "u8"),
        zw=const(130, "u8"),
    ),
    case(
        "y = QLinearConv <pads = [1, 1, 1, 1]> (x, sx, zx, w, sw, zw, sy, zy, b)",
        x=typed("u8", 1, 3, 6, 6, low=0, high=255),
        sx=const(0.1),
        zx=const(9, "u8"),
        w=typed("i8", 4, 3, 3, 3, low=-128, high=127),
        sw=const([0.1, 0.2, 0.3, 0.4]),
        zw=const([0, 0, 0, 0], "i8"),
        sy=const(40.0),
        zy=const(128, "u8"),
        b=const([100, 200, -300, 400], "i32"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_onnxruntime(case: Case, bundle_of: Callable[[Case], Path]) -> None:
    against_onnxruntime(case, bundle_of(case))
