"""Convolutions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from parity import (
    Case,
    Tensor,
    against_onnxruntime,
    case,
    f32,
    i32,
    typed,
    weight,
)


def codes(dtype: str, *shape: int) -> Tensor:
    """A weight of integers."""
    return replace(typed(dtype, *shape, low=-128, high=127), const=True)


CASES = [
    case("y = Conv(x, w)", x=f32(1, 3, 6, 7), w=weight(5, 3, 3, 3)),
    case("y = Conv(x, w, b)", x=f32(2, 3, 6, 9), w=weight(8, 3, 3, 2), b=weight(8)),
    case("y = Conv(x, w, b)", x=f32(1, 3, 6, 7), w=f32(4, 3, 3, 3), b=f32(4)),
    case("y = Conv <pads = [1, 2, 0, 1], strides = [2, 1]> (x, w)", x=f32("T", 3, 6, 7), w=weight(6, 3, 3, 3)),
    case("y = Conv <dilations = [2, 1], pads = [2, 1, 2, 1]> (x, w)", x=f32(1, 3, 6, 7), w=weight(6, 3, 3, 3)),
    case("y = Conv <group = 6, pads = [1, 1, 1, 1]> (x, w, b)", x=f32(2, 6, 5, 5), w=weight(6, 1, 3, 3), b=weight(6)),
    case("y = Conv <group = 2> (x, w, b)", x=f32(2, 6, 5, 5), w=weight(8, 3, 3, 3), b=weight(8)),
    case("y = Conv <group = 2> (x, w)", x=f32(2, 6, 5, 5), w=weight(6, 3, 3, 3)),
    case('y = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, w)', x=f32(1, 2, 6, 7), w=weight(4, 2, 3, 4)),
    case('y = Conv <auto_pad = "SAME_LOWER", strides = [2, 2]> (x, w)', x=f32(1, 2, 6, 7), w=weight(4, 2, 3, 4)),
    case('y = Conv <auto_pad = "VALID"> (x, w)', x=f32(1, 2, 6, 7), w=weight(4, 2, 3, 4)),
    case("y = Conv <pads = [1, 1]> (x, w, b)", x=f32(3, 8, 20), w=weight(12, 8, 3), b=weight(12)),
    case("y = Conv <dilations = [2], group = 2> (x, w)", x=f32(1, 8, 20), w=weight(12, 4, 3)),
    case("y = Conv <pads = [2, 1]> (x, w)", x=f32(2, 3, "T"), w=weight(4, 3, 4)),
    case("y = Conv <pads = [0, 1, 0, 0, 1, 1]> (x, w)", x=f32(1, 2, 4, 5, 6), w=weight(3, 2, 2, 3, 2)),
    case("y = Conv(x, w) z = Relu(y)", x=f32(1, 4, 9, 1), w=weight(4, 4, 2, 1)),
    case("y = Conv(x, w, b)", x=f32(2, 5, 4, 3), w=weight(9, 5, 1, 1), b=weight(9)),
    case("y = Conv <group = 2, pads = [1, 1, 1, 1]> (x, w)", x=f32(2, 6, 5, 5), w=weight(16, 3, 3, 3)),
    case("y = ConvTranspose(x, w)", x=f32(1, 3, 4, 5), w=weight(3, 4, 3, 3)),
    case("y = ConvTranspose(x, w, b)", x=f32(2, 3, 4, 5), w=f32(3, 2, 3, 3), b=f32(2)),
    case("y = ConvTranspose <strides = [2, 3]> (x, w, b)", x=f32("T", 3, 4, 5), w=weight(3, 2, 3, 2), b=weight(2)),
    case(
        "y = ConvTranspose <strides = [2, 2], pads = [1, 0, 0, 1], output_padding = [1, 0], dilations = [1, 2]> (x, w)",
        x=f32(1, 3, 4, 5),
        w=weight(3, 5, 3, 3),
    ),
    case("y = ConvTranspose <group = 3, strides = [2, 2]> (x, w)", x=f32(1, 6, 4, 5), w=weight(6, 2, 3, 3)),
    case("y = ConvTranspose <group = 2> (x, w)", x=f32(1, 6, 4, 5), w=f32(6, 4, 2, 2)),
    case("y = ConvTranspose <output_shape = [9, 9], strides = [2, 2]> (x, w)", x=f32(1, 2, 4, 5), w=weight(2, 1, 3, 2)),
    *(
        case(
            f'y = ConvTranspose <auto_pad = "SAME_{end}", strides = [2, 3]> (x, w)',
            x=f32(1, 2, 4, 5),
            w=weight(2, 4, 3, 4),
        )
        for end in ("UPPER", "LOWER")
    ),
    case("y = ConvTranspose <strides = [2]> (x, w)", x=f32(1, 3, "T"), w=weight(3, 4, 4)),
    case("y = ConvTranspose <strides = [1, 2, 1]> (x, w)", x=f32(1, 2, 2, 3, 4), w=weight(2, 3, 2, 2, 3)),
    # and what they do besides, as one kernel
    *(
        case(f"y = {convolution} z = {then}", x=f32("T", 6, 7, 5), **operands)
        for convolution, channels, size, weights in [
            ("Conv <pads = [1, 1, 1, 1]> (x, w, b)", 9, (7, 5), {"w": weight(9, 6, 3, 3), "b": weight(9)}),
            ("Conv <group = 6, strides = [2, 1]> (x, w)", 6, (3, 4), {"w": weight(6, 1, 2, 2)}),
            ("ConvTranspose <group = 2, strides = [2, 1]> (x, w)", 8, (15, 7), {"w": weight(6, 4, 3, 3)}),
        ]
        for then, operands in [
            ("Add(y, r) t = Relu(z)", weights | {"r": f32("T", channels, *size)}),
            ("Sigmoid(y) t = Mul(y, z)", weights),
            ("Mul(y, s) t = Add(z, r)", weights | {"s": weight(channels, 1, 1), "r": f32("T", channels, 1, 1)}),
            ("Sub(s, y) t = Div(z, r) u = Greater(t, r) v = Where(u, y, t)", weights | {"s": f32(), "r": f32(size[1])}),
            (
                "BatchNormalization(y, s, t, m, v) u = LeakyRelu(z)",
                weights | {n: weight(channels, low=0.5, high=2) for n in "stmv"},
            ),
        ]
    ),
    # channels and results enough for workgroups that share what they read
    case("y = Conv <pads = [1, 1, 1, 1]> (x, w, b)", x=f32(2, 5, 9, 8), w=weight(70, 5, 3, 3), b=weight(70)),
    case("y = Conv <strides = [1, 2]> (x, w) z = Relu(y)", x=f32("T", 3, 9, 25), w=weight(20, 3, 2, 3)),
    case("y = Conv <group = 2> (x, w) z = Mul(y, s)", x=f32(1, 6, 10, 7), w=weight(128, 3, 1, 1), s=weight(128, 1, 1)),
    case("y = Conv <group = 3> (x, w)", x=f32(2, 6, 65), w=weight(96, 2, 9)),
    case("y = Conv <dilations = [2], pads = [2, 2]> (x, w)", x=f32(2, 4, "T"), w=weight(33, 4, 3), sizes=(80, 5, 130)),
    case("y = ConvTranspose <strides = [2, 3]> (x, w, b)", x=f32(2, 9, 5, 7), w=weight(9, 37, 3, 2), b=weight(37)),
    case("y = Conv <pads = [1, 1, 1, 1]> (x, w) z = Add(x, y)", x=f32(1, 4, 5, 5), w=weight(4, 4, 3, 3)),
    case("y = Conv(x, w) z = Elu(y)", x=f32(2, 3, 5, 6), w=f32(4, 3, 2, 2)),
    case(
        "y = ConvInteger(x, w) z = Mul(y, r) t = Max(z, y)",
        x=typed("u8", 1, 3, 5, 5, low=0, high=255),
        w=typed("i8", 4, 3, 3, 3, low=-128, high=127),
        r=i32(1, 4, 1, 1),
        rtol=0,
        atol=0,
    ),
    # weights in few bits, of so many numbers that they are left so as long as a layer may read them
    *(
        case(
            f"v = DequantizeLinear <axis = 0> (w, d, o) y = {convolution} (x, v)",
            x=x,
            w=codes("i8", *shape),
            d=weight(shape[0], low=0.01, high=0.02),
            o=codes("i8", shape[0]),
        )
        for convolution, x, shape in [
            ("Conv", f32("T", 64, 64), (64, 64, 1)),
            ("Conv <pads = [1, 1]>", f32("T", 64, 20), (64, 64, 3)),
            ("Conv <group = 4, strides = [2, 1]>", f32(3, 32, 7, 6), (24, 8, 3, 3)),
            ("Conv <group = 40>", f32("T", 40, 9, 8), (40, 1, 5, 6)),
            ("ConvTranspose <strides = [2]>", f32("T", 32, 9), (32, 16, 3)),
        ]
    ),
    case(
        "q, e, z = DynamicQuantizeLinear(x) c = ConvInteger(q, w, z) f = Cast <to = 1> (c) s = Mul(e, d) y = Mul(f, s)",
        x=f32("T", 64, 20),
        w=codes("i8", 64, 64, 3),
        d=weight(1, low=0.01, high=0.02),
        atol=0.5,  # half of a step of x, times the weights
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_onnxruntime(case: Case, bundle_of: Callable[[Case], Path]) -> None:
    against_onnxruntime(case, bundle_of(case))
