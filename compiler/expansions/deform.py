"""Deformable convolutions: a grid of places is sampled, and what comes of it is a convolution without neighbours."""

from __future__ import annotations

import numpy as np

from intaglio.compiler.ir.dims import divides, fixed
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import DTYPES, Value
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.semantics.windows import Window, windows

_MOST = 1 << 24  # places of a grid


def _deform_conv(op: GraphBuilder, node: Node) -> list[Value] | None:
    x, weight, offset = node.inputs[:3]
    bias, mask = node.input(3), node.input(4)
    slid, groups = windows(node), node.attrs.get("offset_group", 1)
    if len(slid) != 2 or not all(isinstance(n, int) for w in slid for n in (w.size, w.count)):
        return None
    channels, taps, (rows, columns) = x.shape[1], slid[0].kernel * slid[1].kernel, (fixed(w.count) for w in slid)
    if groups < 1 or not divides(groups, channels) or taps * rows * columns > _MOST:
        return None
    moved = op.Transpose(op.Reshape(offset, op.integers(-1, taps, 2, rows, columns)), perm=[0, 1, 3, 4, 2])
    places = op.Add(moved, op.constant(_places(*slid).astype(DTYPES[x.dtype])))
    # from elements to what GridSample counts: -1 to 1, the last axis first
    size = np.array([w.size for w in slid], DTYPES[x.dtype])
    grid = op.Add(op.Mul(places, op.constant(2 / size)), op.constant(1 / size - 1))
    grid = op.Slice(grid, op.integers(-1), op.integers(-3), op.integers(-1), op.integers(-1))
    image = op.Reshape(x, op.dimensions(-1, channels // groups, *x.shape[2:]))
    sampled = op.GridSample(image, op.Reshape(grid, op.integers(-1, taps * rows, columns, 2)), mode="linear")
    if mask is not None:
        sampled = op.Reshape(sampled, op.dimensions(-1, channels // groups, taps * rows * columns))
        sampled = op.Mul(sampled, op.Reshape(mask, op.integers(-1, 1, taps * rows * columns)))
    each = weight.shape[1] * taps
    sampled = op.Reshape(sampled, op.dimensions(x.shape[0], channels * taps, rows, columns))
    weight = op.Reshape(weight, op.dimensions(weight.shape[0], each, 1, 1))
    inputs = (sampled, weight) if bias is None else (sampled, weight, bias)
    return [op.Conv(*inputs, group=node.attrs.get("group", 1))]


def _places(*slid: Window) -> np.ndarray:
    """Where each tap of each window lies: [taps, rows, columns, 2]."""
    steps = [
        w.stride * np.arange(fixed(w.count))[None] + w.dilation * np.arange(w.kernel)[:, None] - fixed(w.before)
        for w in slid
    ]
    (a, rows), (b, columns) = (s.shape for s in steps)
    y = np.broadcast_to(steps[0][:, None, :, None], (a, b, rows, columns))
    x = np.broadcast_to(steps[1][None, :, None, :], (a, b, rows, columns))
    return np.stack([y, x], -1).reshape(a * b, rows, columns, 2)


EXPANSIONS = {"DeformConv": _deform_conv}
