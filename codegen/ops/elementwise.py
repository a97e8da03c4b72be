"""Elementwise expressions, and operators that only move elements, which read or write at another place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from intaglio.codegen import titles, wgsl
from intaglio.codegen.kernel import Kernel, fours, groups, most, op, operand, own, refuse, wgsl_type
from intaglio.codegen.target import MAX_WORKGROUPS
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.expression import Expression
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Elementwise, Write
from intaglio.compiler.ir.values import TensorType, Value
from intaglio.compiler.semantics.shapes import broadcast_strides, content, paddings, slices

_LANES = 64
_COPY: Expression = (("Identity", "x0"),)


def _kernel(out: Value, inputs: Sequence[Value], steps: Expression, label: str, title: str, **consts: object) -> Kernel:
    """Return a kernel that computes `steps` for each element of `out`, by vec4s if they are whole."""
    vec4 = out.dtype == "f32" and fours(out.type.size)
    count = out.type.size // 4 if vec4 else out.type.size
    return _over(out.type, count, inputs, steps, (label, title), out, vec4=vec4, index="i", **consts)


def _into(
    out: Value,
    value: Value,
    label: str,
    title: str,
    strides: tuple[Dim, ...],
    offset: Dim,
    shape: tuple[Dim, ...] | None = None,
) -> Kernel:
    """Return a kernel that copies `value` into `out`, by `strides` from `offset` on; by vec4s if they stay whole.

    shape: of `value` as `strides` see it, if it differs.
    """
    shape, count = value.shape if shape is None else shape, value.type.size
    vec4 = out.dtype == "f32" and bool(shape) and strides[-1] == 1
    vec4 = vec4 and all(map(fours, (shape[-1], offset, *strides[:-1])))
    if vec4:
        shape, strides = (*shape[:-1], shape[-1] // 4), (*(stride // 4 for stride in strides[:-1]), 1)
        offset, count = offset // 4, count // 4
    consts = {"index": wgsl.affine("i", shape, strides, offset), "vec4": vec4, "indices": {"x0": "i"}}
    return _over(value.type, count, [value], _COPY, (label, title), out, **consts)


def _over(
    type: TensorType,
    count: Dim,
    inputs: Sequence[Value],
    steps: Expression,
    names: tuple[str, str],
    out: Value,
    **consts: object,
) -> Kernel:
    """Return a kernel for `count` elements of a type. `names`: its label and its title."""
    each = max(1, -(-dims.high(count) // (MAX_WORKGROUPS * _LANES)))
    consts |= {"size": wgsl.size(type.size), "each": each, "type": wgsl_type(type)}
    reads = {f"x{i}": operand(v) for i, v in enumerate(inputs)}
    vec4 = frozenset({"out"} if consts["vec4"] else ())
    grid = (groups(count, per=_LANES * each),)
    flops = type.size * len(steps)
    touched = {name: type.shape for name, v in (reads | {"out": out}).items() if most(v.type) > most(type)}
    label, title = names
    kernel = Kernel("elementwise", reads, {"out": out}, grid, (_LANES,), consts, label, vec4, steps, flops)
    return replace(kernel, touched=touched, title=title)


@own(Elementwise)
def elementwise(node: Node, of: Elementwise[Value]) -> Kernel:
    steps = of.steps
    label = "_".join(["elementwise", *(s[0].lower() for s in steps)][:4])
    return _kernel(node.output, of.operands, steps, label, f"Elementwise: out = {titles.formula(steps)}")


def copy(value: Value, out: Value) -> Kernel:
    """Return a kernel that copies `value` to `out`."""
    return _kernel(out, [value], _COPY, "copy", f"Copy of {titles.shape(value)}")


def sizes(value: Value, out: Value) -> Kernel:
    """Return a kernel that writes the dimensions in `value` as numbers, from the symbols in the uniform block."""
    texts = [wgsl.size(d) for d in value.array.reshape(-1)]
    return Kernel("sizes", {}, {"out": out}, (groups(1),), (1,), {"sizes": texts}, "sizes")


def moved(x: Value, out: Value, label: str, strides: tuple[Dim, ...], offset: Dim = 0) -> Kernel:
    """Return a kernel that copies elements of `x`, whose place moves by `strides` along the axes of the output."""
    title = f"{label.capitalize()} {titles.shape(x)} to {titles.shape(out)}"
    return _kernel(out, [x], _COPY, label, title, indices={"x0": wgsl.affine("i", out.shape, strides, offset)})


@op("Transpose")
def transpose(node: Node) -> Kernel:
    x = node.inputs[0]
    perm = node.attrs.get("perm") or list(range(len(x.shape)))[::-1]
    strides = wgsl.strides(x.shape)
    return moved(x, node.output, "transpose", tuple(strides[p] for p in perm))


@op("Expand")
def expand(node: Node) -> Kernel:
    x, out = node.inputs[0], node.output
    return moved(x, out, "expand", broadcast_strides(x.shape, out.shape))


@op("Tile")
def tile(node: Node) -> Kernel:
    """Return a copy that treats each axis as two: the repetitions, along which the source does not move, and itself."""
    x, repeats = node.inputs[0], content(node.inputs[1], "the repeats")
    shape = tuple(d for pair in zip(repeats, x.shape, strict=True) for d in pair)
    strides = tuple(s for stride in wgsl.strides(x.shape) for s in (0, stride))
    title = f"Tile {titles.shape(x)} to {titles.shape(node.output)}"
    return _kernel(node.output, [x], _COPY, "tile", title, indices={"x0": wgsl.affine("i", shape, strides)})


@op("Slice")
def cut(node: Node) -> Kernel:
    x, cuts = node.inputs[0], slices(node)
    strides = wgsl.strides(x.shape)
    offset = sum((first * s for (first, _, _), s in zip(cuts, strides, strict=True)), 0)
    steps = tuple(step * s for (_, _, step), s in zip(cuts, strides, strict=True))
    return moved(x, node.output, "slice", steps, offset)


@op("Concat")
def concat(node: Node) -> list[Kernel]:
    """Return a kernel for each input, which copies it into its part of the output."""
    axis = node.attrs["axis"] % len(node.output.shape)
    strides = wgsl.strides(node.output.shape)
    kernels, at = [], 0
    for value in node.inputs:
        if most(value.type):
            title = f"Concat: {titles.shape(value)} into {titles.shape(node.output)}, from {at} on along axis {axis}"
            kernels.append(_into(node.output, value, "concat", title, strides, at * strides[axis]))
        at = at + value.shape[axis]
    return kernels


@op("Pad")
def pad(node: Node) -> list[Kernel]:
    """Return a kernel that fills the output with the padding, and one that copies the input into its place."""
    x, fill, before = node.inputs[0], node.input(2), paddings(node)
    if node.attrs.get("mode", "constant") != "constant" or any(dims.low(d) < 0 for pair in before for d in pair):
        raise refuse(node, "a padding that depends on a dynamic size is not supported")
    if fill is None:
        filled = _filled(node.output, 0)
    elif fill.scalar is None:  # computed when it runs
        filled = moved(fill, node.output, "fill", (0,) * len(x.shape))
    else:
        filled = _filled(node.output, fill.scalar)
    strides = wgsl.strides(node.output.shape)
    offset = sum((first * s for (first, _), s in zip(before, strides, strict=True)), 0)
    title = f"Pad: {titles.shape(x)} into {titles.shape(node.output)}, which holds the padding"
    return [filled, _into(node.output, x, "pad", title, strides, offset)]


@op("ConstantOfShape")
def constant_of_shape(node: Node) -> Kernel:
    value = node.attrs.get("value")
    return _filled(node.output, value.item() if value is not None else 0)


def _filled(out: Value, number: float | int | bool) -> Kernel:
    """Return a kernel that fills `out` with a number."""
    expression: Expression = (("Identity", number),)
    return _kernel(out, [], expression, "fill", f"Fill {titles.shape(out)} with {titles.formula(expression)}")


@op("Range")
def count_up(node: Node) -> Kernel:
    """Return a kernel that computes start + i * delta, which must be constants."""
    start, delta = node.inputs[0].scalar, node.inputs[2].scalar
    if start is None or delta is None:
        raise refuse(node, "its start is not a constant")
    steps: Expression = (("Cast", "i", node.output.dtype), ("Mul", "t0", delta), ("Add", "t1", start))
    return _kernel(node.output, [], steps, "range", f"Range: out[i] = {titles.formula(steps)}")


@own(Write)
def write(node: Node, of: Write[Value]) -> Kernel:
    """Return a kernel that writes rows into a state, from row `at` on."""
    title = f"Write {titles.shape(of.rows)} into the state {titles.shape(node.output)}, from row {of.at} on"
    shape, strides, width = of.rows.shape, wgsl.strides(of.rows.shape), of.state.shape[-1]
    if len(shape) < len(of.state.shape):  # a cache, which has its rows head by head
        heads, capacity = of.state.shape[-3:-1]
        shape, strides = (*shape[:-1], heads, width), (*strides[:-2], width, capacity * width, 1)
    return _into(node.output, of.rows, "write", title, strides, of.at * width, shape)
