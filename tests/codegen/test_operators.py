"""Each operator that has a kernel, on the adapter: against onnxruntime, or numpy for operators that ONNX does not have.

To add an operator, add a line to CASES.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import readable
from parity import (
    OPSET,
    Build,
    Case,
    Program,
    assert_equal,
    case,
    compiled,
    const,
    every_variant,
    f32,
    flags,
    fused,
    given,
    graph_of,
    i32,
    i64,
    onnxruntime_outputs,
    opened,
    typed,
    weight,
)
from reference import filtered

import tint
from intaglio.codegen import wgsl
from intaglio.codegen.kernel import OPS
from intaglio.compiler.expansions import EXPANSIONS
from intaglio.compiler.ir.dims import Dim, Symbol, dim
from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.expression import BINARY, ELEMENTWISE, SMOOTH, UNARY, Expression, operator
from intaglio.compiler.ir.graph import Graph, Node, TensorType, Value, known
from intaglio.compiler.ir.operators import FakeQuantize, Rotary, WhisperToken, Window
from intaglio.compiler.models.whisper.family import bits
from intaglio.compiler.rewrite.elementwise_chains import spelled

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

PRODUCTS = [
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

CONVOLUTIONS = [
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
]

POOLS = [
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


def resize(attributes: str, *shape: int | str, opset: int = OPSET, **how: Any) -> Case:
    """scales, or sizes, and roi are weights."""
    given = {name[0]: const(np.array(how[name], np.int64 if name == "sizes" else np.float32)) for name in how}
    names = ", ".join(name[0] if name in how else '""' for name in ("roi", "factors", "sizes"))
    return case(f"y = Resize <{attributes}> (x, {names})", x=f32(*shape), **given, opset=opset)


RESIZES = [
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

SPECTRA = [
    case("y = DFT(x)", x=f32(2, 10, 1)),
    case("y = DFT(x)", x=f32("T", 9, 2)),
    case('y = DFT(x, "", a)', x=f32(2, 6, 3, 2), a=const(1)),
    case("y = DFT <inverse = 1> (x)", x=f32(2, 10, 2)),
    case("y = DFT <onesided = 1> (x, n)", x=f32(2, 10, 1), n=const(16)),
    case("y = DFT <onesided = 1> (x, n)", x=f32(2, 10, 1), n=const(7)),
    case("y = DFT <axis = 1> (x)", x=f32(2, 10, 3, 1), opset=17),
    case("y = STFT(x, s, w)", x=f32("T", 40, 1), s=const(5), w=weight(16), opset=17),
    case('y = STFT <onesided = 0> (x, s, "", n)', x=f32(2, 40, 1), s=const(7), n=const(12), opset=17),
    case("y = Det(x)", x=f32(3, 3)),
    case("y = Det(x)", x=f32("T", 2, 5, 5)),
    case("y = Det(x)", x=given([[[0.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 1.0]]])),
    case("y = Col2Im(x, s, k)", x=f32("T", 12, 20), s=const([5, 6]), k=const([2, 2]), opset=18),
    case(
        "y = Col2Im <strides = [2, 2], pads = [1, 0, 1, 1], dilations = [1, 2]> (x, s, k)",
        x=f32(1, 12, 9),
        s=const([6, 6]),
        k=const([3, 2]),
        opset=18,
    ),
    case("y = Compress <axis = 1> (x, c)", x=f32("T", 4), c=const([True, False, True, True])),
    case("y = Compress(x, c)", x=f32(2, 3), c=const([False, True, False, False, True])),
]

SAMPLINGS = [
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

NORMS = [
    case("y = Softmax(x)", x=f32(5, 7)),
    case("y = Softmax <axis = 1> (x)", x=f32(3, 7, 4)),
    case("y = Softmax <axis = 0> (x)", x=f32("T", 3)),
    case("y = Softmax(x)", x=f32("T", 9, low=-80, high=80)),
    case("y = Softmax <axis = 1> (x)", x=f32(3, 7), opset=11),
    case("y = LogSoftmax(x)", x=f32(5, 7, low=-20, high=20)),
    *(case(f"y = {op}(x)", x=f32(2, 70000, low=-9, high=9), rtol=1e-4) for op in ("Softmax", "LogSoftmax")),
    case("y = Softmax <axis = 0> (x)", x=f32(20000, 2), rtol=1e-4),
    case("y = LayerNormalization(x, s, b)", x=f32(5, 8), s=weight(8), b=weight(8)),
    case("y = LayerNormalization(x, s, b)", x=f32("T", 24), s=weight(24), b=weight(24)),
    case("y = LayerNormalization(x, s, b)", x=f32(2, 3, 7), s=weight(7), b=weight(7)),
    case("y = LayerNormalization(x, s)", x=f32(5, 8), s=weight(8)),
    case("y = LayerNormalization <epsilon = 0.1> (x, s)", x=f32(5, 5), s=weight(5)),
    case("y = LayerNormalization <axis = 1> (x, s, b)", x=f32(5, 3, 4), s=weight(3, 4), b=weight(3, 4)),
    case("y = LayerNormalization(x, s, b)", x=f32(5, 8, low=999, high=1000), s=weight(8), b=weight(8), atol=2e-3),
    case("y = LayerNormalization(x, s, b) z = MatMul(y, w)", x=f32(1, 8), s=weight(8), b=weight(8), w=weight(8, 12)),
    case("y = LayerNormalization(x, s) z = MatMul(y, w)", x=f32(1, 8), s=weight(8), w=weight(8, 12)),
    case("y = LayerNormalization(x, s, b) z = MatMul(y, w)", x=f32(1, 6), s=weight(6), b=weight(6), w=weight(6, 8)),
    case("y = LayerNormalization(x, s, b) z = MatMul(y, w)", x=f32("T", 8), s=weight(8), b=weight(8), w=weight(8, 12)),
]

OTHER_NORMS = [
    case(
        "y = BatchNormalization(x, s, b, m, v)",
        x=f32("T", 3, 4, 5),
        s=weight(3),
        b=weight(3),
        m=weight(3),
        v=weight(3, low=0.1),
    ),
    case(
        "y = BatchNormalization <epsilon = 0.1> (x, s, b, m, v)",
        x=f32(5, 3),
        s=f32(3),
        b=f32(3),
        m=f32(3),
        v=f32(3, low=0.1),
    ),
    case(
        "y, m1, v1 = BatchNormalization <training_mode = 1, momentum = 0.7> (x, s, b, m, v)",
        x=f32(2, 3, 4, 5),
        s=f32(3),
        b=f32(3),
        m=f32(3),
        v=f32(3, low=0.1),
    ),
    case("y = InstanceNormalization(x, s, b)", x=f32(2, 3, 4, 5), s=weight(3), b=weight(3)),
    case("y = InstanceNormalization <epsilon = 0.1> (x, s, b)", x=f32("T", 3, 7), s=weight(3), b=weight(3)),
    case("y = LRN <size = 3> (x)", x=f32(2, 5, 3, 3)),
    case("y = LRN <size = 5, alpha = 0.2, beta = 0.6, bias = 2.0> (x)", x=f32(1, 7, 2, 3)),
    case("y = LpNormalization(x)", x=f32(3, 5)),
    case("y = LpNormalization <axis = 0, p = 1> (x)", x=given([[1.0, 0.0], [-3.0, 0.0]])),
]

SUMS = "ReduceSum ReduceMean ReduceSumSquare ReduceL1 ReduceL2"
RECURRENT = [
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

REDUCTIONS = [
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

MOVES = [
    case("y = Transpose <perm = [1, 0]> (x)", x=f32(3, 5)),
    case("y = Transpose(x)", x=f32(2, 3, 4)),
    case("y = Transpose <perm = [0, 2, 1, 3]> (x)", x=f32(2, 3, 4, 8)),
    case("y = Transpose <perm = [1, 0]> (x)", x=f32("T", 6)),
    case("y = Transpose <perm = [2, 0, 1]> (x)", x=i64(4, "T", 3)),
    case("y = Transpose <perm = [1, 0, 2]> (x)", x=flags(1, 4, 3)),
    case("y = Concat <axis = 0> (a, b)", a=f32(2, 3), b=f32(4, 3)),
    case("y = Concat <axis = 1> (a, b, a)", a=f32(2, 3), b=f32(2, 4)),
    case("y = Concat <axis = 0> (a, w)", a=f32("T", 4), w=weight(2, 4)),
    case("y = Concat <axis = 1> (a, b)", a=f32(3, "T"), b=f32(3, 2)),
    case("y = Concat <axis = 0> (a, b)", a=i64(2), b=i64(3)),
    case("y = Concat <axis = 0> (a)", a=f32(2)),
    case("y, z = Split <axis = 1, num_outputs = 2> (x)", x=f32(3, 8)),
    case("y, z = Split <num_outputs = 2> (x)", x=f32(5, 3)),
    case("y, z, a = Split <axis = -1> (x, s)", x=f32("T", 10), s=const([2, 5, 3])),
    case("y, z = Split <axis = 1> (x, s) a = Relu(z)", x=f32(3, 8), s=const([3, 5]), outputs="a"),
    case("y = Slice(x, a, b)", x=f32(6, 5), a=const([1]), b=const([4])),
    case("y = Slice(x, a, b, c)", x=f32(6, 5), a=const([-3]), b=const([-1]), c=const([1])),
    case("y = Slice(x, a, b, c, d)", x=f32(6, 7), a=const([1, 0]), b=const([6, 7]), c=const([0, 1]), d=const([2, 3])),
    case("y = Slice(x, a, b, c, d)", x=f32(6, 7), a=const([-1]), b=const([-99]), c=const([1]), d=const([-2])),
    case(
        "y = Slice(x, a, b, c, d)", x=f32(6, 8), a=const([5, 7]), b=const([-9, 0]), c=const([0, 1]), d=const([-1, -3])
    ),
    case("y = Slice(x, a, b, c)", x=f32("T", 6), a=const([1]), b=const([2**62]), c=const([1])),
    case("y = Slice <starts = [1], ends = [3]> (x)", x=f32(6, 5), opset=9),
    case("y = Expand(x, s)", x=f32(4, 1), s=const([2, 4, 3])),
    case("y = Expand(x, s)", x=i64(1), s=const([3, 4])),
    case("y = Expand(x, s)", x=f32(), s=const([8])),
    case("y = Expand(x, s)", x=f32("T", 1), s=const([3, 1, 4])),
    case("y = Tile(x, s)", x=f32(4, 3), s=const([2, 3])),
    case("y = Tile(x, s)", x=f32("T", 3), s=const([1, 2])),
    case("y = Pad(x, s)", x=f32(4, 2), s=const([1, 0, 0, 2])),
    case("y = Pad(x, s, v)", x=f32(4, 2), s=const([1, 1, 2, 2]), v=const(-1.5)),
    case("y = Pad(x, s, v, a)", x=i64(4, 2), s=const([1, 2]), v=const(7), a=const([-1])),
    case("y = Pad(x, s)", x=f32("T", 2), s=const([1, 0, 0, 2])),
    *(
        case(f'y = Pad <mode = "{mode}"> (x, s)', x=f32(4, 5), s=const([2, 0, 3, 1]), opset=19)
        for mode in ("reflect", "edge", "wrap")
    ),
    case('y = Pad <mode = "edge"> (x, s)', x=i64("T", 3), s=const([0, 2, 0, 1])),
    case('y = Pad <mode = "reflect"> (x, s)', x=f32(5, 4), s=const([-1, 2, -2, 0])),
    case("y = Pad(x, s)", x=f32(4, 5), s=const([1, -1, -2, 2])),
    case("y = Pad(x, s, v)", x=f32(4, 2), s=const([0, 1, 1, 0]), v=f32()),
    case("y = Gather(x, i)", x=f32(6, 5), i=const([0, -1, 3])),
    case("y = Gather(x, i)", x=f32(6, 5), i=const(2)),
    case("y = Gather <axis = 1> (x, i)", x=f32(3, 6, 5), i=const([[0, -1], [3, 2]])),
    case("y = Gather <axis = 1> (x, i)", x=f32("T", 6), i=i64(4, low=-6, high=5)),
    case("y = Gather(x, i)", x=flags(6, 3), i=i32("T", low=0, high=5)),
    case("y = Gather(w, i)", w=weight(11, 8), i=i64(2, 3, low=0, high=10)),
    case("y = Gather(w, i)", w=weight(11, 8), i=given([-1, -11, 10, 0])),
    case("y = Gather(w, i)", w=weight(11, 7), i=given([-1, -11, 10, 0])),
    case("y = Gather(w, i) z = Add(y, b)", w=weight(11, 8), i=i64("T", low=0, high=10), b=weight(8)),
    case("y = Gather <axis = 1> (x, i) z = Add(y, b)", x=f32(4, 5, 8), i=const([1, 2]), b=weight(8)),
    case("y = Gather(x, i) z = Relu(y)", x=f32(4, 8), i=i64("T", low=0, high=3)),
    case("y = GatherElements(x, i)", x=f32(6, 5), i=i64(4, 3, low=-6, high=5)),
    case("y = GatherElements <axis = -1> (x, i)", x=i64("T", 6, 2), i=i64("T", 6, 5, low=-2, high=1)),
    case("y = GatherElements <axis = 1> (x, i)", x=flags(2, 4, 3), i=i32(2, 2, 3, low=-4, high=3)),
    case("y = GatherND(x, i)", x=f32(3, 4, 5), i=const([[0, 1], [-1, -2], [2, 3]])),
    case("y = GatherND(x, i)", x=f32(3, 4, 5), i=const([[[0, 1, 4]], [[-1, -2, -3]]])),
    case("y = GatherND <batch_dims = 1> (x, i)", x=f32("T", 4, 5), i=i64("T", 2, 1, low=-4, high=3)),
    case("y = ScatterElements(x, i, u)", x=f32(4, 5), i=const([[0, -1, 2], [1, 0, -2]]), u=f32(2, 3)),
    case("y = ScatterElements <axis = 1> (x, i, u)", x=i64("T", 5), i=const([[0, -1]]), u=i64(1, 2)),
    case("y = Relu(x) z = ScatterElements <axis = 1> (y, i, u)", x=f32(1, 8), i=const([[0, 3]]), u=weight(1, 2)),
    *(
        case(
            f'y = ScatterElements <axis = 1, reduction = "{how}"> (x, i, u)',
            x=f32(2, 3, 5),
            i=i64(2, 4, 4, low=-3, high=2),
            u=f32(2, 4, 4),
            opset=18,
        )
        for how in ("add", "mul", "max", "min")
    ),
    case("y = ScatterND(x, i, u)", x=f32(4, 5, 3), i=const([[0, 1], [-1, -2]]), u=f32(2, 3)),
    case("y = ScatterND(x, i, u)", x=f32(4, 3), i=const([[[0, 1]], [[2, -1]]]), u=f32(2, 1)),
    case("y = ScatterND(x, i, u)", x=i64(4, "T"), i=const([[0], [3]]), u=i64(2, "T")),
    *(
        case(
            f'y = ScatterND <reduction = "{how}"> (x, i, u)',
            x=f32(4, 3),
            i=i64(9, 1, low=-4, high=3),
            u=f32(9, 3),
            opset=18,
        )
        for how in ("add", "mul", "max", "min")
    ),
    case(
        'y = ScatterND <reduction = "add"> (x, i, u)', x=i64(4), i=const([[[1]], [[1]], [[0]]]), u=i64(3, 1), opset=18
    ),
    case("y = TensorScatter(x, u, i)", x=f32(2, 3, 6, 4), u=f32(2, 3, 2, 4), i=i64(2, low=0, high=4), opset=24),
    case(
        'y = TensorScatter <mode = "circular", axis = 1> (x, u, i)',
        x=f32(2, 5, 3),
        u=f32(2, 3, 3),
        i=const([4, 1]),
        opset=24,
    ),
    case("y = TensorScatter(x, u)", x=f32(2, 6, 4), u=f32(2, 2, 4), opset=24),
    case("y = Scatter <axis = 1> (x, i, u)", x=f32(2, 5), i=const([[0, 4], [1, 3]]), u=f32(2, 2), opset=10),
    case("y = ReverseSequence <time_axis = 0, batch_axis = 1> (x, n)", x=f32(4, 3, 2), n=const([4, 2, 0])),
    case("y = ReverseSequence <time_axis = 1, batch_axis = 0> (x, n)", x=f32("T", 4), n=i64("T", low=0, high=4)),
    case(
        "y, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) "
        "z = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (y, i)",
        x=f32(2, 3, 4, 6),
    ),
    case("y, i = TopK(x, k)", x=f32(5, 9), k=const([3])),
    case("y, i = TopK(x, k)", x=i64(2, 40, low=0, high=5), k=const([40])),
    case("y, i = TopK <axis = 0, largest = 0> (x, k)", x=f32(9, "T"), k=const([2])),
    case("y, i = TopK <axis = 1> (x, k)", x=f32(2, 9, 3), k=const([1])),
    case("y = Squeeze(x) z = Neg(y)", x=f32(1, 4, 1)),
    case("y = Unsqueeze(x, a) z = Neg(y)", x=f32(4), a=const([0, 2])),
    case("y = Flatten(x) z = Neg(y)", x=f32("T", 2, 3)),
    case("y = Dropout(x) z = Neg(y)", x=f32(4)),
]

# sizes that vary and are computed with
SIZES = [
    case("y = Shape(x) z = Neg(x)", x=f32("T", 3)),
    case("s = Shape(x) f = Cast <to = 1> (s) n = ReduceProd <keepdims = 0> (f) y = Div(x, n)", x=f32("T", 3)),
    case("s = Shape(x) y = ConstantOfShape(s) z = Add(x, y)", x=f32("T", 3)),
    case(
        "s = Shape <start = 0, end = 1> (x) n = Squeeze(s) y = Range(zero, n, two)",
        x=f32("T", 3),
        zero=const(0),
        two=const(1),
    ),
    case("s = Shape(x) c = ConstantOfShape <value = int64[1] {3}> (s) y = Add(x, c)", x=i64("T", 3)),
    case("s = Shape(x) y = Expand(w, s) z = Add(x, y)", x=f32("T", 3), w=weight(1, 3)),
    case("s = Shape(x) y = Reshape(x, m) z = Relu(y)", x=f32("T", 6), m=const([-1, 2, 3]), outputs="z"),
]

# a value in the memory of another one, from some element on
VIEWS = [
    case("y = Reshape(x, s)", x=f32(4, 3), s=const([2, 6])),
    case("y = Reshape(x, s)", x=f32("T", 6), s=const([0, 2, 3])),
    case("y = Reshape(x, s) z = Relu(y)", x=f32(4, 3), s=const([2, 6])),
    case("r = Relu(x) y = Reshape(r, s) z = Reshape(r, t)", x=f32(4, 3), s=const([2, 6]), t=const([12])),
    case("r = Relu(x) y = Reshape(r, s)", x=f32(4, 3), s=const([2, 6]), outputs="r, y"),
    case("y = Slice(x, a, b) z = Relu(y)", x=f32(6, 5), a=const([1]), b=const([4])),
    case("y = Slice(x, a, b) z = Slice(y, a, b) t = Relu(z)", x=f32(6, 5), a=const([1]), b=const([4])),
    case("y = Slice(x, a, b, c) z = Relu(y)", x=f32(1, 6, 5), a=const([2]), b=const([3]), c=const([1])),
    case("y = Slice(x, a, b, c) z = Relu(y)", x=f32(2, 6, 5), a=const([2]), b=const([3]), c=const([1])),
    case("y = Slice(x, a, b)", x=i64("T"), a=const([-1]), b=const([2**62])),
    case("y = Slice(x, a, b) z = Neg(y)", x=i64("T"), a=const([-1]), b=const([2**62])),
    # vec4s that begin at odd elements
    case(
        "s = Slice(x, a, b) t = Reshape(s, m) y = MatMul(t, w) z = Softmax(t)",
        x=f32(40),
        a=const([3]),
        b=const([35]),
        m=const([8, 4]),
        w=weight(4, 8),
    ),
    case("y = Slice(x, a, b) z = MatMul(y, w)", x=f32(9, 4), a=const([8]), b=const([9]), w=weight(4, 8)),
    case(
        "y = Slice(x, a, b) z = Reshape(y, m) t = MatMul(z, w)",
        x=f32(9),
        a=const([1]),
        b=const([9]),
        m=const([2, 4]),
        w=weight(4, 8),
    ),
    # outputs that are an input, a weight, or another output
    case("y = Identity(x)", x=f32(4, 3)),
    case("y = Identity(x) z = Relu(x)", x=f32("T", 3)),
    case("y = Identity(x) z = Identity(x)", x=f32(4, 3)),
    case("y = Identity(w) z = Relu(x)", x=f32(4, 3), w=weight(2, 3)),
    case("y = Identity(w) z = Identity(w) r = Relu(x)", x=f32(4, 3), w=weight(2, 3)),
    case("y = Relu(x) z = Identity(y)", x=f32(4, 3), outputs="y, z"),
    case("y = Relu(x) z = Relu(x)", x=f32(4, 3)),
    case("y = Add(x, zero) z = Mul(x, one)", x=f32(4, 3), zero=const(0.0), one=const(1.0)),
    case("y = Cast <to = 1> (x) z = Relu(y)", x=f32(4), outputs="y, z"),
    case("y = Transpose <perm = [1, 0]> (x) z = Transpose <perm = [1, 0]> (y)", x=f32(4, 3), outputs="z"),
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

# numbers in 8 bits, or in 4: the products are exact, and so is what comes of them but for the last rounding
CODES = typed("u8", 6, 8, low=0, high=255), typed("i8", 8, 5, low=-128, high=127)
QUANTIZED = [
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

CASES = [
    *ELEMENT_BY_ELEMENT,
    *QUANTIZED,
    *PLACES,
    *TAILS,
    *PRODUCTS,
    *CONVOLUTIONS,
    *POOLS,
    *RESIZES,
    *SAMPLINGS,
    *SPECTRA,
    *NORMS,
    *OTHER_NORMS,
    *RECURRENT,
    *REDUCTIONS,
    *MOVES,
    *SIZES,
    *VIEWS,
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_onnxruntime(case: Case, bundle_of: Callable[[Case], Path]) -> None:
    sessions = every_variant(bundle_of(case))
    for size in case.sizes if case.symbols else (1,):
        feeds = case.fed(size)
        expected = onnxruntime_outputs(case.model(), feeds)
        for session in sessions:
            assert_equal(session.run("main", feeds), expected, case.rtol, case.atol)


# operators that ONNX does not have, or not so; against numpy, before they are fused

P, T = dim(Symbol("P", 0, 63)), dim(Symbol("T", 1, 64))
ROWS = [{"P": 0, "T": 5}, {"P": 7, "T": 1}, {"P": 55, "T": 9}]
STEPS = [{"P": 0}, {"P": 7}, {"P": 63}]
WIDTH = 24


@dataclass(frozen=True)
class Layer:
    """A graph, the sizes that it runs with, and the operators that are left when it is fused."""

    build: Callable[[], Graph]
    left: str
    symbols: list[dict[str, int]] = field(default_factory=lambda: [{}])


def self_attention(rows: Dim, heads: int = 3, kv_heads: int = 3, norm: bool = False) -> Graph:
    """A decoder's first half: keys and values are written into their caches by the layer that makes them."""
    b = Build()
    head_dim = WIDTH // heads
    x = b.input("x", 1, rows, WIDTH)
    n = b.LayerNormalization(x, b.weight(WIDTH), b.weight(WIDTH), axis=-1, epsilon=1e-5) if norm else x
    q = b.Linear(n, b.weight(WIDTH, WIDTH), b.weight(WIDTH))
    k, v = (
        b.Write(b.Linear(n, b.weight(kv_heads * head_dim, WIDTH)), b.state(s, 1, 128, kv_heads * head_dim), at=P)
        for s in ("keys", "values")
    )
    y = b.Attention(q, k, v, heads=heads, kv_heads=kv_heads, scale=head_dim**-0.5, past=P)
    return b.output(b.Add(b.Linear(y, b.weight(WIDTH, WIDTH), b.weight(WIDTH)), x))


