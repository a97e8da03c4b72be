"""Convolutions in numpy, against ONNX's reference implementation."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import random
from onnx.reference import ReferenceEvaluator

from intaglio.compiler.reader import load
from intaglio.compiler.semantics import evaluate


@pytest.mark.parametrize(
    "shape, weight, attributes",
    [
        ((2, 4, 9), (6, 4, 3), "strides = [2], pads = [1, 2]"),
        ((1, 4, 12), (6, 2, 3), "group = 2, dilations = [3]"),
        ((2, 4, 7, 6), (4, 1, 3, 2), 'group = 4, auto_pad = "SAME_UPPER", strides = [2, 1]'),
        ((1, 3, 5, 6, 4), (2, 3, 2, 3, 1), "pads = [1, 0, 0, 1, 1, 0]"),
    ],
)
def test_against_the_reference(shape: tuple[int, ...], weight: tuple[int, ...], attributes: str) -> None:
    sizes = ["", *(",".join(map(str, s)) for s in (shape, weight))]
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 18]> main (float[{sizes[1]}] x, float[{sizes[2]}] w, '
        f"float[{weight[0]}] b) => (float y) {{ y = Conv<{attributes}>(x, w, b) }}"
    )
    inputs = {"x": random(*shape), "w": random(*weight, seed=1), "b": random(weight[0], seed=2)}
    (expected,) = ReferenceEvaluator(model).run(None, inputs)
    np.testing.assert_allclose(evaluate.run(load.load(model), inputs)["y"], expected, rtol=1e-4, atol=1e-5)
