"""Reductions along any axes, an invocation for each result."""

from __future__ import annotations

from typing import Any

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import MAX_TRIPS, Kernel, groups, op, operand, refuse, wgsl_type
from intaglio.codegen.ops.elementwise import copy
from intaglio.compiler import dims
from intaglio.compiler.ir import Node
from intaglio.compiler.types import content

# operator: the value to begin with (none: the first element), how one more element combines, what is done at the end
_KINDS = {
    "ReduceSum": ("0", "sum + value", "sum"),
    "ReduceMean": ("0", "sum + value", "sum / {type}({length})"),
    "ReduceMax": ("", "max(sum, value)", "sum"),
    "ReduceMin": ("", "min(sum, value)", "sum"),
    "ReduceProd": ("1", "sum * value", "sum"),
    "ReduceSumSquare": ("0", "sum + value * value", "sum"),
    "ReduceL1": ("0", "sum + abs(value)", "sum"),
    "ReduceL2": ("0", "sum + value * value", "sqrt(sum)"),
    "ReduceLogSum": ("0", "sum + value", "log(sum)"),
}


@op(*_KINDS)
def reduce(node: Node) -> Kernel:
    x, axes = node.inputs[0], _axes(node)
    if not axes:
        return copy(x, node.output)
    start, combine, finish = _KINDS[node.op]
    type = wgsl_type(x.type)
    consts = _walk(node, axes) | {
        "start": f"{type}({start})" if start else "load_x(first)",
        "combine": combine,
        "finish": finish.format(type=type, length=wgsl.size(dims.product(tuple(x.shape[a] for a in axes)))),
    }
    return _kernel(node, "reduce", consts)


@op("ArgMax", "ArgMin")
def arg(node: Node) -> Kernel:
    """The index along one axis."""
    if node.attrs.get("select_last_index"):
        raise refuse(node, "the last of equal elements")
    axis = node.attrs.get("axis", 0) % len(node.inputs[0].shape)
    return _kernel(node, "arg", _walk(node, [axis]) | {"better": ">" if node.op == "ArgMax" else "<"})


def _axes(node: Node) -> list[int]:
    given = node.input(1)
    if given is None or (given.const is not None and not given.const.size):
        return [] if node.attrs.get("noop_with_empty_axes") else list(range(len(node.inputs[0].shape)))
    if given.const is None:
        raise refuse(node, "axes that are computed at run time")
    return sorted(int(a) % len(node.inputs[0].shape) for a in content(given, "the axes"))


def _walk(node: Node, axes: list[int]) -> dict[str, Any]:
    """Where the first element of result i lies, and element j from there."""
    shape = node.inputs[0].shape
    strides = wgsl.strides(shape)
    kept = [a for a in range(len(shape)) if a not in axes]
    length = dims.product(tuple(shape[a] for a in axes))
    if dims.high(length) > MAX_TRIPS:
        raise refuse(node, f"{length} elements for one result")
    return {
        "outputs": wgsl.size(node.output.type.size),
        "length": wgsl.size(length),
        "first": wgsl.affine("i", tuple(shape[a] for a in kept), tuple(strides[a] for a in kept)),
        "next": wgsl.affine("j", tuple(shape[a] for a in axes), tuple(strides[a] for a in axes)),
    }


def _kernel(node: Node, template: str, consts: dict[str, Any]) -> Kernel:
    x, out = node.inputs[0], node.output
    grid = (groups(out.type.size, per=64),)
    return Kernel(template, {"x": operand(x)}, {"out": out}, grid, (64,), consts, node.op.lower(), flops=x.type.size)
