"""Reductions that are combinations of others."""

from __future__ import annotations

from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import FLOATS, Value
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.semantics.shapes import axis_of

_LONG = 16_384


def _log_sum_exp(op: GraphBuilder, node: Node) -> list[Value]:
    """The largest element is subtracted first, so that no exponential overflows; infinities stay."""
    x = node.inputs[0] if node.inputs[0].dtype in FLOATS else op.Cast(node.inputs[0], to="f32")
    axes = node.inputs[1:]
    attrs = {"noop_with_empty_axes": node.attrs.get("noop_with_empty_axes", 0)}
    largest = op.ReduceMax(x, *axes, keepdims=1, **attrs)
    largest = op.Where(op.IsInf(largest), op.number(0, x), largest)
    total = op.ReduceSum(op.Exp(op.Sub(x, largest)), *axes, keepdims=node.attrs["keepdims"], **attrs)
    y = op.Add(op.Log(total), op.Reshape(largest, op.dimensions(*node.output.shape)))
    return [op.Cast(y, to=node.output.dtype)]


def _softmax(op: GraphBuilder, node: Node) -> list[Value] | None:
    """Softmax over rows that are too long for one invocation, by reductions, which split them."""
    (x,), axis = node.inputs, node.attrs.get("axis", -1)
    length, along = x.shape[axis_of(axis, len(x.shape))], op.integers(axis)
    if not isinstance(length, int) or length <= _LONG:
        return None
    distance = op.Sub(x, op.ReduceMax(x, along, keepdims=1))
    total = op.ReduceSum(op.Exp(distance), along, keepdims=1)
    return [op.Sub(distance, op.Log(total)) if node.op == "LogSoftmax" else op.Div(op.Exp(distance), total)]


EXPANSIONS = {"LogSoftmax": _softmax, "ReduceLogSumExp": _log_sum_exp, "Softmax": _softmax}
