"""Images that are sampled where a grid or a region says."""

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
    i64,
    weight,
)

CASES = [
    *(
        case(
            f'y = GridSample <mode = "{mode}", padding_mode = "{padding}", align_corners = {aligned}> (x, g)',
            x=f32(2, 3, 4, 5),
            g=f32(2, 3, 6, 2, low=-1.9, high=1.9),
        )
        for mode in ("nearest", "linear", "cubic")
        for padding in ("zeros", "border", "reflection")
        for aligned in (0, 1)
    ),
    case('y = GridSample <mode = "bilinear"> (x, g)', x=f32("T", 3, 4, 5), g=f32("T", 2, 3, 2, low=-1), opset=16),
    case(
        'y = GridSample <padding_mode = "reflection", align_corners = 1> (x, g)', x=f32(1, 1, 1, 3), g=f32(1, 2, 3, 2)
    ),
    *(
        case(
            f"y = RoiAlign <output_height = 2, output_width = 3, spatial_scale = 0.5, {attributes}> (x, r, b)",
            x=f32(2, 3, 6, 7),
            r=const([[0.0, 0.0, 9.0, 7.0], [3.0, 2.0, 12.0, 11.5], [-5.0, 1.0, 4.0, 3.0]]),
            b=i64(3, low=0, high=1),
        )
        for attributes in (
            "sampling_ratio = 2",
            "sampling_ratio = 0",
            'mode = "max", sampling_ratio = 2',
            'coordinate_transformation_mode = "output_half_pixel"',
        )
    ),
    *(
        case(
            f"y = DeformConv <pads = [1, 1, 1, 1], {attributes}> (x, w, o, b, m)",
            x=f32(2, 4, 5, 6),
            w=weight(6, inputs, 3, 3),
            o=f32(2, 18 * groups, *size),
            b=weight(6),
            m=f32(2, 9 * groups, *size, low=0, high=1),
            opset=19,
            atol=1e-4,
        )
        for attributes, inputs, groups, size in [
            ("strides = [1, 1]", 4, 1, (5, 6)),
            ("strides = [2, 1], group = 2, offset_group = 2", 2, 2, (3, 6)),
        ]
    ),
    case("y = GridSample(x, g)", x=f32(1, 2, 3, 4, 5), g=f32(1, 2, 2, 2, 3, low=-1.2, high=1.2)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_onnxruntime(case: Case, bundle_of: Callable[[Case], Path]) -> None:
    against_onnxruntime(case, bundle_of(case))
