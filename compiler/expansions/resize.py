"""Resizing an axis is a gather if each new element equals an old one, and a weighted sum of a few otherwise."""

from __future__ import annotations

from intaglio.compiler.ir.dims import Dim, NotLinear, high, low, plain
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import FLOATS, Value, known
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.semantics.resize import Line, Resized, line, nearest, outside, resized, weighted

_MOST = 1 << 26  # old times new elements of an axis
_LARGEST = 1 << 31


def _resize(op: GraphBuilder, node: Node) -> list[Value] | None:
    x, mode = node.inputs[0], node.attrs.get("mode", "nearest")
    changed = {i: axis for i, axis in enumerate(resized(node)) if not axis.unchanged}
    exact = x.dtype in FLOATS or mode == "nearest"
    small = all(high(axis.size * axis.count) <= _MOST for axis in changed.values() if axis.is_fixed)
    if not small or not (exact or mode == "linear"):
        return None
    y = x if exact else op.Cast(x, to="f32")
    for i, axis in changed.items():
        if mode == "nearest":
            y = op.Gather(y, op.constant(nearest(axis, node)) if axis.is_fixed else _nearest(op, axis, node), axis=i)
        else:
            tables = map(op.constant, weighted(axis, node)) if axis.is_fixed else _weighted(op, axis, node)
            y = op.Resample(y, *tables, axis=i)
    if node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        for i, axis in changed.items():
            mask = outside(axis, node).reshape([-1 if a == i else 1 for a in range(len(x.shape))])
            y = op.Where(op.constant(mask), op.number(node.attrs.get("extrapolation_value", 0), y), y)
    return [y if exact else op.Cast(op.Round(y), to=x.dtype)]


def _nearest(op: GraphBuilder, axis: Resized, node: Node) -> Value:
    """The old element that each new one is, along an axis of a dynamic size. x is rounded as floor(x + r)."""
    x = line(axis, node)
    rounding = node.attrs.get("nearest_mode", "round_prefer_floor")
    more = {"floor": 0, "ceil": x.c - 1, "round_prefer_ceil": x.c, "round_prefer_floor": x.c - 1}[rounding]
    twice = 2 if rounding.startswith("round") else 1
    index, _ = _divided(op, axis, Line(x.a * twice, x.b * twice + more, x.c * twice))
    return _within(op, index, axis)


def _weighted(op: GraphBuilder, axis: Resized, node: Node) -> tuple[Value, Value]:
    """The two old elements around each new one, and their weights, along an axis of a dynamic size."""
    if node.attrs.get("mode") != "linear" or node.attrs.get("antialias") or node.attrs.get("exclude_outside"):
        raise NotLinear(f"cubic or antialiased resizing of {plain(axis.size)} elements")
    x = line(axis, node)
    before, rest = _divided(op, axis, x)
    after = op.Add(before, _number(op, 1))
    weight = op.Div(op.Cast(rest, to="f32"), op.Cast(_number(op, x.c), to="f32"))
    places = [op.Unsqueeze(_within(op, place, axis), op.integers(1)) for place in (before, after)]
    weights = [op.Unsqueeze(w, op.integers(1)) for w in (op.Sub(op.number(1, weight), weight), weight)]
    return op.Concat(*places, axis=1), op.Concat(*weights, axis=1)


def _divided(op: GraphBuilder, axis: Resized, x: Line) -> tuple[Value, Value]:
    """The coordinates of the new elements, rounded down, and the rests: c times what rounding took away."""
    below = 0 if low(x.b) >= 0 else 1  # integers divide towards zero, so the numerator must not be negative
    if low(x.c) < 1 or low(x.b + x.c * below) < 0 or high(x.a * axis.count + x.b + x.c * 2) >= _LARGEST:
        raise NotLinear(f"resizing {plain(axis.size)} elements to {plain(axis.count)}")
    i = op.Range(*(_number(op, d) for d in (0, axis.count, 1)))
    numerator = op.Add(op.Mul(i, _number(op, x.a)), _number(op, x.b + x.c * below))
    quotient = op.Div(numerator, _number(op, x.c))
    return op.Sub(quotient, _number(op, below)), op.Sub(numerator, op.Mul(quotient, _number(op, x.c)))


def _within(op: GraphBuilder, index: Value, axis: Resized) -> Value:
    return op.Min(op.Max(index, _number(op, 0)), _number(op, axis.size - 1))


def _number(op: GraphBuilder, d: Dim) -> Value:
    return op.Cast(op.constant(known([d], ())), to="i32")


EXPANSIONS = {"Resize": _resize}
