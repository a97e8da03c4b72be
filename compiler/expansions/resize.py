"""Resizing an axis is a gather if each new element equals an old one, and a weighted sum of a few otherwise."""

from __future__ import annotations

from intaglio.compiler.ir.dims import high
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import FLOATS, Value
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.semantics.resize import nearest, outside, resized, weighted

_MOST = 1 << 26  # old times new elements of an axis


def _resize(op: GraphBuilder, node: Node) -> list[Value] | None:
    x, mode = node.inputs[0], node.attrs.get("mode", "nearest")
    changed = {i: axis for i, axis in enumerate(resized(node)) if not axis.unchanged}
    exact = x.dtype in FLOATS or mode == "nearest"
    static = all(isinstance(axis.size, int) and high(axis.size * axis.count) <= _MOST for axis in changed.values())
    if not static or not (exact or mode == "linear"):
        return None
    y = x if exact else op.Cast(x, to="f32")
    for i, axis in changed.items():
        if mode == "nearest":
            y = op.Gather(y, op.constant(nearest(axis, node)), axis=i)
        else:
            y = op.Resample(y, *(op.constant(table) for table in weighted(axis, node)), axis=i)
    if node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        for i, axis in changed.items():
            mask = outside(axis, node).reshape([-1 if a == i else 1 for a in range(len(x.shape))])
            y = op.Where(op.constant(mask), op.number(node.attrs.get("extrapolation_value", 0), y), y)
    return [y if exact else op.Cast(op.Round(y), to=x.dtype)]


EXPANSIONS = {"Resize": _resize}
