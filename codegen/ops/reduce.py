"""Reductions along any axes, an invocation for each result, and running totals, an invocation for each row."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import MAX_TRIPS, Kernel, groups, op, operand, refuse, wgsl_type
from intaglio.compiler import dims
from intaglio.compiler.dims import Dim
from intaglio.compiler.ir import DTYPES, FLOATS, Node, TensorType, Value
from intaglio.compiler.types import axis_of, content

# operator: the value to begin with (none: the first element), how one more element combines, what is done at the end
_KINDS = {
    "ReduceSum": ("0", "sum + value", "sum"),
    "ReduceMean": ("0", "sum + value", "sum / {type}({length})"),
    "ReduceMax": ("", "max(sum, value)", "sum"),
    "ReduceMin": ("", "min(sum, value)", "sum"),
    "ReduceProd": ("1", "sum * value", "sum"),
    "ReduceSumSquare": ("0", "sum + value * value", "sum"),
    "ReduceL1": ("0", "sum + abs(value)", "sum"),
    "ReduceL2": ("0", "sum + value * value", "sqrt({float})"),
    "ReduceLogSum": ("0", "sum + value", "log({float})"),
}

_LONG, _PART = 16_384, 512  # elements above which an invocation does not reduce all by itself, and how many then


@op(*_KINDS)
def reduce(node: Node) -> list[Kernel]:
    """Many elements for one result are reduced in parts first."""
    x, axes = node.inputs[0], _axes(node)
    start, combine, finish = _KINDS[node.op]
    type, length = wgsl_type(x.type), dims.product(tuple(x.shape[a] for a in axes))
    finish = finish.format(type=type, length=wgsl.size(length), float="sum" if type == "f32" else "f32(sum)")
    consts = {
        "start": f"{type}({start})" if start else "load_x(first)" if dims.low(length) else _of_nothing(node),
        "combine": combine,
        "finish": wgsl.wrapped(finish if type == "f32" or "f32" not in finish else f"{type}({finish})", x.dtype),
    }
    each = _each(node, length)
    if each == length:
        return [_kernel(node, "reduce", x, node.output, _walk(x, axes) | consts)]
    parts = -(-length // each)
    made = Value(f"{node.output.name}.parts", TensorType(x.dtype, (*node.output.shape, parts)))
    combine = combine if node.op in ("ReduceMax", "ReduceMin", "ReduceProd") else "sum + value"
    return [
        _kernel(node, "reduce", x, made, _walk(x, axes, each) | consts | {"finish": "sum"}),
        _kernel(node, "reduce", made, node.output, _walk(made, [len(made.shape) - 1]) | consts | {"combine": combine}),
    ]


def _of_nothing(node: Node) -> str:
    """The largest, or smallest, of no elements: the end of the type that every other number is better than."""
    dtype = node.inputs[0].dtype
    least = node.op == "ReduceMin"
    if dtype in FLOATS:
        return wgsl.number(math.inf if least else -math.inf, "f32")
    if dtype == "bool":
        return f"{int(least)}u"
    ends = np.iinfo({"i64": "int32", "u64": "uint32"}.get(dtype) or DTYPES[dtype])
    return wgsl.number(ends.max if least else ends.min, wgsl_type(node.inputs[0].type))


@op("ArgMax", "ArgMin")
def arg(node: Node) -> list[Kernel]:
    """The index along one axis, that of the best of its parts where it is long."""
    x = node.inputs[0]
    axis = node.attrs.get("axis", 0) % len(x.shape)
    better = {"better": (">" if node.op == "ArgMax" else "<") + "=" * node.attrs.get("select_last_index", 0)}
    length, each = x.shape[axis], _each(node, x.shape[axis])
    if each == length:
        return [_kernel(node, "arg", x, node.output, _walk(x, [axis]) | better)]
    parts = -(-length // each)
    at = Value(f"{node.output.name}.parts", TensorType("i32", (*node.output.shape, parts)))
    last = _kernel(node, "arg_parts", x, node.output, _walk(x, [axis]) | better | {"parts": parts})
    return [
        _kernel(node, "arg", x, at, _walk(x, [axis], each) | better),
        dataclasses.replace(last, reads=last.reads | {"at": at}),
    ]


@op("TopK")
def top_k(node: Node) -> Kernel:
    x = node.inputs[0]
    axis = node.attrs.get("axis", -1) % len(x.shape)
    length = x.shape[axis]
    if dims.high(length) > MAX_TRIPS:
        raise refuse(node, f"{length} elements in a row")
    consts = {
        "size": wgsl.size(x.type.size),
        "length": wgsl.size(length),
        "step": wgsl.size(wgsl.strides(x.shape)[axis]),
        "k": wgsl.size(node.output.shape[axis]),
        "better": ">" if node.attrs.get("largest", 1) else "<",
    }
    writes = dict(zip(("values", "indices"), node.outputs, strict=True))
    grid = (groups(x.type.size, per=64),)
    flops = x.type.size * dims.high(length)
    return Kernel("top_k", {"x": operand(x)}, writes, grid, (64,), consts, "top_k", flops=flops)


@op("CumSum", "CumProd")
def running(node: Node) -> Kernel:
    """Totals of the elements up to each one, or from each one on."""
    x, axis = node.inputs[0], node.inputs[1].scalar
    if axis is None:
        raise refuse(node, "an axis that is computed at run time")
    axis = axis_of(axis, len(x.shape))
    shape, strides, length = x.shape, wgsl.strides(x.shape), x.shape[axis]
    if dims.high(length) > MAX_TRIPS:
        raise refuse(node, f"{length} elements in a row")
    others = [a for a in range(len(shape)) if a != axis]
    rows = tuple(shape[a] for a in others)
    start, combine, _ = _KINDS["ReduceSum" if node.op == "CumSum" else "ReduceProd"]
    place = f"({wgsl.size(length - 1)} - j)" if node.attrs.get("reverse") else "j"
    consts = {
        "rows": wgsl.size(dims.product(rows)),
        "first": wgsl.affine("i", rows, tuple(strides[a] for a in others)),
        "length": wgsl.size(length),
        "at": f"first + {place}" + (f" * {wgsl.size(strides[axis])}" if strides[axis] != 1 else ""),
        "start": f"{wgsl_type(x.type)}({start})",
        "combine": combine,
        "exclusive": bool(node.attrs.get("exclusive")),
    }
    grid = (groups(*rows, per=64),)
    label = node.op.lower()
    return Kernel("running", {"x": operand(x)}, {"out": node.output}, grid, (64,), consts, label, flops=x.type.size)


def _axes(node: Node) -> list[int]:
    given = node.input(1)
    if given is None or (given.const is not None and not given.const.size):
        return [] if node.attrs.get("noop_with_empty_axes") else list(range(len(node.inputs[0].shape)))
    if given.const is None:
        raise refuse(node, "axes that are computed at run time")
    return sorted(int(a) % len(node.inputs[0].shape) for a in content(given, "the axes"))


def _each(node: Node, length: Dim) -> Dim:
    """How many of so many elements an invocation reduces: all, or of a long axis about as many as there are parts."""
    each = max(_PART, math.isqrt(length) + 1) if isinstance(length, int) and length > _LONG else length
    if dims.high(each) > MAX_TRIPS:
        raise refuse(node, f"{length} elements for one result")
    return each


def _walk(x: Value, axes: list[int], each: Dim | None = None) -> dict[str, Any]:
    """Where the first element of result i lies, and element j from there: of all, or of the part that i is one of."""
    shape, strides = x.shape, wgsl.strides(x.shape)
    kept = [a for a in range(len(shape)) if a not in axes]
    length = dims.product(tuple(shape[a] for a in axes))
    parts = 1 if each is None else -(-length // each)
    part, index = f"i % {parts}u", "i" if each is None else f"(i / {parts}u)"
    return {
        "outputs": wgsl.size(dims.product(tuple(shape[a] for a in kept)) * parts),
        "begin": "0u" if each is None else f"{part} * {each}u",
        "end": wgsl.size(length) if each is None else f"min(({part} + 1u) * {each}u, {wgsl.size(length)})",
        "first": wgsl.affine(index, tuple(shape[a] for a in kept), tuple(strides[a] for a in kept)),
        "next": wgsl.affine("j", tuple(shape[a] for a in axes), tuple(strides[a] for a in axes)),
    }


def _kernel(node: Node, template: str, x: Value, out: Value, consts: dict[str, Any]) -> Kernel:
    grid = (groups(out.type.size, per=64),)
    return Kernel(template, {"x": operand(x)}, {"out": out}, grid, (64,), consts, node.op.lower(), flops=x.type.size)
