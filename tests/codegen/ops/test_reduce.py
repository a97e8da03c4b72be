"""Reductions, sorting and running sums."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from parity import (
    Case,
    against_onnxruntime,
    case,
    const,
    f32,
    flags,
    given,
    i32,
    i64,
    typed,
)

SUMS = "ReduceSum ReduceMean ReduceSumSquare ReduceL1 ReduceL2"

CASES = [
    *(case(f"y = {op}(x, a)", x=f32(3, 5, 4), a=const([1])) for op in f"{SUMS} ReduceMax ReduceMin ReduceProd".split()),
    *(case(f"y = {op} <keepdims = 0> (x, a)", x=f32("T", 5), a=const([-1])) for op in SUMS.split()),
    *(case(f"y = {op}(x)", x=f32(3, 5, 4)) for op in ("ReduceSum", "ReduceMax")),
    *(case(f"y = {op}(x, a)", x=i64(3, 5, 4), a=const([1])) for op in ("ReduceSum", "ReduceMax", "ReduceProd")),
    case("y = ReduceMean(x, a)", x=i32(3, 5, low=0, high=90), a=const([1])),
    case("y = ReduceLogSum(x, a)", x=f32(3, 5, low=0.1), a=const([0])),
    case("y = ReduceSum <keepdims = 0> (x, a)", x=f32(3, 5, 4), a=const([0, 2])),
    case("y = ReduceMax(x, a)", x=f32(2, 3, 4, 5), a=const([-1, 1])),
    case("y = ReduceMean(x, a)", x=f32("T", 6), a=const([0])),
    case("y = ReduceMean(x, a)", x=f32(6, "T", 3), a=const([0, 1])),
    case("y = ReduceSum(x)", x=f32(6)),
    *(
        case(f"y = {op}(x, a)", x=f32(2, 70, 3, 70, low=0.99, high=1), a=const([1, 3]), rtol=1e-4)
        for op in f"{SUMS} ReduceMax ReduceMin ReduceProd ReduceLogSum".split()
    ),
    case("y = ReduceSum(x, a)", x=i64("T", 5000), a=const([1])),
    case("y = ReduceMax(x)", x=f32(300, 300)),
    case("y = ReduceSum(x)", x=f32()),
    case("y = ReduceSum <noop_with_empty_axes = 1> (x)", x=f32(3, 5)),
    case("y = ReduceMean <axes = [1]> (x)", x=f32(3, 5), opset=13),
    case("y = ReduceSum <axes = [0, 1], keepdims = 0> (x)", x=f32(3, 5, 2), opset=11),
    case("y = ReduceMax(x, a)", x=given([[-np.inf, -np.inf], [0.0, np.inf]]), a=const([1])),
    *(case(f"y = {op}(x, a)", x=typed(t, 3, 5, low=0, high=9), a=const([1])) for op in SUMS.split() for t in ("i32",)),
    *(
        case(f"y = {op}(x, a)", x=typed("i8", 3, 5, low=-99, high=99), a=const([1]))
        for op in ("ReduceMax", "ReduceMin")
    ),
    *(case(f"y = {op}(x, a)", x=flags(3, 5), a=const([0]), opset=20) for op in ("ReduceMax", "ReduceMin")),
    *(
        case(f"y = {op}(x, a)", x=f32(2, 0, 4), a=const([1]))
        for op in f"{SUMS} ReduceProd".split()
        if op != "ReduceMean"
    ),
    *(case(f"y = {op} <noop_with_empty_axes = 1> (x)", x=f32(3, 5)) for op in f"{SUMS} ReduceMax".split()),
    *(case(f"y = {op} <select_last_index = 1> (x)", x=i64(9, 2, low=0, high=3)) for op in ("ArgMax", "ArgMin")),
    *(case("y = ReduceLogSumExp(x, a)", x=f32("T", 5, low=low, high=low + 9), a=const([1])) for low in (-900, 0, 900)),
    case("y = ReduceLogSumExp <keepdims = 0> (x)", x=f32(3, 5)),
    case("y = ReduceLogSumExp(x, a)", x=given([[-np.inf, -np.inf], [0.0, np.inf]]), a=const([1])),
    # in parts
    *(case(f"y = {op}(x)", x=f32(300, 300, low=0), rtol=1e-4) for op in f"{SUMS} ReduceMax".split()),
    case("y = ReduceMin(x, a)", x=i64(2, 70000, 3, low=-9999, high=9999), a=const([1])),
    case("y = ReduceProd(x)", x=f32(20000, low=0.999, high=1.001), rtol=1e-4),
    *(
        case(f"y = {op} <axis = 1, select_last_index = {last}> (x)", x=i64(2, 70000, 2, low=0, high=3))
        for op in ("ArgMax", "ArgMin")
        for last in (0, 1)
    ),
    case("y = ArgMax <axis = -1> (x)", x=f32(1, 70000)),
    # running totals
    case("y = CumSum(x, a)", x=f32(3, 5), a=const(1)),
    case("y = CumSum <exclusive = 1> (x, a)", x=f32("T", 5), a=const(0)),
    case("y = CumSum <reverse = 1> (x, a)", x=i64(3, 5, 2), a=const(-2)),
    case("y = CumSum <reverse = 1, exclusive = 1> (x, a)", x=i32(2, "T"), a=const(1)),
    case("y = CumProd(x, a)", x=f32(3, 5), a=const(1), opset=26),
    case("y = ArgMax(x)", x=f32(3, 5)),
    case("y = ArgMax <axis = -1, keepdims = 0> (x)", x=f32("T", 5)),
    case("y = ArgMin <axis = 1> (x)", x=i64(3, 9, 2, low=0, high=3)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_onnxruntime(case: Case, bundle_of: Callable[[Case], Path]) -> None:
    against_onnxruntime(case, bundle_of(case))
