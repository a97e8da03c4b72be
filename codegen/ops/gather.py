"""Lookups of a packed table's rows by token, and gathering along any axis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from intaglio.codegen import profiles, titles, wgsl
from intaglio.codegen.kernel import Kernel, Weight, groups, op, operand, own, per_element, refuse, wgsl_type
from intaglio.codegen.ops.linear import label, parts, tail_operands
from intaglio.codegen.weights import kernel_layout_size, stored_rows
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim, divides
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Resample
from intaglio.compiler.ir.values import Value


@op("Gather")
def gather(node: Node) -> Kernel:
    data, indices = node.inputs[:2]
    axis = node.attrs.get("axis", 0) % len(data.shape)
    if (
        axis == 0
        and len(data.shape) == 2
        and data.const is not None
        and data.dtype == "f32"
        and divides(4, data.shape[1])
    ):
        return _embedding(node)
    if node.tail is not None:
        raise refuse(node, "a fused tail needs a table of rows")
    steps, places = wgsl.strides(data.shape), wgsl.strides(indices.shape)
    base = (*steps[:axis], *(0 for _ in places), *steps[axis + 1 :])
    at = (*(0 for _ in steps[:axis]), *places, *(0 for _ in steps[axis + 1 :]))
    return _gathered(node, chosen(data, [axis], node.output.shape, base, at), f"along axis {axis}")


@op("GatherElements", "GatherND")
def gather_elements(node: Node) -> Kernel:
    if node.op == "GatherElements":
        axis = node.attrs.get("axis", 0) % len(node.inputs[0].shape)
        return _gathered(node, elements(node, node.output), f"along axis {axis}, each by an index of its own")
    return _gathered(node, tuples(node, node.output), "by tuples of indices")


def _gathered(node: Node, place: dict[str, str], how: str) -> Kernel:
    data, indices = node.inputs[:2]
    size = node.output.type.size
    reads = {"data": operand(data), "indices": operand(indices)}
    consts = {"size": wgsl.size(size), **place}
    kernel = per_element("gather", reads, {"out": node.output}, size, consts, node.op.lower())
    title = f"Gather {titles.shape(node.output)} from {titles.shape(data)} {how}"
    return replace(kernel, touched={"data": node.output.shape}, title=title)


def elements(node: Node, of: Value) -> dict[str, str]:
    """Return the place in data of each element of `of`, chosen by the index at the element's own place."""
    data, indices = node.inputs[:2]
    axis = node.attrs.get("axis", 0) % len(data.shape)
    base = tuple(0 if i == axis else s for i, s in enumerate(wgsl.strides(data.shape)))
    return chosen(data, [axis], of.shape, base, wgsl.strides(indices.shape))


def tuples(node: Node, of: Value) -> dict[str, str]:
    """Return the place in data of each element of `of`, chosen along the axes after the batch by a tuple of indices."""
    data, indices = node.inputs[:2]
    batch, count = node.attrs.get("batch_dims", 0), indices.shape[-1]
    steps, places = wgsl.strides(data.shape), wgsl.strides(indices.shape)[:-1]
    inner = steps[batch + count :]
    base = (*steps[:batch], *(0 for _ in places[batch:]), *inner)
    return chosen(data, range(batch, batch + count), of.shape, base, (*places, *(0 for _ in inner)))


def chosen(
    data: Value, axes: Iterable[int], shape: tuple[Dim, ...], base: tuple[Dim, ...], at: tuple[Dim, ...]
) -> dict[str, str]:
    """Return the texts of two places, for element i of a tensor of `shape`.

    `at` is where the element's indices begin; it moves by the strides `at`. `place` is the element of data that the
    indices choose along `axes`; along the axes of `shape` it moves by `base`.
    """
    steps = wgsl.strides(data.shape)
    terms = [wgsl.affine("i", shape, base)]
    for k, axis in enumerate(axes):
        index = f"i32(load_indices(at{f' + {k}u' if k else ''}))"
        factor = f" * {wgsl.size(steps[axis])}" if steps[axis] != 1 else ""
        terms.append(f"entry({index}, {wgsl.size(data.shape[axis])}){factor}")
    return {"at": wgsl.affine("i", shape, at), "place": wgsl.sum_of(*terms)}


@own(Resample)
def resample(node: Node, of: Resample[Value]) -> Kernel:
    x, places, weights = of.x, of.places, of.weights
    axis, size = of.axis, node.output.type.size
    consts = {
        "size": wgsl.size(size),
        "inner": wgsl.size(wgsl.strides(x.shape)[axis]),
        "entries": wgsl.size(x.shape[axis]),
        "count": wgsl.size(places.shape[0]),
        "taps": places.shape[1],
    }
    reads = {"x": operand(x), "places": operand(places), "weights": operand(weights)}
    return per_element("resample", reads, {"out": node.output}, size, consts, "resample", size * (2 * places.shape[1]))


def _embedding(node: Node) -> Kernel:
    """Return a lookup in a table, stored as a linear layer's weight because a model's head often is the same matrix."""
    table, ids = node.inputs[:2]
    rows, width = table.fixed_shape
    ranges = parts(rows, table)
    names = ["table"] if len(ranges) == 1 else [f"table{i}" for i in range(len(ranges))]
    weights = {n: Weight(table, "rows8", None if len(ranges) == 1 else r) for n, r in zip(names, ranges, strict=True)}
    unpacking = Weight(table).unpacking
    if unpacking["packing"]:
        weights |= {f"{n}_scales": Weight(table, "scales", w.rows) for n, w in weights.items()}
    size = node.output.type.size // 4
    consts = unpacking | {
        "size": wgsl.size(size),
        "k4": width // 4,
        "rows": rows,
        "parts": [{"name": n, "first": first, "end": end} for n, (first, end) in zip(names, ranges, strict=True)],
    }
    reads = {**weights, "ids": operand(ids), **tail_operands(node)}
    if wgsl_type(ids.type) == "f32":
        raise refuse(node, "its indices are not integers")
    grid = (groups(size, per=64),)
    template = f"embedding{unpacking['packing']}"
    vec4 = frozenset({*weights, *tail_operands(node), "out"})
    tail = node.tail.steps if node.tail is not None else ()
    touched = {name: (*ids.shape, kernel_layout_size(w) // stored_rows(w)) for name, w in weights.items()}
    name = label(template, table)
    kernel = Kernel(
        template, reads, {"out": node.output}, grid, (64,), consts, f"{name}_{width}", vec4, tail, touched=touched
    )
    variants: dict[str, dict[str, Any]] = {
        "textures": {"consts": {}},
        "buffers": {"consts": {}, "buffers": frozenset(weights)},
    }
    return kernel.with_variants(f"{name} {dims.product(ids.shape)}x{rows}x{width}", variants, profiles.lookups())
