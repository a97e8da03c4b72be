"""Operators between integers of 8 bits: dequantized, computed in f32, and quantized, as ONNX Runtime computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value
from intaglio.compiler.rewrite.builder import GraphBuilder

Results = list[Value | None]
Grid = tuple[Value | None, ...]  # a scale, and a zero point or None


def _numbers(op: GraphBuilder, x: Value, grid: Grid, **attrs: Any) -> Value:
    return op.DequantizeLinear(x, *(v for v in grid if v is not None), **attrs)


def _integers(op: GraphBuilder, x: Value, grid: Grid, dtype: str) -> Value:
    if grid[1] is None:
        return op.QuantizeLinear(x, grid[0], output_dtype=dtype)
    return op.QuantizeLinear(x, *grid)


def _grid(node: Node, at: int) -> Grid:
    """The scale and the zero point that the inputs hold from `at` on."""
    return node.input(at), node.input(at + 1)


def _binary(name: str) -> Callable[[GraphBuilder, Node], Results]:
    def write_out(op: GraphBuilder, node: Node) -> Results:
        a, b = (_numbers(op, node.inputs[i], _grid(node, i + 1)) for i in (0, 3))
        return [_integers(op, getattr(op, name)(a, b), _grid(node, 6), node.inputs[0].dtype)]

    return write_out


def _unary(name: str, *attributes: str) -> Callable[[GraphBuilder, Node], Results]:
    def write_out(op: GraphBuilder, node: Node) -> Results:
        attrs = {key: node.attrs[key] for key in attributes if key in node.attrs}
        y = getattr(op, name)(_numbers(op, node.inputs[0], _grid(node, 1)), **attrs)
        return [_integers(op, y, _grid(node, 3), node.inputs[0].dtype)]

    return write_out


def _pool(name: str, *attributes: str) -> Callable[[GraphBuilder, Node], Results]:
    """An operator on images, whose channels may come last."""
    write_out = _unary(name, *attributes)

    def either_layout(op: GraphBuilder, node: Node) -> Results:
        if not node.attrs.get("channels_last"):
            return write_out(op, node)
        x, rank = node.inputs[0], len(node.inputs[0].shape)
        first = op.Transpose(x, perm=[0, rank - 1, *range(1, rank - 1)])
        (y,) = write_out(op, node.reading({x: first}))
        return [op.Transpose(y, perm=[0, *range(2, rank), 1])]

    return either_layout


def _mean(op: GraphBuilder, node: Node) -> Results:
    axes = (op.integers(*node.attrs["axes"]),) if node.attrs.get("axes") else ()
    y = op.ReduceMean(_numbers(op, node.inputs[0], _grid(node, 1)), *axes, keepdims=node.attrs.get("keepdims", 1))
    return [_integers(op, y, _grid(node, 3), node.inputs[0].dtype)]


def _softmax(op: GraphBuilder, node: Node) -> Results:
    """Before opset 13, all axes from the given one on are one."""
    x, axis = _numbers(op, node.inputs[0], _grid(node, 1)), node.attrs.get("axis", -1)
    if node.attrs.get("opset", 13) >= 13 or axis in (-1, len(x.shape) - 1):
        y = op.Softmax(x, axis=axis)
    else:
        y = op.Reshape(op.Softmax(op.Flatten(x, axis=axis), axis=-1), op.dimensions(*x.shape))
    return [_integers(op, y, _grid(node, 3), node.inputs[0].dtype)]


def _concat(op: GraphBuilder, node: Node) -> Results:
    parts = [_numbers(op, node.inputs[i], _grid(node, i + 1)) for i in range(2, len(node.inputs), 3)]
    return [_integers(op, op.Concat(*parts, axis=node.attrs["axis"]), _grid(node, 0), node.inputs[2].dtype)]


def _where(op: GraphBuilder, node: Node) -> Results:
    x, y = (_numbers(op, node.inputs[i], _grid(node, i + 1)) for i in (1, 4))
    return [_integers(op, op.Where(node.inputs[0], x, y), _grid(node, 7), node.inputs[1].dtype)]


def _gemm(op: GraphBuilder, node: Node) -> Results:
    """The bias counts in steps of the product of both scales. Without a result's scale, the result is f32."""
    a, b = _numbers(op, node.inputs[0], _grid(node, 1)), _numbers(op, node.inputs[3], _grid(node, 4), axis=_axis(node))
    y = op.Gemm(a, b, **{key: node.attrs[key] for key in ("alpha", "transA", "transB") if key in node.attrs})
    if (bias := node.input(6)) is not None:
        step = op.Mul(op.Mul(node.inputs[1], node.inputs[4]), op.number(node.attrs.get("alpha", 1.0), y))
        y = op.Add(y, op.Mul(op.Cast(bias, to="f32"), step))
    return [_integers(op, y, _grid(node, 7), node.inputs[0].dtype) if node.input(7) is not None else y]


def _axis(node: Node) -> int:
    """The axis of the columns of a weight."""
    return 0 if node.attrs.get("transB") else 1


def _quantize(op: GraphBuilder, node: Node) -> Results:
    attrs = {"axis": node.attrs["axis"]} if "axis" in node.attrs else {}
    return [op.QuantizeLinear(*node.inputs, **attrs)]


def _dequantize(op: GraphBuilder, node: Node) -> Results:
    attrs = {"axis": node.attrs["axis"]} if "axis" in node.attrs else {}
    return [op.DequantizeLinear(*node.inputs, **attrs)]


_WINDOWS = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")
CONTRIB = {
    "DequantizeLinear": _dequantize,
    "QGemm": _gemm,
    "QLinearAdd": _binary("Add"),
    "QLinearAveragePool": _pool("AveragePool", *_WINDOWS),
    "QLinearConcat": _concat,
    "QLinearGlobalAveragePool": _pool("GlobalAveragePool"),
    "QLinearLeakyRelu": _unary("LeakyRelu", "alpha"),
    "QLinearMul": _binary("Mul"),
    "QLinearReduceMean": _mean,
    "QLinearSigmoid": _unary("Sigmoid"),
    "QLinearSoftmax": _softmax,
    "QLinearWhere": _where,
    "QuantizeLinear": _quantize,
}
