"""Lookups: rows of a packed table by token, and gathering along any axis."""

from __future__ import annotations

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import Kernel, Weight, groups, op, operand, refuse, wgsl_type
from intaglio.codegen.ops.linear import parts, tail_operands
from intaglio.compiler import dims
from intaglio.compiler.ir import Node


@op("Gather")
def gather(node: Node) -> Kernel:
    data, indices = node.inputs[:2]
    axis = node.attrs.get("axis", 0) % len(data.shape)
    if axis == 0 and len(data.shape) == 2 and data.const is not None and data.dtype == "f32" and data.shape[1] % 4 == 0:
        return _embedding(node)
    if node.attrs.get("tail"):
        raise refuse(node, "a fused tail on anything but a table of rows")
    size = node.output.type.size
    consts = {
        "size": wgsl.size(size),
        "inner": wgsl.size(dims.product(data.shape[axis + 1 :])),
        "count": wgsl.size(indices.type.size),
        "entries": wgsl.size(data.shape[axis]),
    }
    reads = {"data": operand(data), "indices": operand(indices)}
    return Kernel("gather", reads, {"out": node.output}, (groups(size, per=64),), (64,), consts, "gather")


def _embedding(node: Node) -> Kernel:
    """The table in the layout of a linear layer's weight, because a model's head often is the same matrix."""
    table, ids = node.inputs[:2]
    rows, width = table.shape
    ranges = parts(rows, table)
    names = ["table"] if len(ranges) == 1 else [f"table{i}" for i in range(len(ranges))]
    weights = {n: Weight(table, "rows8", None if len(ranges) == 1 else r) for n, r in zip(names, ranges, strict=True)}
    packing = f"_{format}" if (format := Weight(table).format) in ("q8", "q4") else ""
    if packing:
        weights |= {f"{n}_scales": Weight(table, "scales", w.rows) for n, w in weights.items()}
    size = node.output.type.size // 4
    consts = {
        "size": wgsl.size(size),
        "k4": width // 4,
        "rows": rows,
        "parts": [{"name": n, "first": first, "end": end} for n, (first, end) in zip(names, ranges, strict=True)],
    }
    reads = {**weights, "ids": operand(ids), **tail_operands(node)}
    if wgsl_type(ids.type) == "f32":
        raise refuse(node, "indices that are no integers")
    grid = (groups(size, per=64),)
    template = f"embedding{packing}"
    vec4 = frozenset({*weights, *tail_operands(node), "out"})
    return Kernel(
        template,
        reads,
        {"out": node.output},
        grid,
        (64,),
        consts,
        f"{template}_{width}",
        vec4,
        node.attrs.get("tail", ()),
    )
