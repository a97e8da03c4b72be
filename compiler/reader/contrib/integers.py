"""Products of integers, as ONNX Runtime's quantizer writes them: products of ONNX, scaled afterwards.

The other operand is rounded to 8 bits in its range at run time, as by ONNX's DynamicQuantizeLinear.
"""

from __future__ import annotations

import numpy as np

from intaglio.compiler.expansions.recurrent import recurrent
from intaglio.compiler.ir.encoded import EncodedWeight
from intaglio.compiler.ir.errors import BadModel, UnsupportedOperator
from intaglio.compiler.ir.nodes import Node, operands
from intaglio.compiler.ir.values import DTYPES, Value
from intaglio.compiler.reader.contrib.attention import over_projected
from intaglio.compiler.reader.contrib.refuse import refuse
from intaglio.compiler.rewrite.builder import GraphBuilder

Results = list[Value | None]


def _dynamic_matmul(op: GraphBuilder, node: Node) -> Results:
    x, weight, weight_scale = node.inputs[:3]
    rows, scale, zero = op.node("DynamicQuantizeLinear", (x,), 3)
    return [_product(op, (rows, weight), (scale, weight_scale), (zero, node.input(3)), node.input(4))]


def _matmul_to_float(op: GraphBuilder, node: Node) -> Results:
    points = node.input(4), node.input(5)
    return [_product(op, node.inputs[:2], node.inputs[2:4], points, node.input(6))]


def _attention(op: GraphBuilder, node: Node) -> Results:
    """As Attention, with projections whose operands are integers."""
    refuse(node, "do_rotary", "past_present_share_buffer")
    x, weight, bias, *scales = node.inputs[:5]
    projected = _product(op, (x, weight), scales, (node.input(6), node.input(7)), bias)
    return over_projected(op, node, projected, padding=node.input(5), past=node.input(8))


def _lstm(op: GraphBuilder, node: Node) -> Results:
    """An LSTM whose weights are [directions, in, 4 * hidden], each with scales [directions] or [directions, 4 * hidden]

    and zero points alike. Each input of a product is rounded: all steps together, and the state of each step.
    """
    x, weight, r, bias, lengths, h, c, peepholes = operands(node.inputs[:8] + (None,) * (8 - len(node.inputs[:8])))
    rounded = op.DequantizeLinear(*op.node("DynamicQuantizeLinear", (x,), 3))
    matrices = [_transposed(op, w, node.input(i), node.input(i + 1)) for w, i in ((weight, 8), (r, 10))]
    inputs = (rounded, *matrices, bias, lengths, h, c, peepholes)
    own = {"direction", "hidden_size", "activations", "activation_alpha", "activation_beta", "clip", "input_forget"}
    attrs = {name: value for name, value in node.attrs.items() if name in own}
    results = recurrent(op, Node("LSTM", inputs, node.outputs, attrs, node.sources), rounded=True)
    if results is None:
        raise UnsupportedOperator("different activations for two directions are not supported")
    return [*results]


def _transposed(op: GraphBuilder, weight: Value, scale: Value | None, zero: Value | None) -> Value:
    """The weight of a layer as [directions, 4 * hidden, in], still in 8 bits."""
    if weight.const is None or scale is None or scale.const is None or (zero is not None and zero.const is None):
        raise UnsupportedOperator("its weights, scales and zero points must be constants of the model")
    directions, _, columns = weight.fixed_shape
    points = np.zeros(directions, np.int32) if zero is None else zero.array.astype(np.int32)
    grid = [a.reshape(directions, -1, 1) for a in (scale.array, points)]
    if any(a.shape[1] not in (1, columns) for a in grid):
        raise BadModel(f"the shapes of {scale} and {zero} do not match {weight}")
    return op.constant(EncodedWeight(weight.array.transpose(0, 2, 1), *grid), weight.name)


def _product(
    op: GraphBuilder,
    factors: tuple[Value, ...] | list[Value],
    scales: tuple[Value, ...] | list[Value],
    zeros: tuple[Value | None, Value | None],
    bias: Value | None,
) -> Value:
    """The product of two tensors of integers, each less its zero point, times their scales, plus a bias."""
    points = [_point(op, v, zero) for v, zero in zip(factors, zeros, strict=True)]
    y = op.Mul(op.Cast(op.MatMulInteger(*factors, *points), to="f32"), op.Mul(*scales))
    return op.Add(y, bias) if bias is not None else y


def _point(op: GraphBuilder, factor: Value, zero: Value | None) -> Value:
    return op.constant(np.array(0, DTYPES[factor.dtype])) if zero is None else zero


def _sum(op: GraphBuilder, node: Node) -> Results:
    """The sum of integers of 8 bits along axes, in 32 bits."""
    (x,), keep = node.inputs[:1], node.attrs.get("keepdims", 1)
    return [op.ReduceSum(op.Cast(x, to="i32"), op.integers(*node.attrs["axes"]), keepdims=keep)]


def _multiply(op: GraphBuilder, node: Node) -> Results:
    a, a_zero, b, b_zero = operands((*node.inputs, None)[:4])
    left, right = (
        op.Cast(v, to="i32") if zero is None else op.Sub(op.Cast(v, to="i32"), op.Cast(zero, to="i32"))
        for v, zero in ((a, a_zero), (b, b_zero))
    )
    return [op.Mul(left, right)]


def _matmul_16(op: GraphBuilder, node: Node) -> Results:
    return [op.MatMul(*(op.Cast(v, to="i32") for v in node.inputs))]


CONTRIB = {
    "DynamicQuantizeLSTM": _lstm,
    "DynamicQuantizeMatMul": _dynamic_matmul,
    "MatMulInteger16": _matmul_16,
    "MatMulIntegerToFloat": _matmul_to_float,
    "MulInteger": _multiply,
    "QAttention": _attention,
    "ReduceSumInteger": _sum,
}
