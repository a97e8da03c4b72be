"""What moves elements, views of them, and sizes that are computed with."""

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
    flags,
    given,
    i32,
    i64,
    weight,
)

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
    *(
        case(f'a = Concat <axis = 0> (x, c) y = Pad <mode = "{mode}"> (a, s)', x=i64("T"), c=const([1, 2, 3]), s=s)
        for mode, s in (("reflect", const([3, 2])), ("edge", const([4, 1])), ("reflect", const([-1, 2])))
    ),
    case('y = Pad <mode = "wrap"> (x, s)', x=f32("T", 2), s=const([1, 0, 1, 0]), opset=19),
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

CASES = [*MOVES, *SIZES, *VIEWS]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_onnxruntime(case: Case, bundle_of: Callable[[Case], Path]) -> None:
    against_onnxruntime(case, bundle_of(case))
