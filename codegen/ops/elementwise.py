"""Elementwise expressions, and everything that only moves elements: those read, or write, at another place."""

from __future__ import annotations

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import MAX_WORKGROUPS, Kernel, groups, op, operand, refuse, wgsl_type
from intaglio.compiler import dims
from intaglio.compiler.dims import Dim
from intaglio.compiler.elementwise import Expression
from intaglio.compiler.infer import slices
from intaglio.compiler.ir import Node, TensorType, Value

_LANES = 64
_COPY: Expression = (("Identity", "x0"),)


def _kernel(node: Node, inputs: list[Value], steps: Expression, label: str, out: Value, **consts: object) -> Kernel:
    """`steps` for each element of `out`, four at a time where they are a whole number of vec4s."""
    vec4 = out.dtype == "f32" and _whole(out.type.size)
    count = out.type.size // 4 if vec4 else out.type.size
    return _over(out.type, count, inputs, steps, label, {"out": out}, vec4=vec4, index="i", **consts)


def _into(node: Node, value: Value, target: str, label: str) -> Kernel:
    """A copy of all of `value` to where `target` says in the node's output."""
    consts = {"index": target, "vec4": False, "indices": {"x0": "i"}}
    return _over(value.type, value.type.size, [value], _COPY, label, {"out": node.output}, **consts)


def _over(
    type: TensorType, count: Dim, inputs: list[Value], steps: Expression, label: str, writes: dict[str, Value], **consts: object
) -> Kernel:
    each = -(-dims.high(count) // (MAX_WORKGROUPS * _LANES))
    consts |= {"size": wgsl.size(type.size), "each": each, "type": wgsl_type(type)}
    reads = {f"x{i}": operand(v) for i, v in enumerate(inputs)}
    vec4 = frozenset({"out"} if consts["vec4"] else ())
    grid = (groups(count, per=_LANES * each),)
    return Kernel("elementwise", reads, writes, grid, (_LANES,), consts, label, vec4, steps, type.size * len(steps))


def _whole(size: Dim) -> bool:
    """Whether so many elements are surely a number of vec4s."""
    try:
        return (size // 4) * 4 == size
    except dims.NotLinear:
        return False


@op("Elementwise")
def elementwise(node: Node) -> Kernel:
    steps = node.attrs["steps"]
    label = "_".join(["elementwise", *(s[0].lower() for s in steps)][:4])
    return _kernel(node, list(node.inputs), steps, label, node.output)


def _moved(node: Node, label: str, strides: tuple[Dim, ...], offset: Dim = 0) -> Kernel:
    """A copy whose source moves by `strides` along the axes of the output."""
    source = wgsl.affine("i", node.output.shape, strides, offset)
    return _kernel(node, [node.inputs[0]], _COPY, label, node.output, indices={"x0": source})


@op("Transpose")
def transpose(node: Node) -> Kernel:
    x = node.inputs[0]
    perm = node.attrs.get("perm") or list(range(len(x.shape)))[::-1]
    strides = wgsl.strides(x.shape)
    return _moved(node, "transpose", tuple(strides[p] for p in perm))


@op("Expand")
def expand(node: Node) -> Kernel:
    return _moved(node, "expand", wgsl.broadcast_strides(node.inputs[0].shape, node.output.shape))


@op("Slice")
def cut(node: Node) -> Kernel:
    if any(step < 0 for _, _, step in slices(node)):
        raise refuse(node, "a backward step")
    strides = wgsl.strides(node.inputs[0].shape)
    taken = slices(node)
    offset = sum((first * s for (first, _, _), s in zip(taken, strides, strict=True)), 0)
    return _moved(node, "slice", tuple(step * s for (_, _, step), s in zip(taken, strides, strict=True)), offset)


@op("Concat")
def concat(node: Node) -> list[Kernel]:
    """A copy for each input, into its part of the output."""
    axis = node.attrs["axis"] % len(node.output.shape)
    strides = wgsl.strides(node.output.shape)
    kernels, at = [], 0
    for value in node.inputs:
        target = wgsl.affine("i", value.shape, strides, at * strides[axis])
        kernels.append(_into(node, value, target, "concat"))
        at = at + value.shape[axis]
    return kernels


@op("Split")
def split(node: Node) -> list[Kernel]:
    """A copy for each output."""
    x = node.inputs[0]
    axis = node.attrs.get("axis", 0) % len(x.shape)
    strides = wgsl.strides(x.shape)
    kernels, at = [], 0
    for value in node.outputs:
        source = wgsl.affine("i", value.shape, strides, at * strides[axis])
        kernels.append(_kernel(node, [x], _COPY, "split", value, indices={"x0": source}))
        at = at + value.shape[axis]
    return kernels


@op("Write")
def write(node: Node) -> Kernel:
    """Rows into a state, from row `at` on."""
    new = node.inputs[0]
    target = wgsl.sum_of(wgsl.size(node.attrs["at"] * new.shape[-1]), "i")
    return _into(node, new, target, "write")