def to_steps(scale: float, zero: float) -> Expression:
    """Rounding to 8 bits."""
    x = Value("x", TensorType("f32", ()))
    grid = tuple(Value("", TensorType("f32", ()), np.float32(v)) for v in (scale, zero))
    return spelled(FakeQuantize(x, *grid, low=-128.0, high=127.0), "acc")


ROUNDED, FINE = to_steps(0.01, 3), to_steps(1 / 255, -128)


def attention(
    queries: Dim,
    keys: Dim,
    heads: int = 2,
    head_dim: int = 8,
    past: Dim | None = None,
    share: int = 1,
    **more: float | Expression,
) -> Graph:
    """share: how many heads have the same keys and values."""
    b = Build()
    sizes = {"q": (queries, heads), "k": (keys, heads // share), "v": (keys, heads // share)}
    q, k, v = (b.input(name, 1, rows, count * head_dim) for name, (rows, count) in sizes.items())
    return b.output(b.Attention(q, k, v, heads=heads, kv_heads=heads // share, scale=0.3, past=past, **more))


def rotary(rows: Dim, head_dim: int, pairs: int, interleaved: bool = False, norm: bool = False) -> Graph:
    """Queries of 3 heads, and keys of one that go into a cache, turned by angles that are random."""
    b = Build()
    q, k = b.input("q", 1, rows, 3 * head_dim), b.input("k", 1, rows, head_dim)
    if norm:
        q, k = (normed(b, x, head_dim) for x in (q, k))
    tables = b.weight(128, pairs), b.weight(128, pairs)
    q = b.add(Rotary(*tables, (q,), heads=(3,), interleaved=interleaved, past=P))
    k = b.add(Rotary(*tables, (k,), heads=(1,), interleaved=interleaved, past=P))
    k = b.Write(k, b.state("keys", 1, 128, head_dim), at=P)
    y = b.Attention(q, k, k, heads=3, kv_heads=1, scale=head_dim**-0.5, past=P)
    return b.output(y)


def turned(
    rows: Dim, head_dim: int, pairs: int, interleaved: bool = False, norm: bool = False, bias: bool = False
) -> Graph:
    """As rotary, with the layers that make queries, keys and values, and attention over a cache of both."""
    b = Build()
    x = b.input("x", 1, rows, WIDTH)
    x = b.RMSNormalization(x, b.weight(WIDTH), axis=-1, epsilon=1e-6) if norm else x
    tables = b.weight(128, pairs), b.weight(128, pairs)
    widths = {"q": 3 * head_dim, "keys": head_dim, "values": head_dim}
    made = {name: b.Linear(x, b.weight(n, WIDTH), *[b.weight(n)] * bias) for name, n in widths.items()}
    for name, heads in (("q", 3), ("keys", 1)):
        made[name] = b.add(Rotary(*tables, (made[name],), heads=(heads,), interleaved=interleaved, past=P))
    for name in ("keys", "values"):
        made[name] = b.Write(made[name], b.state(name, 1, 128, head_dim), at=P)
    return b.output(b.Attention(*made.values(), heads=3, kv_heads=1, scale=head_dim**-0.5, past=P))


def normed(b: Build, x: Value, head_dim: int) -> Value:
    """Token rows with the norm of each head taken."""
    rows, width = x.shape[1:]
    heads = b.Reshape(x, b.constant(known([1, rows, width // head_dim, head_dim], (4,))))
    y = b.RMSNormalization(heads, b.weight(head_dim), axis=-1, epsilon=1e-6)
    return b.Reshape(y, b.constant(known([1, rows, width], (3,))))


def rms_norm(rows: Dim, width: int, *columns: int, residual: bool = False) -> Graph:
    b = Build()
    y = b.RMSNormalization(b.input("x", 1, rows, width), b.weight(width), axis=-1, epsilon=1e-6)
    if residual:
        return b.output(b.Add(b.input("before", 1, rows, width), y))
    return b.output(*[b.Linear(y, b.weight(n, width)) for n in columns] or [y])


def masked(rows: Dim, keys: int, *mask: Dim, head_dim: int = 8) -> Graph:
    """Attention whose mask is data."""
    b = Build()
    q, k, v = (b.input(n, 1, d, 4 * head_dim) for n, d in (("q", rows), ("k", keys), ("v", keys)))
    return b.output(b.Attention(q, k, v, b.input("mask", *mask), heads=4, kv_heads=4, scale=0.3, past=None))


def cached(rows: Dim, width: int, in_layer: bool = True) -> Graph:
    """Rows written into a state, by the layer that makes them or as they are; all rows there are read."""
    b = Build()
    x = b.input("x", 1, rows, width)
    y = b.Linear(x, b.weight(width, width)) if in_layer else x
    return b.output(b.Neg(b.Write(y, b.state("rows", 1, 128, width), at=P)))


def linear(rows: Dim, width: int, *columns: int, tail: bool = False) -> Graph:
    b = Build()
    x = b.input("x", 1, rows, width)
    ys = [b.Linear(x, b.weight(n, width), b.weight(n)) for n in columns]
    return b.output(*(b.Gelu(y) if tail else y for y in ys) if len(columns) == 1 else map(b.Relu, ys))


def window(kernel: int, stride: int, pad: int) -> Graph:
    b = Build()
    x, w = b.input("x", 1, 20, 8), b.weight(12, kernel * 8)
    y = b.Linear(x, w, b.weight(12), window=Window(kernel, stride, pad))
    return b.output(b.Gelu(y, approximate="tanh"))


def embedded(rows: Dim) -> Graph:
    """Tokens and their positions, which are rows P.. of a table."""
    b = Build()
    ids = b.input("ids", 1, rows, dtype="i32")
    bounds = (known([P], (1,)), known([P + rows], (1,)), np.array([0]))
    places = b.Slice(b.weight(128, WIDTH), *map(b.constant, bounds))
    return b.output(b.Add(b.Gather(b.weight(11, WIDTH), ids), places))


def choice(dtype: str) -> Graph:
    b = Build()
    c, x, y = b.input("c", 6, dtype="bool"), b.input("x", 6, dtype=dtype), b.input("y", 6, dtype=dtype)
    return b.output(b.Where(b.Equal(x, x), b.Where(c, x, y), y))


LAYERS = {
    "linear": Layer(lambda: linear(T, WIDTH, 16, tail=True), "Linear", ROWS),
    "linear, one row": Layer(lambda: linear(1, WIDTH, 16, tail=True), "Linear"),
    "linear, three outputs": Layer(lambda: linear(T, WIDTH, 16, 8, 4), "Linear 3*Elementwise", ROWS),
    "linear, three outputs of one row": Layer(lambda: linear(1, WIDTH, 16, 8, 4), "Linear 3*Elementwise"),
    "linear, odd outputs": Layer(lambda: linear(T, WIDTH, 5, 3), "2*Linear 2*Elementwise", ROWS),
    "linear, odd outputs of one row": Layer(lambda: linear(1, WIDTH, 5, 3), "2*Linear 2*Elementwise"),
    "linear, 64 rows": Layer(lambda: linear(64, WIDTH, 36, tail=True), "Linear"),
    "linear, a tall head": Layer(lambda: linear(1, 4, 8200), "Linear"),
    "window": Layer(lambda: window(3, 1, 1), "Linear"),
    "window with a stride": Layer(lambda: window(3, 2, 1), "Linear"),
    "cache": Layer(lambda: cached(T, WIDTH), "Linear Elementwise", ROWS),
    "cache, one row": Layer(lambda: cached(1, WIDTH), "Linear Elementwise", STEPS),
    "cache, odd width": Layer(lambda: cached(T, 7), "Linear Elementwise", ROWS),
    "cache, one row of odd width": Layer(lambda: cached(1, 7), "Linear Elementwise", STEPS),
    "cache, from an input": Layer(lambda: cached(T, WIDTH, in_layer=False), "Write Elementwise", ROWS),
    "cache, odd width, from an input": Layer(lambda: cached(T, 7, in_layer=False), "Write Elementwise", ROWS),
    "self-attention": Layer(lambda: self_attention(T), "Linear Attention Linear", ROWS),
    "self-attention, one row": Layer(lambda: self_attention(1), "Linear Attention Linear", STEPS),
    "self-attention, a norm before": Layer(
        lambda: self_attention(T, norm=True), "LayerNormalization Linear Attention Linear", ROWS
    ),
    "self-attention, one row, a norm before": Layer(
        lambda: self_attention(1, norm=True), "Linear Attention Linear", STEPS
    ),
    "self-attention, shared keys": Layer(lambda: self_attention(T, 6, 2), "Linear Attention Linear", ROWS),
    "self-attention, one row, shared keys": Layer(lambda: self_attention(1, 6, 2), "Linear Attention Linear", STEPS),
    "attention": Layer(lambda: attention(20, 20), "Attention"),
    "attention, many rows": Layer(lambda: attention(70, 90), "Attention"),
    "attention, many rows, causal": Layer(lambda: attention(70, 90, past=20), "Attention"),
    "attention, one row": Layer(lambda: attention(1, 90), "Attention"),
    "attention, one row, more keys than fit": Layer(lambda: attention(1, 4500), "Attention"),
    "attention, one row, eight heads share keys": Layer(lambda: attention(1, 600, 16, 64, share=8), "Attention"),
    "attention, one row, a window that does not fit": Layer(
        lambda: attention(1, 4500, 4, 8, past=4499, share=2, window=2100), "Attention"
    ),
    "attention, wide heads": Layer(lambda: attention(1, 40, 2, 100), "Attention"),
    "attention, over rows that vary": Layer(lambda: attention(T, 40, past=None), "Attention", ROWS),
    "attention, over keys that vary": Layer(lambda: attention(2, T), "Attention", ROWS),
    "attention, heads of odd width": Layer(lambda: attention(T, 40, 3, 7), "Attention", ROWS),
    "attention, heads of odd width, causal": Layer(lambda: attention(70, 90, 3, 6, past=20), "Attention"),
    "attention, heads of great width": Layer(lambda: attention(3, 9, 2, 260), "Attention"),
    "attention, one row with heads of odd width": Layer(lambda: attention(1, 40, 3, 7), "Attention"),
    "attention, a window": Layer(lambda: attention(70, 90, past=20, window=7), "Attention"),
    "attention, a window, rows that vary": Layer(lambda: attention(T, T, past=0, window=3), "Attention", ROWS),
    "attention, a window, one row": Layer(lambda: attention(1, P + 1, past=P, window=5), "Attention", STEPS),
    "attention, a window, heads of odd width": Layer(lambda: attention(9, 20, 3, 7, 11, window=4), "Attention"),
    "attention, capped": Layer(lambda: attention(70, 90, past=20, cap=1.5), "Attention"),
    "attention, capped, one row": Layer(lambda: attention(1, 90, cap=1.5), "Attention"),
    "attention, many rows, rounded": Layer(
        lambda: attention(70, 90, 2, 64, past=20, window=30, scored=ROUNDED, masked=ROUNDED, weighed=FINE), "Attention"
    ),
    "attention, all rounded, heads of odd width": Layer(
        lambda: attention(9, 20, 3, 7, 11, cap=1.5, scored=ROUNDED, masked=ROUNDED, weighed=FINE), "Attention"
    ),
    "attention, scores rounded": Layer(lambda: attention(9, 20, past=11, scored=ROUNDED), "Attention"),
    # what is not seen has the lowest of the steps, and counts
    "attention, masked scores rounded": Layer(lambda: attention(T, T + 3, past=3, masked=ROUNDED), "Attention", ROWS),
    "attention, one row, all rounded": Layer(
        lambda: attention(1, P + 1, past=P, scored=ROUNDED, masked=ROUNDED, weighed=FINE), "Attention", STEPS
    ),
    "attention, capped, heads of odd width": Layer(lambda: attention(9, 20, 3, 7, cap=1.5), "Attention"),
    **{
        f"rotary, {name}, {'one row' if rows == 1 else 'rows'}": Layer(
            partial(rotary, rows, *sizes), "Rotary Attention", STEPS if rows == 1 else ROWS
        )
        for rows in (T, 1)
        for name, sizes in {
            "halves": (16, 8),
            "part of a head": (16, 4),
            "neighbours": (16, 8, True),
            "neighbours, part of a head": (16, 2, True),
            "halves of odd width": (12, 6),
            "neighbours of odd width": (10, 3, True),
        }.items()
    },
    "rotary, norms of heads": Layer(lambda: rotary(T, 16, 8, norm=True), "Rotary Attention", ROWS),
    "rotary, norms of heads, neighbours": Layer(lambda: rotary(1, 16, 4, True, True), "Rotary Attention", STEPS),
    **{
        f"rotary after layers, {name}": Layer(build, f"Linear{' Rotary' * apart} Attention", STEPS)
        for name, apart, build in (
            ("one row", False, partial(turned, 1, 16, 8)),
            ("one row, a norm before", False, partial(turned, 1, 64, 32, norm=True)),
            ("one row, biases", False, partial(turned, 1, 24, 12, bias=True)),
            ("one row, neighbours", True, partial(turned, 1, 16, 8, interleaved=True)),
            ("one row, part of a head", True, partial(turned, 1, 16, 4)),
            ("one row, halves of odd width", True, partial(turned, 1, 12, 6)),
        )
    },
    "rotary after layers, rows": Layer(lambda: turned(T, 16, 8), "Linear Rotary Attention", ROWS),
    "RMSNorm and what it is added to": Layer(lambda: rms_norm(T, 24, residual=True), "RMSNormalization", ROWS),
    "RMSNorm": Layer(lambda: rms_norm(T, 24), "RMSNormalization", ROWS),
    "RMSNorm of odd width": Layer(lambda: rms_norm(T, 7), "RMSNormalization", ROWS),
    "RMSNorm, one row": Layer(lambda: rms_norm(1, 24, 16, 8), "2*Linear"),
    "attention, a mask for each head": Layer(lambda: masked(T, 20, 1, 4, T, 20), "Attention", ROWS),
    "attention, a mask of keys": Layer(lambda: masked(9, 20, 1, 1, 1, 20), "Attention"),
    "attention, a mask, and heads of odd width": Layer(lambda: masked(9, 20, 9, 20, head_dim=5), "Attention"),
    "embedding": Layer(lambda: embedded(T), "Gather", ROWS),
    "embedding, one row": Layer(lambda: embedded(1), "Gather", STEPS),
    "where, of bools": Layer(lambda: choice("bool"), "Elementwise"),
    "where, of f32": Layer(lambda: choice("f32"), "2*Elementwise"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_against_numpy(name: str) -> None:
    layer = LAYERS[name]
    program = Program(layer.build())
    left = Counter(node.op for node in program.graph.nodes if not is_view(node))
    counts = (item.rpartition("*") for item in layer.left.split())
    assert left == sum((Counter({op: int(count or 1)}) for count, _, op in counts), Counter())
    for symbols in layer.symbols:
        program.check(symbols)


def is_view(node: Node) -> bool:
    return node.op in ("Slice", "Reshape")


def test_the_next_token(tmp_path: Path) -> None:
    """WhisperToken, against the logit filters of the reference, for random logits and histories."""
    random = np.random.default_rng(0)
    text, size = 40, 40 + 5 + 31  # texts, special tokens, timestamps
    settings = {"end": text, "no_timestamps": text + 4, "first_timestamp": text + 5, "max_initial_timestamp": 10}
    suppress, suppress_first = [3, 17, text + 1, text + 2, text + 3, text + 4], [5, text]
    generation = {
        "eos_token_id": settings["end"],
        "no_timestamps_token_id": settings["no_timestamps"],
        "suppress_tokens": suppress,
        "begin_suppress_tokens": suppress_first,
        "max_initial_timestamp_index": settings["max_initial_timestamp"],
    }
    b = Build()
    logits, state = b.input("logits", 1, 1, size), b.state("tokens", 1, 20, 1, dtype="i32")
    begin, timed = dim(Symbol("begin", 0, 20)), dim(Symbol("timed", 0, 1))
    lists = (b.constant(bits(tokens, size)) for tokens in (suppress, suppress_first))
    made = b.graph.value("token", state.type)
    choice = WhisperToken(logits, *lists, state, at=P + 1, begin=begin, timed=timed, **settings)
    b.graph.add(Node.of(choice, (made,), ("sampling",)))
    session = opened(compiled(b.output(), tmp_path / "bundle"))
    for _ in range(150):
        at, count = 3, int(random.integers(0, 5))
        times = np.sort(random.integers(text + 5, size, count))
        sampled = np.where(random.random(count) < 0.5, times, random.integers(0, text, count)).tolist()
        symbols = {"P": at + count - 1, "begin": at, "timed": int(random.random() < 0.7)}
        values = random.standard_normal(size).astype(np.float32)
        values[text + 5 :] += random.choice([-3, 0, 3])
        tokens = np.zeros((1, 20, 1), np.int32)
        tokens[0, at : at + count, 0] = sampled
        session.run("main", {"logits": values[None, None], "tokens": tokens}, symbols)
        expected = int(filtered(values, sampled, bool(symbols["timed"]), generation).argmax())
        assert int(session.read("tokens", symbols)[0, at + count, 0]) == expected, (sampled, symbols)


def test_every_operator_has_a_case() -> None:
    """Every operator that has a kernel, or is written as others here, occurs above."""
    graphs = [graph_of(case.model()) for case in CASES]
    graphs += [fused(layer.build()) for layer in LAYERS.values()]
    found = {"SampleToken", "WhisperToken"}  # these have tests of their own
    for node in (n for g in graphs for n in g.nodes):
        steps = [step for key in ("steps", "tail", "gate") for step in node.settings.get(key, ())]
        found |= {node.op, *(step[0] for step in steps), *(operator(step)[0] for step in steps)}
    found |= {node.op_type for case in CASES for node in case.model().graph.node}
    missing = {*OPS, *ELEMENTWISE, *EXPANSIONS, *wgsl.OPERATORS, *(op for op, _ in wgsl.BY_KIND), "Reshape"} - found
    assert not missing


def test_every_smooth_operator_has_a_case_as_a_tail() -> None:
    """Tails are computed four numbers at a time, so operators that may be part of one are written twice."""
    tails = [node.tail for case in TAILS for node in graph_of(case.model()).nodes if node.tail is not None]
    found = {op for tail in tails for op, *_ in tail.steps}
    assert not SMOOTH - {"Identity"} - found


@pytest.mark.parametrize(
    "text, inputs, message",
    [
        ("y, i = TopK(x, k)", {"x": f32(70_000), "k": const([1])}, "70000 elements"),
        ("y = Add(x, z)", {"x": f32("T", "S"), "z": f32("S")}, r"\(T\) \* \(S\).*--bind"),
        ('y = Pad <mode = "reflect"> (x, p)', {"x": f32("T"), "p": const([1, 1])}, "dynamic size"),
        ("y = Add(x, b)", {"x": i64(3), "b": const(2**40)}, "32 bits"),
        ("y = Add(x, b)", {"x": i64(3), "b": const([2**40, 1, 1])}, "32 bits"),
        ("y = ReduceSum(x)", {"x": f32(3000, 3000)}, "9000000 elements"),
    ],
)
def test_refused(text: str, inputs: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperator, match=message):
        compiled(graph_of(Case(text, inputs).model()), tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_every_shader_passes_tint_and_reads_well(bundle_of: Callable[[Case], Path], tmp_path: Path) -> None:
    """What naga takes, and so ran above, Chrome's compiler takes too; and nothing is left of the templates."""
    folders = [bundle_of(case) for case in CASES]
    for i, layer in enumerate(LAYERS.values()):
        folders.append(compiled(fused(layer.build()), tmp_path / str(i)))
    assert not tint.wrong(folders)
    assert not readable.residue(folders)
