"""Recurrent layers."""

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
    i32,
    weight,
)

CASES = [
    case(
        f"y, h, c = LSTM <hidden_size = {n}, direction = {d}> (x, w, r, b, l, i, j, p)".replace("'", '"'),
        x=f32(6, "T", 3),
        w=weight(k, 4 * n, 3),
        r=weight(k, 4 * n, n),
        b=weight(k, 8 * n),
        l=i32("T", low=1, high=6),
        i=f32(k, "T", n),
        j=f32(k, "T", n),
        p=weight(k, 3 * n),
    )
    for n, d, k in ((4, "'forward'", 1), (5, "'reverse'", 1), (6, "'bidirectional'", 2))
] + [
    case(
        "y = LSTM <hidden_size = 4, clip = 0.5, input_forget = 1> (x, w, r)",
        x=f32(6, 2, 3),
        w=f32(1, 16, 3),
        r=f32(1, 16, 4),
    ),
    case("y, h = LSTM <hidden_size = 300> (x, w, r)", x=f32(3, 1, 4), w=weight(1, 1200, 4), r=weight(1, 1200, 300)),
    case(
        'y, h = GRU <hidden_size = 5, direction = "bidirectional"> (x, w, r, b, l)',
        x=f32(6, 3, 4),
        w=weight(2, 15, 4),
        r=weight(2, 15, 5),
        b=weight(2, 30),
        l=const([6, 2, 3], "i32"),
    ),
    case(
        "y, h = GRU <hidden_size = 5, linear_before_reset = 1> (x, w, r, b)",
        x=f32(6, "T", 4),
        w=weight(1, 15, 4),
        r=weight(1, 15, 5),
        b=weight(1, 30),
    ),
    case("y = GRU <hidden_size = 300> (x, w, r)", x=f32(3, 1, 4), w=weight(1, 900, 4), r=weight(1, 900, 300)),
    *(
        case(
            f'y, h = RNN <hidden_size = 5, activations = ["{f}"]{more}> (x, w, r)',
            x=f32(4, 2, 3),
            w=weight(1, 5, 3),
            r=weight(1, 5, 5),
        )
        for f, more in [
            ("Tanh", ""),
            ("Relu", ""),
            ("Sigmoid", ""),
            ("Softplus", ""),
            ("Softsign", ""),
            ("HardSigmoid", ", activation_alpha = [0.3], activation_beta = [0.4]"),
            ("LeakyRelu", ", activation_alpha = [0.1]"),
            ("Elu", ", activation_alpha = [0.7]"),
            ("ThresholdedRelu", ", activation_alpha = [0.2]"),
            ("ScaledTanh", ", activation_alpha = [0.5], activation_beta = [0.8]"),
            ("Affine", ", activation_alpha = [0.5], activation_beta = [0.1]"),
        ]
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_onnxruntime(case: Case, bundle_of: Callable[[Case], Path]) -> None:
    against_onnxruntime(case, bundle_of(case))
