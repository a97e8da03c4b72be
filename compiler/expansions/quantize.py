"""Quantized operators, in integers of 32 bits and f32: exact products, and one rounding at the end."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import DTYPES, Value
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.semantics.shapes import axis_of


def _quantize(op: GraphBuilder, node: Node) -> list[Value]:
    x, scale, zero_point = node.inputs[0], node.inputs[1], node.input(2)
    scale, zero_point = (_along(op, v, x, node) for v in (scale, zero_point))
    return [_rounded(op, op.Div(_f32(op, x), _f32(op, scale)), zero_point, node.output.dtype)]


def _dequantize(op: GraphBuilder, node: Node) -> list[Value]:
    x, scale, zero_point = node.inputs[0], node.inputs[1], node.input(2)
    scale, zero_point = (_along(op, v, x, node) for v in (scale, zero_point))
    return [op.Cast(op.Mul(_f32(op, _i32(op, x, zero_point)), _f32(op, scale)), to=node.output.dtype)]


def _dynamic(op: GraphBuilder, node: Node) -> list[Value]:
    (x,) = node.inputs
    least, greatest = op.ReduceMin(x, keepdims=0), op.ReduceMax(x, keepdims=0)
    least, greatest = op.Min(least, op.number(0, x)), op.Max(greatest, op.number(0, x))
    scale = op.Div(op.Sub(greatest, least), op.number(255, x))
    zero = op.Cast(op.Clip(op.Round(op.Div(op.Neg(least), scale)), op.number(0, x), op.number(255, x)), to="u8")
    return [_rounded(op, op.Div(x, scale), zero, "u8"), scale, zero]


def _matmul_integer(op: GraphBuilder, node: Node) -> list[Value]:
    a, b = node.inputs[:2]
    return [_product(op, a, node.input(2), b, node.input(3))]


def _matmul(op: GraphBuilder, node: Node) -> list[Value]:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.inputs
    y = _f32(op, _product(op, a, a_zero, b, b_zero))
    factor = op.Mul(_f32(op, _rows(op, a_scale)), _f32(op, b_scale))
    return [_rounded(op, op.Mul(y, op.Div(factor, _f32(op, y_scale))), y_zero, node.output.dtype)]


def _conv_integer(op: GraphBuilder, node: Node) -> list[Value]:
    x, w = node.inputs[:2]
    zero = None if node.input(3) is None else _channels(op, node.inputs[3], w, 0)
    return [op.Conv(_i32(op, x, node.input(2)), _i32(op, w, zero), **node.attrs)]


def _conv(op: GraphBuilder, node: Node) -> list[Value]:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = node.inputs[:8]
    bias = [node.input(8)] if node.input(8) is not None else []
    y = _f32(op, op.Conv(_i32(op, x, x_zero), _i32(op, w, _channels(op, w_zero, w, 0)), *bias, **node.attrs))
    factor = op.Div(op.Mul(_f32(op, x_scale), _f32(op, _channels(op, w_scale, w, 1))), _f32(op, y_scale))
    return [_rounded(op, op.Mul(y, factor), y_zero, node.output.dtype)]


def _f32(op: GraphBuilder, value: Value) -> Value:
    return op.Cast(value, to="f32")


def _i32(op: GraphBuilder, value: Value, zero_point: Value | None) -> Value:
    value = op.Cast(value, to="i32")
    return op.Sub(value, op.Cast(zero_point, to="i32")) if zero_point is not None else value


def _product(op: GraphBuilder, a: Value, a_zero: Value | None, b: Value, b_zero: Value | None) -> Value:
    return op.MatMul(_i32(op, a, None if a_zero is None else _rows(op, a_zero)), _i32(op, b, b_zero))


def _rows(op: GraphBuilder, value: Value) -> Value:
    """A number for each row of a matrix stands in a column."""
    return op.Unsqueeze(value, op.integers(1)) if len(value.shape) == 1 else value


def _channels(op: GraphBuilder, value: Value, w: Value, axis: int) -> Value:
    """A number for each output channel of a convolution, along `axis`, for the rank of its weight."""
    if value.type.size == 1:
        return value
    return op.Reshape(value, op.integers(*(-1 if a == axis else 1 for a in range(len(w.shape)))))


def _along(op: GraphBuilder, value: Value | None, x: Value, node: Node) -> Value | None:
    """A scale or zero point that broadcasts to x: one for all, one per index along the axis, or one per block."""
    if value is None or value.type.size == 1:
        return value if value is None or not value.shape else op.Reshape(value, op.integers())
    rank, block = len(x.shape), node.attrs.get("block_size", 0)
    axis = axis_of(node.attrs.get("axis", 1), rank)
    if not block:
        return op.Reshape(value, op.integers(*(-1 if a == axis else 1 for a in range(rank))))
    each = [1] * (rank + 1)
    each[axis + 1] = block
    repeated = op.Expand(op.Unsqueeze(value, op.integers(axis + 1)), op.integers(*each))
    whole = (*value.shape[:axis], value.shape[axis] * block, *value.shape[axis + 1 :])
    y = op.Reshape(repeated, op.dimensions(*whole))
    return op.Slice(y, op.integers(0), op.dimensions(x.shape[axis]), op.integers(axis))


def _rounded(op: GraphBuilder, y: Value, zero_point: Value | None, dtype: str) -> Value:
    """A number as the nearest value of an integer type, clamped to its range."""
    if dtype[0] not in "iu":
        raise UnsupportedOperator(f"quantization to {dtype} is not supported")
    ends = ml_dtypes.iinfo(DTYPES[dtype])
    y = op.Round(y)
    if zero_point is not None:
        y = op.Add(y, _f32(op, zero_point))
    low, high = (op.constant(np.float32(end)) for end in (ends.min, ends.max))
    return op.Cast(op.Clip(y, low, high), to=dtype)


EXPANSIONS = {
    "ConvInteger": _conv_integer,
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _dynamic,
    "MatMulInteger": _matmul_integer,
    "QLinearConv": _conv,
    "QLinearMatMul": _matmul,
    "QuantizeLinear": _quantize,
}
