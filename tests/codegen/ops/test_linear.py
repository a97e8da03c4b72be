"""Products of matrices, with weights and without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from parity import (
    Case,
    against_onnxruntime,
    case,
    f32,
    i64,
    weight,
)

CASES = [
    case("y = MatMul(x, w)", x=f32(5, 8), w=weight(8, 12)),
    case("y = MatMul(x, w)", x=f32(1, 8), w=weight(8, 12)),
    case("y = MatMul(x, w)", x=f32("T", 16), w=weight(16, 24)),
    case("y = MatMul(x, w)", x=f32(2, 3, 8), w=weight(8, 12)),
    case("y = MatMul(x, w)", x=f32(5, 6), w=weight(6, 12)),
    case("y = MatMul(x, w)", x=f32(5, 8), w=weight(8, 7)),
    case("y = MatMul(x, w)", x=f32("T", 5), w=weight(5, 3)),
    case("y = MatMul(x, w)", x=f32(1, 5), w=weight(5, 3)),
    case("y = MatMul(x, w)", x=f32(1, 1), w=weight(1, 1)),
    case("y = MatMul(x, w)", x=f32(6), w=weight(6, 3)),
    case("y = MatMul(w, x)", x=f32(6, 3), w=weight(4, 6)),
    case("y = MatMul(x, w)", x=f32(4, 2, 6), w=weight(4, 6, 3)),
    case("y = MatMul(x, w) z = Add(y, b)", x=f32("T", 8), w=weight(8, 12), b=weight(12)),
    case("y = MatMul(x, w) z = Add(b, y)", x=f32(40, 8), w=weight(8, 7), b=weight(7)),
    case("y = MatMul(x, w) z = Add(y, b)", x=f32(1, 8), w=weight(8, 7), b=weight(7)),
    case("y = MatMul(x, w) z = Add(y, b) a = Relu(z)", x=f32("T", 6), w=weight(6, 8), b=weight(8)),
    case("y = MatMul(x, w) z = Add(y, b) a = Relu(z)", x=f32("T", 8), w=weight(8, 7), b=weight(7)),
    case("y = MatMul(x, w) z = Gelu(y) a = Add(z, x)", x=f32(33, 8), w=weight(8, 8)),
    case("y = MatMul(x, w) z = Add(y, r)", x=f32("T", 8), w=weight(8, 12), r=f32(1, 12)),
    case("a = MatMul(x, w) b = MatMul(x, v) y = Mul(a, b)", x=f32(5, 8), w=weight(8, 12), v=weight(8, 12)),
    *(
        case(
            "a = MatMul(x, w) b = MatMul(x, v) y = Mul(a, b)",
            x=x,
            w=weight(k, 12),
            v=weight(k, 12),
            rtol=1e-4,
            atol=1e-3,
        )
        for x, k in ((f32(1, 1280), 1280), (f32(40, 272), 272))
    ),
    case("a = MatMul(x, w) b = MatMul(x, v) y = Relu(a) z = Relu(b)", x=f32(5, 8), w=weight(8, 3), v=weight(8, 5)),
    case("a = MatMul(x, w) b = MatMul(x, v) y = Relu(a) z = Relu(b)", x=f32(1, 8), w=weight(8, 3), v=weight(8, 5)),
    case("a = MatMul(x, w) b = Relu(a) y = MatMul(b, v)", x=f32("T", 10), w=weight(10, 9), v=weight(9, 2)),
    case("y = MatMul(a, b)", a=f32(3, 4), b=f32(4, 5)),
    case("y = MatMul(a, b)", a=f32("T", 4), b=f32(4, 5)),
    case("y = MatMul(a, b)", a=f32(4, "T"), b=f32("T", 5)),
    case("y = MatMul(a, b)", a=f32(4), b=f32(4, 5)),
    case("y = MatMul(a, b)", a=f32(2, 3, 4), b=f32(4)),
    case("y = MatMul(a, b)", a=f32(4), b=f32(4)),
    case("y = MatMul(a, b)", a=f32(2, 1, 3, 4), b=f32(5, 4, 2)),
    case("y = MatMul(a, b)", a=i64(3, 4), b=i64(4, 5)),
    case("y = Gemm(a, b)", a=f32(3, 4), b=weight(4, 8)),
    case("y = Gemm <transB = 1> (a, b, c)", a=f32("T", 6), b=weight(7, 6), c=weight(7)),
    case("y = Gemm <transA = 1, alpha = 0.5, beta = 2.0> (a, b, c)", a=f32(6, 3), b=weight(6, 4), c=weight(3, 1)),
    case("y = Gemm <transA = 1, transB = 1> (a, b, c)", a=f32(6, 3), b=f32(4, 6), c=f32(4)),
    *(
        case(f'y = Einsum <equation = "{equation}"> (a, b)', a=a, b=b)
        for equation, a, b in [
            ("ij,jk->ik", f32(3, 4), f32(4, 5)),
            ("ij,jk", f32(3, 4), f32(4, 5)),
            ("bij, bjk -> bki", f32("T", 3, 4), f32("T", 4, 5)),
            ("bhtd,bhsd->bhts", f32(2, 3, "T", 4), f32(2, 3, 5, 4)),
            ("...ij,...jk->...ik", f32(2, 1, 3, 4), f32(1, 5, 4, 2)),
            ("i,j->ji", f32(3), f32(4)),
            ("i,i->", f32(4), f32(4)),
            ("ijk,kl->il", f32(3, 2, 4), f32(4, 5)),
            ("ii,ij->j", f32(3, 3), f32(3, 4)),
            ("ab,ab->ab", f32(3, 4), f32(3, 1)),
            ("btd,df->btf", f32(1, "T", 8), weight(8, 12)),
        ]
    ),
    *(
        case(f'y = Einsum <equation = "{equation}"> (a)', a=f32(*shape))
        for equation, shape in [
            ("ij->ji", (3, 4)),
            ("ii->i", (4, 4)),
            ("i...->...", ("T", 3)),
            ("iij->j", (3, 3, 2)),
            ("ij->", (3, 4)),
        ]
    ),
    case('y = Einsum <equation = "ab,bc,cd->da"> (a, b, c)', a=f32(2, 3), b=f32(3, 4), c=f32(4, 5)),
    # convolutions over time: channels, kernel, stride and padding in test_shapes.py
    case("y = Conv <kernel_shape = [3], pads = [1, 1]> (x, w, b)", x=f32(1, 8, 20), w=weight(12, 8, 3), b=weight(12)),
    case("y = Conv <strides = [2], pads = [1, 1]> (x, w) z = Gelu(y)", x=f32(1, 8, 20), w=weight(12, 8, 3)),
    case("y = Conv(x, w)", x=f32(1, 3, 20), w=weight(5, 3, 4)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_onnxruntime(case: Case, bundle_of: Callable[[Case], Path]) -> None:
    against_onnxruntime(case, bundle_of(case))
