"""Operators that move elements: gathers or scatters, with indices that are computed here."""

from __future__ import annotations

import numpy as np

from intaglio.compiler.expansions.place import numbers
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import DTYPES, Value, known
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.semantics.shapes import axis_of, paddings
from intaglio.compiler.semantics.windows import blocks, unpooled

_MOST = 1 << 20  # elements that are repeated at an end


def _pad(op: GraphBuilder, node: Node) -> list[Value] | None:
    """A negative padding is a slice; repeated elements are gathered, axis by axis."""
    x, fill, mode = node.inputs[0], node.input(2), node.attrs.get("mode", "constant")
    pads = paddings(node)
    counted = [(a, b) for a, b in pads if isinstance(a, int) and isinstance(b, int)]
    if len(counted) < len(pads) or (mode == "constant" and min((min(pair) for pair in counted), default=0) >= 0):
        return None
    if mode != "constant" and max((max(pair) for pair in counted), default=0) > _MOST:
        return None
    spans = [(max(-before, 0), d - max(-after, 0)) for (before, after), d in zip(counted, x.shape, strict=True)]
    x = op.Slice(x, *(op.dimensions(*ends) for ends in zip(*spans, strict=True)))
    added = [(max(before, 0), max(after, 0)) for before, after in counted]
    if mode == "constant":
        return [op.node("Pad", (x, op.integers(*(n for side in zip(*added, strict=True) for n in side)), fill))[0]]
    for axis, pair in enumerate(added):
        if pair != (0, 0) and x.shape[axis] == 0:
            raise BadModel(
                f"Pad ({node.name}): axis {axis} of {node.inputs[0].type} is empty, so no element can be repeated"
            )
        if pair != (0, 0):
            x = op.Gather(x, _repeated(op, x.shape[axis], pair, mode), axis=axis)
    return [x]


def _repeated(op: GraphBuilder, size: Dim, pair: tuple[int, int], mode: str) -> Value:
    """The indices of the elements of an axis that is padded by repeating elements."""
    before, after = pair
    at = op.Range(*(op.constant(known([d], ())) for d in (-before, size + after, 1)))
    last = op.constant(known([size - 1], ()))
    if mode == "wrap":
        return op.Mod(at, op.constant(known([size], ())))
    if mode == "edge":
        return op.Min(op.Max(at, op.constant(np.array(0))), last)
    return op.Sub(last, op.Abs(op.Sub(last, op.Abs(at))))


def _tensor_scatter(op: GraphBuilder, node: Node) -> list[Value]:
    """Rows go where the index of their batch says, one after another along the axis."""
    past, update, starts = node.inputs[0], node.inputs[1], node.input(2)
    axis, rank = axis_of(node.attrs.get("axis", -2), len(past.shape)), len(past.shape)
    rows = numbers(op, update, axis)
    if starts is not None:
        rows = op.Add(op.Reshape(starts, op.integers(-1, *[1] * (rank - 1))), rows)
    if node.attrs.get("mode", "linear") == "circular":
        rows = op.Mod(rows, op.dimensions(past.shape[axis]))
    return [op.ScatterElements(past, op.Expand(rows, op.dimensions(*update.shape)), update, axis=axis)]


def _reverse_sequence(op: GraphBuilder, node: Node) -> list[Value]:
    """The first elements of each sequence, up to its length, in reverse."""
    x, lengths = node.inputs
    time, batch = (axis_of(node.attrs.get(f"{name}_axis", d), 2) for name, d in (("time", 0), ("batch", 1)))
    steps = numbers(op, x, time)
    lengths = op.Reshape(lengths, op.integers(*(-1 if a == batch else 1 for a in range(len(x.shape)))))
    reverse = op.Sub(op.Sub(lengths, op.integers(1)), steps)
    places = op.Where(op.Less(steps, lengths), reverse, steps)
    return [op.GatherElements(x, op.Expand(places, op.dimensions(*x.shape)), axis=time)]


def _compress(op: GraphBuilder, node: Node) -> list[Value]:
    x, axis = node.inputs[0], node.attrs.get("axis")
    x = op.Reshape(x, op.integers(-1)) if axis is None else x
    return [op.Gather(x, op.constant(np.flatnonzero(node.inputs[1].array)), axis=axis or 0)]


def _col_to_im(op: GraphBuilder, node: Node) -> list[Value]:
    """Blocks are spread over an image as a transposed convolution does it, whose weight has a one for each tap."""
    x, slid = node.inputs[0], blocks(node)
    kernel = [w.kernel for w in slid]
    taps = int(np.prod(kernel))
    full = [(w.count - 1) * w.stride + (w.kernel - 1) * w.dilation + 1 for w in slid]
    attrs = {name: node.attrs[name] for name in ("strides", "dilations", "pads") if name in node.attrs}
    attrs["output_padding"] = [w.size + w.before + w.after - f for w, f in zip(slid, full, strict=True)]
    planes = op.Reshape(x, op.dimensions(-1, taps, *(w.count for w in slid)))
    weight = op.constant(np.eye(taps, dtype=DTYPES[x.dtype]).reshape(taps, 1, *kernel))
    y = op.ConvTranspose(planes, weight, **attrs)
    return [op.Reshape(y, op.dimensions(*node.output.shape))]


def _max_unpool(op: GraphBuilder, node: Node) -> list[Value]:
    """Elements go back to where a pooling found them, in what it pooled; a larger result is padded."""
    x, indices = node.inputs[:2]
    pooled = unpooled(node)
    size, flat = op.dimensions(*pooled), op.integers(-1)
    empty = op.Reshape(op.Expand(op.number(0, x), size), flat)
    y = op.Reshape(op.ScatterElements(empty, op.Reshape(indices, flat), op.Reshape(x, flat), axis=0), size)
    if len(node.output.shape) != len(pooled) or indices.shape != x.shape:
        raise BadModel(f"MaxUnpool ({node.name}): {x.type} with indices {indices.type} cannot give {node.output.type}")
    missing = [size - d for size, d in zip(node.output.shape, pooled, strict=True)]
    return [op.Pad(y, op.dimensions(*[0] * len(missing), *missing))]


EXPANSIONS = {
    "Col2Im": _col_to_im,
    "Compress": _compress,
    "MaxUnpool": _max_unpool,
    "Pad": _pad,
    "ReverseSequence": _reverse_sequence,
    "TensorScatter": _tensor_scatter,
}
