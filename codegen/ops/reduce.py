"""Reductions along any axes, with an invocation or a workgroup per result, and running totals, with an invocation per
row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from intaglio.codegen import titles, wgsl
from intaglio.codegen.kernel import Kernel, groups, most, op, operand, per_element, refuse, wgsl_type
from intaglio.codegen.target import MAX_TRIPS, MAX_WORKGROUPS
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import DTYPES, FLOATS, Value
from intaglio.compiler.semantics.shapes import axis_of, integers

_LONG = 4096  # a result of more elements takes a whole workgroup
_LANES = 64


@dataclass(frozen=True)
class _Kind:
    """A reduction.

    total: the name of the accumulator. start: its first value; empty: the first element. combine: how it takes in
    `value`. finish: the result.
    """

    title: str
    total: str
    start: str
    combine: str
    finish: str


_KINDS = {
    "ReduceSum": _Kind("Sum", "sum", "0", "sum + value", "sum"),
    "ReduceMean": _Kind("Mean", "sum", "0", "sum + value", "sum / {type}({length})"),
    "ReduceMax": _Kind("Maximum", "highest", "", "max(highest, value)", "highest"),
    "ReduceMin": _Kind("Minimum", "lowest", "", "min(lowest, value)", "lowest"),
    "ReduceProd": _Kind("Product", "product", "1", "product * value", "product"),
    "ReduceSumSquare": _Kind("Sum of squares", "sum", "0", "sum + value * value", "sum"),
    "ReduceL1": _Kind("Sum of magnitudes", "sum", "0", "sum + abs(value)", "sum"),
    "ReduceL2": _Kind("Root of the sum of squares", "sum", "0", "sum + value * value", "sqrt({float})"),
    "ReduceLogSum": _Kind("Logarithm of the sum", "sum", "0", "sum + value", "log({float})"),
}


@op(*_KINDS)
def reduce(node: Node) -> Kernel:
    x, axes = node.inputs[0], _axes(node)
    kind = _KINDS[node.op]
    type, length = wgsl_type(x.type), dims.product(tuple(x.shape[a] for a in axes))
    finish = kind.finish.format(type=type, length=wgsl.size(length), float="sum" if type == "f32" else "f32(sum)")
    consts = _walk(node, axes) | {
        "total": kind.total,
        "start": f"{type}({kind.start})" if kind.start else "load_x(first)" if dims.low(length) else _of_nothing(node),
        "combine": kind.combine,
        "finish": wgsl.wrapped(finish if type == "f32" or "f32" not in finish else f"{type}({finish})", x.dtype),
    }
    if _is_wide(length, node.output):
        return _wide(node, consts, f"{_title(node, kind.title, axes)}, a workgroup for each result")
    if dims.high(length) > MAX_TRIPS:
        raise refuse(node, f"reducing {length} elements to one needs more than {MAX_TRIPS} loop iterations")
    return _kernel(node, "reduce", consts, f"{_title(node, kind.title, axes)}, an invocation for each result")


def _is_wide(length: Dim, out: Value) -> bool:
    """Return whether each result takes a workgroup."""
    return _LONG < dims.high(length) <= _LANES * MAX_TRIPS and most(out.type) <= MAX_WORKGROUPS


def _title(node: Node, what: str, axes: list[int]) -> str:
    along = "axis" if len(axes) == 1 else "axes"
    return f"{what} of {titles.shape(node.inputs[0])} along {along} {', '.join(map(str, axes))}"


def _wide(node: Node, consts: dict[str, Any], title: str) -> Kernel:
    """Return a kernel with a workgroup for each result, which then merges the partial results of its invocations."""
    x, out, combine = node.inputs[0], node.output, consts["combine"]
    merge = combine if node.op in ("ReduceMax", "ReduceMin", "ReduceProd") else "sum + value"
    consts |= {"lanes": _LANES, "merge": merge, "type": wgsl_type(x.type)}
    grid, label = (groups(out.type.size),), f"{node.op.lower()}_wide"
    reads = {"x": operand(x)}
    return Kernel("reduce_wide", reads, {"out": out}, grid, (_LANES,), consts, label, flops=x.type.size, title=title)


def _of_nothing(node: Node) -> str:
    """Return the maximum or minimum of no elements: the smallest or largest number of the type."""
    dtype = node.inputs[0].dtype
    least = node.op == "ReduceMin"
    if dtype in FLOATS:
        return wgsl.number(math.inf if least else -math.inf, "f32")
    if dtype == "bool":
        return f"{int(least)}u"
    ends = np.iinfo({"i64": "int32", "u64": "uint32"}.get(dtype) or DTYPES[dtype])
    return wgsl.number(ends.max if least else ends.min, wgsl_type(node.inputs[0].type))


@op("ArgMax", "ArgMin")
def arg(node: Node) -> Kernel:
    """Return a kernel for the index of the largest or smallest element along one axis."""
    x, out, last = node.inputs[0], node.output, node.attrs.get("select_last_index", 0)
    axis = node.attrs.get("axis", 0) % len(x.shape)
    strictly = ">" if node.op == "ArgMax" else "<"
    consts = _walk(node, [axis]) | {"better": strictly + "=" * last}
    of = f"the {'last' if last else 'first'} {'largest' if node.op == 'ArgMax' else 'smallest'} element"
    title = _title(node, f"{node.op}: the index of {of}", [axis])
    if _is_wide(x.shape[axis], out):
        consts |= {"strictly": strictly, "sooner": ">" if last else "<", "lanes": _LANES, "type": wgsl_type(x.type)}
        grid, label = (groups(out.type.size),), f"{node.op.lower()}_wide"
        reads, title = {"x": operand(x)}, f"{title}, a workgroup for each result"
        return Kernel("arg_wide", reads, {"out": out}, grid, (_LANES,), consts, label, flops=x.type.size, title=title)
    if dims.high(x.shape[axis]) > MAX_TRIPS:
        raise refuse(node, f"reducing {x.shape[axis]} elements to one needs more than {MAX_TRIPS} loop iterations")
    return _kernel(node, "arg", consts, f"{title}, an invocation for each result")


@op("TopK")
def top_k(node: Node) -> Kernel:
    x = node.inputs[0]
    axis = node.attrs.get("axis", -1) % len(x.shape)
    length = x.shape[axis]
    if dims.high(length) > MAX_TRIPS:
        raise refuse(node, f"rows of {length} elements need more than {MAX_TRIPS} loop iterations")
    consts = {
        "size": wgsl.size(x.type.size),
        "length": wgsl.size(length),
        "step": wgsl.size(wgsl.strides(x.shape)[axis]),
        "k": wgsl.size(node.output.shape[axis]),
        "better": ">" if node.attrs.get("largest", 1) else "<",
    }
    writes: dict[str, Value] = dict(zip(("values", "indices"), node.outputs, strict=True))
    flops = x.type.size * dims.high(length)
    return per_element("top_k", {"x": operand(x)}, writes, x.type.size, consts, "top_k", flops)


@op("CumSum", "CumProd")
def running(node: Node) -> Kernel:
    """Return a kernel for the totals of the elements up to each one, or from each one on."""
    x, axis = node.inputs[0], node.inputs[1].scalar
    if axis is None:
        raise refuse(node, "its axis is computed at run time; it must be a constant")
    axis = axis_of(int(axis), len(x.shape))
    shape, strides, length = x.shape, wgsl.strides(x.shape), x.shape[axis]
    if dims.high(length) > MAX_TRIPS:
        raise refuse(node, f"rows of {length} elements need more than {MAX_TRIPS} loop iterations")
    others = [a for a in range(len(shape)) if a != axis]
    rows = tuple(shape[a] for a in others)
    kind = _KINDS["ReduceSum" if node.op == "CumSum" else "ReduceProd"]
    place = f"({wgsl.size(length - 1)} - j)" if node.attrs.get("reverse") else "j"
    consts = {
        "rows": wgsl.size(dims.product(rows)),
        "first": wgsl.affine("i", rows, tuple(strides[a] for a in others)),
        "length": wgsl.size(length),
        "at": f"first + {place}" + (f" * {wgsl.size(strides[axis])}" if strides[axis] != 1 else ""),
        "total": kind.total,
        "start": f"{wgsl_type(x.type)}({kind.start})",
        "combine": kind.combine,
        "exclusive": bool(node.attrs.get("exclusive")),
    }
    which = f"the elements {'from each one on' if node.attrs.get('reverse') else 'up to each one'}"
    title = _title(
        node, f"{node.op}: {kind.title.lower()} of {which}{', itself left out' * consts['exclusive']},", [axis]
    )
    reads, label = {"x": operand(x)}, node.op.lower()
    return per_element("running", reads, {"out": node.output}, dims.product(rows), consts, label, x.type.size, title)


def _axes(node: Node) -> list[int]:
    axes = node.input(1)
    if axes is None or (axes.const is not None and not axes.const.size):
        return [] if node.attrs.get("noop_with_empty_axes") else list(range(len(node.inputs[0].shape)))
    if axes.const is None:
        raise refuse(node, "its axes are computed at run time; they must be constants")
    return sorted(a % len(node.inputs[0].shape) for a in integers(axes, "the axes"))


def _walk(node: Node, axes: list[int]) -> dict[str, Any]:
    """Return the parameters that locate the first element of result i, and element j relative to it."""
    shape = node.inputs[0].shape
    strides = wgsl.strides(shape)
    others = [a for a in range(len(shape)) if a not in axes]
    length = dims.product(tuple(shape[a] for a in axes))
    return {
        "outputs": wgsl.size(node.output.type.size),
        "length": wgsl.size(length),
        "first": wgsl.affine("i", tuple(shape[a] for a in others), tuple(strides[a] for a in others)),
        "next": wgsl.affine("j", tuple(shape[a] for a in axes), tuple(strides[a] for a in axes)),
    }


def _kernel(node: Node, template: str, consts: dict[str, Any], title: str) -> Kernel:
    x, out, label = node.inputs[0], node.output, node.op.lower()
    return per_element(template, {"x": operand(x)}, {"out": out}, out.type.size, consts, label, x.type.size, title)
