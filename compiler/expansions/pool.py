"""Poolings whose window is a whole channel."""

from __future__ import annotations

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value
from intaglio.compiler.rewrite.builder import GraphBuilder


def _average(op: GraphBuilder, node: Node) -> list[Value]:
    return [op.ReduceMean(node.inputs[0], _spatial(op, node), keepdims=1)]


def _max(op: GraphBuilder, node: Node) -> list[Value]:
    return [op.ReduceMax(node.inputs[0], _spatial(op, node), keepdims=1)]


def _lp(op: GraphBuilder, node: Node) -> list[Value] | None:
    (x,), p = node.inputs, node.attrs.get("p", 2)
    if p < 1:
        return None
    powers = op.Pow(op.Abs(x), op.number(p, x))
    return [op.Pow(op.ReduceSum(powers, _spatial(op, node), keepdims=1), op.number(1 / p, x))]


def _spatial(op: GraphBuilder, node: Node) -> Value:
    if len(node.inputs[0].shape) < 3:
        raise BadModel(f"{node.op} ({node.name}): expected an input [batch, channels, ...], got {node.inputs[0].type}")
    return op.integers(*range(2, len(node.inputs[0].shape)))


EXPANSIONS = {"GlobalAveragePool": _average, "GlobalLpPool": _lp, "GlobalMaxPool": _max}
