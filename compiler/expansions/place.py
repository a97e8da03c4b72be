"""Operators whose elements depend on their position: comparisons of indices along axes."""

from __future__ import annotations

import numpy as np

from intaglio.compiler.ir.dims import Dim, fixed
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value, known
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.semantics.shapes import axis_of
from intaglio.compiler.semantics.types import element


def _triangle(op: GraphBuilder, node: Node) -> list[Value]:
    x, k = node.inputs[0], node.input(1)
    beyond = op.Sub(_diagonal(op, x), k) if k is not None else _diagonal(op, x)
    inside = (op.GreaterOrEqual if node.attrs.get("upper", 1) else op.LessOrEqual)(beyond, op.number(0, beyond))
    return [op.Where(inside, x, op.number(0, x))]


def _eye(op: GraphBuilder, node: Node) -> list[Value]:
    (x,), dtype = node.inputs, node.attrs.get("dtype")
    diagonal = _diagonal(op, x)
    ones = op.Equal(diagonal, op.number(node.attrs.get("k", 0), diagonal))
    return [op.Cast(ones, to=element(dtype) if dtype is not None else x.dtype)]


def _one_hot(op: GraphBuilder, node: Node) -> list[Value]:
    indices, values, rank = node.inputs[0], node.inputs[2], len(node.output.shape)
    axis = axis_of(node.attrs.get("axis", -1), rank)
    hot = op.Unsqueeze(indices, op.integers(axis))
    depth = op.number(fixed(node.output.shape[axis]), indices)
    hot = op.Where(op.Less(hot, op.number(0, indices)), op.Add(hot, depth), hot)
    off, on = (op.Gather(values, op.constant(np.array(i))) for i in (0, 1))
    return [op.Where(op.Equal(hot, numbers(op, node.output, axis, indices.dtype)), on, off)]


def _hardmax(op: GraphBuilder, node: Node) -> list[Value]:
    (x,), axis = node.inputs, node.attrs.get("axis", -1)
    largest = op.ArgMax(x, axis=axis, keepdims=1)
    return [op.Cast(op.Equal(largest, numbers(op, x, axis_of(axis, len(x.shape)))), to=x.dtype)]


def _diagonal(op: GraphBuilder, x: Value) -> Value:
    """How far right of the main diagonal each element of a matrix is."""
    rank = len(x.shape)
    return op.Sub(numbers(op, x, rank - 1), numbers(op, x, rank - 2))


def numbers(op: GraphBuilder, x: Value, axis: int, dtype: str = "i64") -> Value:
    """0, 1, 2, ... along an axis of x."""
    row = op.Range(*(op.constant(_scalar(d)) for d in (0, x.shape[axis], 1)))
    return op.Cast(op.Reshape(row, op.integers(-1, *[1] * (len(x.shape) - 1 - axis))), to=dtype)


def _scalar(d: Dim) -> np.ndarray:
    return known([d], ())


EXPANSIONS = {
    "EyeLike": _eye,
    "Hardmax": _hardmax,
    "OneHot": _one_hot,
    "Trilu": _triangle,
}
