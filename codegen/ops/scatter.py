"""Scattering: a copy of the data, and a kernel that replaces some of its elements by updates or combines them.

WGSL cannot add floats atomically, so one invocation applies all updates that may change the same element, in order.
"""

from __future__ import annotations

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import Kernel, op, operand, per_element, refuse
from intaglio.codegen.ops.elementwise import copy
from intaglio.codegen.ops.gather import elements, tuples
from intaglio.codegen.target import MAX_TRIPS
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.nodes import Node

_COMBINE = {"add": "before + value", "mul": "before * value", "max": "max(before, value)", "min": "min(before, value)"}


@op("ScatterElements", "ScatterND")
def scatter(node: Node) -> list[Kernel]:
    data, indices, updates = node.inputs
    place = elements(node, updates) if node.op == "ScatterElements" else tuples(node, updates)
    reduction = node.attrs.get("reduction", "none")
    size = updates.type.size
    if reduction == "none":
        template, lanes, consts = "scatter", size, {"size": wgsl.size(size)}
    else:
        lanes, walk = _lanes(node)
        template, consts = "scatter_reduce", {**walk, "lanes": wgsl.size(lanes), "combine": _COMBINE[reduction]}
    reads = {"indices": operand(indices), "updates": operand(updates)}
    label = f"{node.op.lower()}_{reduction}"
    return [
        copy(data, node.output),
        per_element(template, reads, {"out": node.output}, lanes, consts | place, label, size),
    ]


def _lanes(node: Node) -> tuple[Dim, dict[str, str]]:
    """Return how many invocations there are, and how each walks over the updates that may change the same elements."""
    data, indices, updates = node.inputs
    axis, rank = node.attrs.get("axis", 0) % len(data.shape), len(updates.shape)
    same = [axis] if node.op == "ScatterElements" else list(range(len(indices.shape) - 1))
    strides = wgsl.strides(updates.shape)

    def along(axes: list[int]) -> tuple[tuple[Dim, ...], tuple[Dim, ...]]:
        return tuple(updates.shape[a] for a in axes), tuple(strides[a] for a in axes)

    (shared, steps), (shape, places) = along(same), along([a for a in range(rank) if a not in same])
    length = dims.product(shared)
    if dims.high(length) > MAX_TRIPS:
        raise refuse(node, f"{length} updates of one element need more than {MAX_TRIPS} loop iterations")
    walk = {"first": wgsl.affine("lane", shape, places), "next": wgsl.affine("j", shared, steps)}
    return dims.product(shape), walk | {"length": wgsl.size(length)}
