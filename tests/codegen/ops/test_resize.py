"""Images in another size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity import (
    OPSET,
    Case,
    against_onnxruntime,
    case,
    const,
    f32,
)


def resize(attributes: str, *shape: int | str, opset: int = OPSET, **how: Any) -> Case:
    """scales, or sizes, and roi are weights."""
    given = {name[0]: const(np.array(how[name], np.int64 if name == "sizes" else np.float32)) for name in how}
    names = ", ".join(name[0] if name in how else '""' for name in ("roi", "factors", "sizes"))
    return case(f"y = Resize <{attributes}> (x, {names})", x=f32(*shape), **given, opset=opset)


CASES = [
    resize('mode = "nearest"', 1, 2, 4, 6, factors=[1, 1, 2, 2]),
    resize('mode = "nearest"', "T", 2, 4, 6, factors=[1, 1, 0.5, 3]),
    resize('mode = "nearest", coordinate_transformation_mode = "asymmetric"', 1, 2, 3, 4, sizes=[1, 2, 7, 9]),
    *(
        resize(f'nearest_mode = "{how}", coordinate_transformation_mode = "{mode}"', 1, 1, 5, 7, sizes=[1, 1, 8, 3])
        for how in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        for mode in ("half_pixel", "align_corners")
    ),
    *(
        resize(f'mode = "linear", coordinate_transformation_mode = "{mode}"', 2, 2, 4, 5, factors=[1, 1, 1.5, 0.6])
        for mode in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    ),
    resize('mode = "linear"', "T", 3, 5, 5, factors=[1, 1, 2, 2]),
    resize('mode = "linear"', 3, 5, sizes=[3, 8]),
    resize('mode = "linear", antialias = 1', 1, 1, 8, 9, sizes=[1, 1, 3, 4], opset=18),
    resize('mode = "cubic", antialias = 1', 1, 1, 8, 9, sizes=[1, 1, 3, 4], opset=18),
    resize('mode = "cubic"', 1, 2, 4, 5, factors=[1, 1, 1.5, 2]),
    resize('mode = "cubic", cubic_coeff_a = -0.5, exclude_outside = 1', 1, 2, 4, 5, factors=[1, 1, 0.7, 2]),
    resize(
        'mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize", extrapolation_value = 9.0',
        1,
        1,
        5,
        6,
        roi=[0, 0, 0.2, -0.3, 1, 1, 0.8, 1.1],
        sizes=[1, 1, 4, 4],
    ),
    resize('mode = "linear", axes = [3, 2]', 1, 2, 4, 5, factors=[2, 1.5], opset=18),
    resize('keep_aspect_ratio_policy = "not_larger", axes = [2, 3]', 1, 1, 4, 6, sizes=[6, 6], opset=18),
    case("y = Resize(x, s)", x=f32(1, 1, 2, 3), s=const(np.array([1, 1, 2, 3], np.float32)), opset=10),
    case(
        'y = Upsample <mode = "linear"> (x, s)', x=f32(1, 1, 2, 3), s=const(np.array([1, 1, 2, 3], np.float32)), opset=9
    ),
    case("y = Upsample <scales = [1.0, 1.0, 2.0, 2.0]> (x)", x=f32(1, 1, 2, 3), opset=7),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_onnxruntime(case: Case, bundle_of: Callable[[Case], Path]) -> None:
    against_onnxruntime(case, bundle_of(case))
