"""Convolutions over any number of axes: an invocation computes a few channels of neighbouring results, so that what it
reads of the weight and of the input serves several times.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import MAX_TRIPS, Kernel, Operand, Weight, groups, op, operand, refuse, wgsl_type
from intaglio.codegen.ops.elementwise import moved
from intaglio.codegen.ops.linear import tail_operands
from intaglio.compiler import dims
from intaglio.compiler.dims import Dim
from intaglio.compiler.ir import Node, TensorType, Value, type_of
from intaglio.compiler.windows import Window, windows

_WIDE, _DEEP = 4, 4
_LANES = 64


@op("Conv", "ConvTranspose")
def convolve(node: Node) -> list[Kernel]:
    x, weight, bias = node.inputs[0], node.inputs[1], node.input(2)
    slid, group = windows(node), node.attrs.get("group", 1)
    channels, size = node.output.shape[1], dims.product(node.output.shape[2:])
    c, each, taps = x.shape[1] // group, channels // group, int(np.prod([w.kernel for w in slid]))
    if trips(c, slid) > MAX_TRIPS:
        raise refuse(node, f"{c} channels and {taps} taps for one result")
    scalar = wgsl_type(node.output.type)
    packable = weight.const is not None and scalar == "f32" and each > 1 and (group == 1 or each % _DEEP == 0)
    deep = _DEEP if packable else 1
    vectors = 2 if deep > 1 and (each % 8 == 0 or (group == 1 and each > 4)) else 1
    width = slid[-1].count
    wide = min(_WIDE, width) if isinstance(width, int) else 1
    places = (*node.output.shape[2:-1], -(-width // wide))
    before, packed = _weight(node, deep, vectors)
    reads = {"x": operand(x), "w": packed} | ({"bias": operand(bias)} if bias is not None else {})
    tail = tail_operands(node)
    consts = {
        "indices": {name: "n" for name, value in tail.items() if _by_channel(value, node.output)},
        "wide": wide,
        "deep": deep,
        "vectors": vectors,
        "places": wgsl.size(dims.product(places)),
        "tiles": -(-channels // (deep * vectors)),
        "tiles_each": -(-each // (deep * vectors)),
        "channels": channels,
        "c": c,
        "c_all": x.shape[1],
        "taps": taps,
        "width": wgsl.size(width),
        "size": wgsl.size(size),
        "plane": wgsl.size(dims.product(x.shape[2:])),
        "bias": bias is not None,
        "scalar": scalar,
        "vector": "vec4f" if deep > 1 else scalar,
        "moving": [i for i, w in enumerate(slid) if w.kernel > 1],
        "axes": _axes(node, slid, places, wide),
        "at": wgsl.affine("place", places, (*(s for s in wgsl.strides(node.output.shape[2:])[:-1]), wide)),
    }
    rows = min(8, 1 << (consts["tiles"] - 1).bit_length())
    grid = (groups(*places, per=_LANES // rows), groups(consts["tiles"], per=rows), groups(x.shape[0]))
    template = "conv" if node.op == "Conv" else "conv_transpose"
    label = f"{template}{len(slid)}d_{'x'.join(str(w.kernel) for w in slid)}"
    vec4 = frozenset({"w"} if deep > 1 else ())
    flops = node.output.type.size * (2 * c * taps)
    workgroup = (_LANES // rows, rows)
    kernel = Kernel(template, reads | tail, {"out": node.output}, grid, workgroup, consts, label, vec4, flops=flops)
    return [*before, replace(kernel, tail=node.attrs.get("tail", ()))]


def _by_channel(operand: Operand, out: Value) -> bool:
    """Whether the operand has a number for each channel of the result."""
    channels, *rest = operand.type.shape[-len(out.shape) + 1 :]
    return operand.type.size == channels > 1 and len(rest) == len(out.shape) - 2


def trips(channels: int, slid: list[Window]) -> int:
    """Loop iterations for one result, those of outer loops counted too."""
    trips = 1
    for window in reversed(slid):
        trips = window.kernel * (trips + 1)
    return channels * (trips + 1)


def _axes(node: Node, slid: list[Window], places: tuple[Dim, ...], wide: int) -> list[dict[str, Any]]:
    """For each axis its window, where `place` begins, and how far its elements are apart in x."""
    firsts = wgsl.coordinates("place", places)
    steps = wgsl.strides(node.inputs[0].shape[2:])
    result = []
    for i, (window, first, step) in enumerate(zip(slid, firsts, steps, strict=True)):
        factor = wide if i == len(slid) - 1 else 1
        o = f"({first}) * {factor}u" if factor > 1 and " " in first else f"{first} * {factor}u" if factor > 1 else first
        result.append(tap(window) | {"o": o, "step": wgsl.size(step)})
    return result


def tap(window: Window) -> dict[str, Any]:
    """A window as lib/window wants it."""
    names = ("kernel", "stride", "dilation", "before")
    return {name: getattr(window, name) for name in names} | {"size": wgsl.size(window.size)}


def _weight(node: Node, deep: int, vectors: int) -> tuple[list[Kernel], Operand]:
    """The weight as [out / deep, in / group, taps, deep], and what must run first to bring it there."""
    weight, group = node.inputs[1], node.attrs.get("group", 1)
    c, each = node.inputs[0].shape[1] // group, node.output.shape[1] // group
    shape = (group, c, each, int(np.prod(weight.shape[2:])))
    if weight.const is not None:
        rows = weight.const
        rows = rows.reshape(shape).swapaxes(1, 2) if node.op == "ConvTranspose" else rows
        rows = rows.reshape(group * each, c, shape[3])
        rows = np.pad(rows, [(0, -len(rows) % (deep * vectors)), (0, 0), (0, 0)]).reshape(-1, deep, c, shape[3])
        packed = np.ascontiguousarray(rows.transpose(0, 2, 3, 1))
        return [], Weight(Value(weight.name, type_of(packed), packed))
    if node.op == "Conv":
        return [], weight
    own = Value(f"{weight.name}.packed", TensorType(weight.dtype, (group, each, c, shape[3])))
    steps = wgsl.strides(shape)
    return [moved(weight, own, "transpose", (steps[0], steps[2], steps[1], steps[3]))], own
