"""Operators that compute element by element, by themselves and at the end of a layer."""

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
    weight,
)

from intaglio.compiler.ir.expression import BINARY, SMOOTH, UNARY

PLAIN = """Abs Asinh Atan Ceil Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Mish
    Neg Relu Round Sigmoid Sign Sin Sinh Softplus Tan Tanh""".split()
COMPARISONS = "Equal Less LessOrEqual Greater GreaterOrEqual".split()

ELEMENT_BY_ELEMENT = [
    *(case(f"y = {op}(x)", x=f32(3, 5, low=-4, high=4)) for op in PLAIN),
    *(case(f"y = {op}(x)", x=f32("T", 8, low=0.1, high=4)) for op in ("Log", "Sqrt", "Reciprocal")),
    *(case(f"y = {op}(x)", x=f32(50, low=-1, high=1)) for op in ("Acos", "Asin", "Atanh")),
    *(case(f"y = {op}(x)", x=f32(50, low=-1e-3, high=1e-3), atol=0) for op in "Asin Atan Sinh Tan Tanh".split()),
    *(case(f"y = {op}(x)", x=f32(50, low=1, high=1e12)) for op in ("Acosh", "Asinh")),
    case("y = Acosh(x)", x=f32(50, low=1, high=1.1)),
    case("y = Elu <alpha = 0.5> (x) z = LeakyRelu <alpha = 0.3> (x)", x=f32(9)),
    case("y = HardSigmoid <alpha = 0.5, beta = 0.6> (x)", x=f32(9)),
    *(case(f"y = {op}(x)", x=i64(7)) for op in ("Abs", "Neg", "Sign")),
    case("y = Gelu <approximate = 'tanh'> (x)".replace("'", '"'), x=f32(40, low=-20, high=20)),
    case("y = Round(x)", x=given([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])),
    case("y = Sigmoid(x) z = Tanh(x) w = Softplus(x)", x=f32(9, low=-90, high=90)),
    case("y = IsInf(x) z = IsNaN(x)", x=given([1.0, np.inf, -np.inf, np.nan, 0.0])),
    case("y = IsInf <detect_negative = 0> (x)", x=given([1.0, np.inf, -np.inf, np.nan])),
    case("y = IsInf <detect_positive = 0> (x)", x=given([1.0, np.inf, -np.inf, np.nan])),
    *(case(f"y = {op}(a, b)", a=f32(2, 3), b=f32(2, 3)) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min")),
    *(case(f"y = {op}(a, b)", a=i64(50, low=-9, high=9), b=i64(50, low=1, high=4)) for op in ("Add", "Mul", "Div")),
    *(case(f"y = {op}(a, b)", a=i32(4, 1), b=i32(3)) for op in ("Sub", "Max", "Min")),
    *(case(f"y = {op}(a, b)", a=i64("T", 3, low=0, high=2), b=i64(3, low=0, high=2)) for op in COMPARISONS),
    *(case(f"y = {op}(a, b)", a=f32(4, 5), b=f32(5)) for op in COMPARISONS),
    case("y = Equal(a, b)", a=flags(9), b=flags(9)),
    *(case(f"y = {op}(a, b)", a=flags(3, 4), b=flags(4)) for op in ("And", "Or", "Xor")),
    case("y = Not(a)", a=flags("T", 3)),
    # as many operands as one likes
    *(case(f"y = {op}(a, b, c)", a=f32(5), b=f32(2, 1), c=f32(2, 5)) for op in ("Max", "Min", "Sum", "Mean")),
    case("y = Max(a, b, c)", a=i64(5), b=i64(5), c=i64(5)),
    case("y = Sum(a)", a=f32(5)),
    case("y = Max(a) z = Relu(y)", a=f32(5)),
    case(f"y = Sum({', '.join(f'x{i}' for i in range(12))})", **{f"x{i}": f32(6) for i in range(12)}),
    # broadcasting, scalars, sizes that vary
    case("y = Add(a, b)", a=f32(2, 1, 3), b=f32(4, 1)),
    case("y = Sub(a, b)", a=f32("T", 4), b=f32(4)),
    case("y = Sub(a, b)", a=f32("T", 3), b=f32("T", 1)),
    case("y = Mul(a, b)", a=f32(3, "T", 5), b=f32("T", 1)),
    case("y = Mul(a, b)", a=i64("T"), b=i64()),
    case("y = Add(a, b)", a=f32(), b=f32()),
    case("y = Add(a, b)", a=f32(3), b=f32()),
    case("y = Add(a, b)", a=f32(3), b=const(0.1)),
    case("y = Div(b, a)", a=f32(3, low=1), b=const(-7.0)),
    case("y = Sub(b, a)", a=i64(3), b=const(-7)),
    case("y = Add(a, w)", a=f32(2, 3), w=weight(2, 1)),
    case("y = Add(a, a)", a=f32(11)),
    case("y = Add(a, b)", a=f32(300, 1000), b=f32(1000)),
    # powers
    case("y = Pow(a, b)", a=f32(3, 4, low=0.1), b=f32(4)),
    case("y = Pow(a, b)", a=f32(12), b=const(2.0)),
    case("y = Pow(a, b)", a=f32(12), b=const(3.0)),
    case("y = Pow(a, b)", a=f32(12, low=0.1), b=const(0.5)),
    case("y = Pow(a, b)", a=f32(12), b=const(2)),
    case("y = Pow(a, b)", a=f32(12), b=i64(12, low=-3, high=4)),
    case("y = Pow(b, a)", a=f32(12), b=const(2.0)),
    case("y = Pow(b, a)", a=i64(12), b=const(2.0)),
    case("y = Pow(a, b)", a=i64(60), b=i64(60, low=0, high=9)),
    case("y = Pow(a, b)", a=given([-3, -1, -1, 1, 2, 0]), b=given([-2, -3, -2, -5, -1, 0])),
    case("y = Pow(a, b)", a=given([0.0, 2.0]), b=given([0.0, 0.0])),
    case("y = Pow(a, b)", a=i32(40, low=-9, high=9), b=const([0.0, 1.0, 2.0, 3.0] * 10)),
    case("y = Pow(a, b)", a=i32(40, low=0), b=const(0.5)),
    # bits
    *(
        case(
            f'y = BitShift <direction = "{way}"> (a, b)', a=typed(t, 40, low=0, high=255), b=const([0, 1, 7, 8] * 10, t)
        )
        for way in ("LEFT", "RIGHT")
        for t in ("u8", "u32")
    ),
    *(case(f"y = {op}(a, b)", a=i32(4, 3), b=i32(3)) for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")),
    *(case("y = BitwiseNot(a)", a=typed(t, 9, low=0, high=99)) for t in ("u8", "i16", "u32", "i64")),
    # remainders
    *(
        case(f"y = Mod <fmod = {fmod}> (a, b)", a=typed(t, 40, low=-9, high=9), b=const([-3, 2, 5, -1] * 10, t))
        for t in ("i8", "i32", "i64")
        for fmod in (0, 1)
    ),
    case("y = Mod <fmod = 1> (a, b)", a=f32(40, low=-9, high=9), b=f32(40)),
    case("y = Mod <fmod = 1> (a, b)", a=f32(40, low=-1e6, high=1e6), b=f32(40, low=1, high=3)),
    case("y = Mod <fmod = 1> (a, b)", a=given([1.0, -1.0, np.inf, 1.0]), b=given([np.inf, -np.inf, 2.0, 0.0])),
    *(case(f"y = Mod <fmod = {fmod}> (a, b)", a=typed("u8", 9, low=0), b=const(3, "u8")) for fmod in (0, 1)),
    # integers narrower than 32 bits wrap around
    *(
        case(f"y = {op}(a, b)", a=typed(t, 60, low=low, high=high), b=typed(t, 60, low=low, high=high))
        for op in ("Add", "Sub", "Mul")
        for t, low, high in (("i8", -128, 127), ("u8", 0, 255))
    ),
    case("y = Neg(a) z = Abs(a)", a=given([-128, 127, -1], "i8")),
    # bounds
    case("y = Clip(x, low, high)", x=f32(9), low=const(-1.0), high=const(1.0)),
    case("y = Clip(x, low, high)", x=f32(9), low=f32(low=-1, high=0), high=f32(low=0, high=1)),
    case("y = Clip(x, low)", x=f32(9), low=const(0.5)),
    case('y = Clip(x, "", high)', x=f32(9), high=const(0.5)),
    case("y = Clip(x)", x=f32(9)),
    case("y = Clip(x, low)", x=i64(9), low=const(-2)),
    case("y = Clip(x, low, high)", x=i32(9), low=const(-2, "i32"), high=const(3, "i32")),
    case("y = Clip <min = -1.0, max = 1.0> (x)", x=f32(9), opset=10),
    # choices
    case("y = Where(c, a, b)", c=flags(4, 1), a=f32(3), b=f32(4, 3)),
    case("y = Where(c, a, b) z = Softmax(y)", c=given([[1, 1, 0]], "bool"), a=f32(4, 3), b=const(-np.inf)),
    case("y = Where(c, a, b)", c=flags(4, 1), a=const(1.0), b=const(0.0)),
    case("y = Where(c, a, b)", c=flags("T"), a=const(2), b=i64("T")),
    case("y = Where(c, a, b)", c=const(True), a=f32(6), b=f32(6)),
    # types
    *(case(f"y = Cast <to = {code}> (x)", x=f32(3, 5, low=-9, high=9)) for code in (1, 6, 7, 9, 11)),
    *(case(f"y = Cast <to = {code}> (x)", x=i64(3, 5)) for code in (1, 6, 7, 9)),
    *(case(f"y = Cast <to = {code}> (x)", x=flags(3, 5)) for code in (1, 2, 6, 7, 9)),
    *(case(f"y = Cast <to = {code}> (x)", x=i32(60, low=-300, high=300)) for code in (2, 3, 4, 5, 12)),
    *(case(f"y = Cast <to = {code}> (x)", x=typed("u8", 60, low=0, high=255)) for code in (3, 5, 12)),
    *(case(f"y = Cast <to = {code}> (x)", x=f32(60, low=0, high=120)) for code in (2, 3, 4, 5)),
    case("b = Cast <to = 16> (x) y = Cast <to = 1> (b)", x=f32(200)),
    case("b = Cast <to = 16> (x) y = Cast <to = 1> (b)", x=given([np.inf, -np.inf, np.nan, 3.4e38, 1e-40])),
    case("y = Cast <to = 7> (x) z = Cast <to = 1> (y)", x=f32("T", 3, low=-9, high=9)),
    *(case("y = Add(x, x)", x=typed(dtype, 5, low=0, high=9)) for dtype in ("f64", "i8", "i16", "u8", "u16", "u32")),
    case("y = Add(x, x)", x=typed("u64", 5, low=0, high=9)),
    case("y = Mul(x, b)", x=typed("u8", 5, low=0, high=9), b=const(3, "u8")),
    # chains that become one kernel, and ones that are too long for its bindings
    case("a = Relu(x) b = Mul(a, s) c = Add(b, x) y = Tanh(c)", x=f32("T", 6), s=const(0.5)),
    case("a = Exp(x) y = Add(a, x) z = Sub(a, x)", x=f32(5)),
    case("a = Greater(x, s) b = Cast <to = 1> (a) y = Mul(b, x)", x=f32(5), s=const(0.0)),
    case("a = Not(x) b = Not(a) y = Where(b, s, t)", x=flags(5), s=f32(5), t=f32(1)),
]

# what a kernel does to its result before it stores it
TAILS = [
    *(
        case(f"y = MatMul(x, w) z = {op}(y)", x=f32(3, 8, low=0.1), w=weight(8, 8, low=0.1))
        for op in sorted(SMOOTH & UNARY)
    ),
    *(
        case(f"y = MatMul(x, w) z = {op}(y, b)", x=f32(3, 8, low=0.1), w=weight(8, 8, low=0.1), b=f32(3, 8))
        for op in sorted(SMOOTH & BINARY)
    ),
    *(
        case(f"y = MatMul(x, w) z = {op}(b, y)", x=f32(1, 8), w=weight(8, 8), b=const(0.3))
        for op in sorted(SMOOTH & BINARY - {"Div", "Pow"})
    ),
    case("y = MatMul(x, w) z = Pow(y, e)", x=f32(3, 8), w=weight(8, 8), e=const(3.0)),
    case("y = MatMul(x, w) z = Clip(y, l)", x=f32("T", 8), w=weight(8, 8), l=const(0.25)),
    case("y = MatMul(x, w) z = Clip(y, l, h)", x=f32("T", 8), w=weight(8, 8), l=const(0.0), h=const(6.0)),
    case('y = MatMul(x, w) z = Gelu <approximate = "tanh"> (y)', x=f32("T", 8), w=weight(8, 8)),
    case("y = MatMul(x, w) z = Mul(y, g) t = Add(z, r)", x=f32("T", 8), w=weight(8, 8), g=weight(8), r=f32("T", 8)),
    case("y = MatMul(x, w) z = Add(y, r)", x=f32(2, 3, 8), w=weight(8, 8), r=f32(2, 1, 8)),
    case("y = MatMul(x, w) z = Add(y, r)", x=f32(2, 3, 8), w=weight(8, 8), r=f32(3, 1)),
]

# what an element is depends on where it lies
PLACES = [
    *(case(f"y = Trilu <upper = {upper}> (x)", x=f32("T", 5)) for upper in (0, 1)),
    *(case("y = Trilu(x, k)", x=i64(2, 4, 5), k=const(k)) for k in (-2, 0, 3, 9)),
    case("y = Trilu(x, k)", x=f32(4, 5), k=i64(low=-3, high=3)),
    case("y = EyeLike <k = 1> (x)", x=f32("T", 5)),
    case("y = EyeLike <dtype = 7> (x)", x=f32(4, 5)),
    case("y = OneHot(i, d, v)", i=i64("T", 3, low=-9, high=9), d=const(6), v=const([0.5, 2.0])),
    case("y = OneHot <axis = 1> (i, d, v)", i=i64(4, 3, low=0, high=5), d=const(6), v=i64(2)),
    *(case(f"y = Hardmax <axis = {axis}> (x)", x=f32("T", 4, 3)) for axis in (0, 1, -1)),
]

CASES = [*ELEMENT_BY_ELEMENT, *TAILS, *PLACES]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_onnxruntime(case: Case, bundle_of: Callable[[Case], Path]) -> None:
    against_onnxruntime(case, bundle_of(case))
