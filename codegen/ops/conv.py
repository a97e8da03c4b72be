"""Convolutions over any number of axes. An invocation computes a few channels of neighbouring results, so that it uses
each number that it reads of the weight and the input several times.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from intaglio.codegen import profiles, titles, wgsl
from intaglio.codegen.kernel import Groups, Kernel, Operand, Weight, op, operand, refuse, wgsl_type
from intaglio.codegen.ops.elementwise import moved
from intaglio.codegen.ops.linear import tail_operands
from intaglio.codegen.target import MAX_TRIPS, MAX_WORKGROUPS
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import TensorType, Value, type_of
from intaglio.compiler.semantics.evaluate import concrete
from intaglio.compiler.semantics.windows import Window, windows

_DEEP = 4  # channels of a packed weight that lie side by side
_LANES = 64
_UNROLLED = 7  # up to this many taps along the last axis, neighbouring results share what they read
# neighbouring results and channels of an invocation; the first is fast on every adapter
_TILES = ((4, 16), (8, 16), (4, 8), (8, 8), (2, 8), (1, 8))
_WIDE = (8, 4, 2, 1)  # results of an invocation that has fewer channels
# variants in which a workgroup shares what it reads: its invocations along results and channels, the results and
# channels of each, and taps at a time
_SHARED = {
    "tiles32": ((32, 8), (4, 4), 16),
    "tiles64": ((16, 16), (4, 4), 16),
    "tiles128": ((16, 16), (8, 8), 8),
}


@op("Conv", "ConvTranspose")
def convolve(node: Node) -> list[Kernel]:
    x, weight, bias = node.inputs[0], node.inputs[1], node.input(2)
    slid, group = windows(node), node.attrs.get("group", 1)
    channels = node.output.shape[1]
    c, each, taps = x.shape[1] // group, channels // group, int(np.prod([w.kernel for w in slid]))
    if trips(c, slid) > MAX_TRIPS:
        raise refuse(node, f"{c} channels times {taps} taps need more than {MAX_TRIPS} loop iterations")
    scalar = wgsl_type(node.output.type)
    packable = weight.const is not None and scalar == "f32" and each > 1 and (group == 1 or each % _DEEP == 0)
    deep = _DEEP if packable else 1
    tiles = _tiles(node, slid[-1].count, deep)
    variants = _variants(node, slid, tiles, deep)
    if not variants:
        raise refuse(node, f"its output {node.output.type} needs too many workgroups")
    before, packed = _weight(node, deep, max(high for _, high in tiles))
    tail = tail_operands(node)
    reads = {"x": operand(x), "w": packed} | ({"bias": operand(bias)} if bias is not None else {}) | tail
    transposed = node.op == "ConvTranspose"
    consts = {
        "title": f"{'Transposed convolution' if transposed else 'Convolution'} of {_described(slid, group)}",
        "transposed": transposed,
        "deep": deep,
        "channels": channels,
        "each": each,
        "c": c,
        "c_all": x.shape[1],
        "taps": taps,
        "width": wgsl.size(slid[-1].count),
        "size": wgsl.size(dims.product(node.output.shape[2:])),
        "plane": wgsl.size(dims.product(x.shape[2:])),
        "bias": bias is not None,
        "scalar": scalar,
        "vector": "vec4f" if deep > 1 else scalar,
        "indices": {name: "n" for name, value in tail.items() if _by_channel(value, node.output)},
    }
    label = f"{'conv_transpose' if transposed else 'conv'}{len(slid)}d_{'x'.join(str(w.kernel) for w in slid)}"
    kernel = Kernel(
        "conv",
        reads,
        {"out": node.output},
        consts=consts,
        label=label,
        vec4=frozenset({"w"} if deep > 1 else ()),
        tail=node.tail.steps if node.tail is not None else (),
        flops=node.output.type.size * (2 * c * taps),
    )
    return [
        *before,
        kernel.with_variants(f"{label}{_kind(slid, group)} {_sizes(node)}", variants, profiles.convolutions()),
    ]


def _described(slid: list[Window], group: int) -> str:
    """Describe the windows: 3x3 windows, stride 2, 4 groups."""
    strides, dilations = ([getattr(w, name) for w in slid] for name in ("stride", "dilation"))
    text = f"{titles.sizes(w.kernel for w in slid)} windows"
    text += f", stride {titles.sizes(strides)}" if max(strides) > 1 else ""
    text += f", dilation {titles.sizes(dilations)}" if max(dilations) > 1 else ""
    return text + (f", {group} groups" if group > 1 else "")


def _kind(slid: list[Window], group: int) -> str:
    """Return the part of a family's name that gives the strides and the groups."""
    strides = f"_by{'x'.join(str(w.stride) for w in slid)}" if any(w.stride > 1 for w in slid) else ""
    return strides + (f"_{group}groups" if group > 1 else "")


def _sizes(node: Node) -> str:
    return "x".join(map(str, (node.inputs[0].shape[1], *node.output.shape[2:], node.output.shape[1])))


def _tiles(node: Node, width: Dim, deep: int) -> list[tuple[int, int]]:
    """Return the tiles that suit the sizes. They are one result wide if the width is dynamic."""
    reach = width if isinstance(width, int) else 1
    tiles = _TILES if deep > 1 and _fits(node, 8) else [(wide, deep) for wide in _WIDE]
    return [(wide, high) for wide, high in tiles if wide < 2 * reach and _fits(node, high)]


def _variants(node: Node, slid: list[Window], tiles: list[tuple[int, int]], deep: int) -> dict[str, dict[str, Any]]:
    """Return the variants whose grids are within WebGPU's limit of workgroups."""
    variants = {f"wide{wide}x{high}": _run(node, slid, wide, high, deep) for wide, high in tiles}
    results = dims.high(dims.product(node.output.shape[2:]))
    for name, (lanes, (wide, high), step) in _SHARED.items():
        if deep > 1 and _fits(node, lanes[1] * high) and results > lanes[0] * wide // 2:
            variants[name] = _shared(node, slid, lanes, (wide, high), step)
    return {name: d for name, d in variants.items() if all(g.at(dims.high) <= MAX_WORKGROUPS for g in d["grid"])}


def _fits(node: Node, high: int) -> bool:
    """Return whether each tile of `high` channels lies in one group, and is mostly not padding."""
    group = node.attrs.get("group", 1)
    each = node.output.shape[1] // group
    return high <= _DEEP or each % high == 0 or (group == 1 and each > high // 2)


def _run(node: Node, slid: list[Window], wide: int, high: int, deep: int) -> dict[str, Any]:
    """Return a variant in which each invocation computes `wide` results along the last axis, in `high` channels."""
    batch, channels, *spatial = node.output.shape
    wide = min(wide, dims.high(spatial[-1])) if wide > 1 else 1
    places = (*spatial[:-1], -(-spatial[-1] // wide))
    tiles, last = -(-dims.fixed(channels) // high), len(slid) - 1
    # if each invocation computes one result and there are enough results, a workgroup of one row reads neighbours
    alone = wide == 1 and dims.high(dims.product(places)) >= _LANES
    rows = 1 if alone else min(8, 1 << (tiles - 1).bit_length())
    unrolled = slid[-1].kernel if slid[-1].kernel <= _UNROLLED else 1
    consts = {
        "wide": wide,
        "vectors": high // deep,
        "span": high,
        "places": wgsl.size(dims.product(places)),
        "tiles": tiles,
        "axes": _axes(node, slid, places, wide),
        "at": wgsl.affine("place", places, (*(s for s in wgsl.strides(tuple(spatial))[:-1]), wide)),
        "moving": [i for i, w in enumerate(slid) if w.kernel > (unrolled if i == last else 1)],
        **_columns(slid[-1], wide, unrolled, node.op == "ConvTranspose"),
    }
    grid = (Groups(places, _LANES // rows), Groups((tiles,), rows), Groups((batch,)))
    return {"grid": grid, "workgroup": (_LANES // rows, rows), "consts": consts}


def _columns(last: Window, wide: int, unrolled: int, transposed: bool) -> dict[str, Any]:
    """Return what `wide` results read along the last axis at the unrolled taps, each column once.

    `columns` has a result and a tap that read each column. `uses` has for each tap the column that each result reads.
    """

    def place(i: int, k: int) -> int:
        return i - k * last.dilation if transposed else i * last.stride + k * last.dilation

    if unrolled < last.kernel:
        return {"columns": [(i, None) for i in range(wide)], "uses": [list(range(wide))]}
    columns = {place(i, k): (i, k) for k in range(unrolled) for i in range(wide)}
    order = sorted(columns)
    uses = [[order.index(place(i, k)) for i in range(wide)] for k in range(unrolled)]
    return {"columns": [columns[at] for at in order], "uses": uses}


def _shared(node: Node, slid: list[Window], lanes: tuple[int, int], tile: tuple[int, int], step: int) -> dict[str, Any]:
    """Return a variant in which a workgroup shares what it reads, `step` taps at a time.

    The workgroup has `lanes` invocations along results and channels, and each computes a `tile` of them.
    """
    batch, channels, *spatial = node.output.shape
    (along, rows), (wide, high) = lanes, tile
    results, span = along * wide, rows * high
    consts = {
        "wide": wide,
        "vectors": high // _DEEP,
        "span": span,
        "results": results,
        "step": step,
        "axes": _axes(node, slid, tuple(spatial), 1),
    }
    grid = (Groups((dims.product(tuple(spatial)),), results), Groups((channels,), span), Groups((batch,)))
    return {"template": "conv_tiles", "grid": grid, "workgroup": lanes, "consts": consts}


def _by_channel(operand: Operand, out: Value) -> bool:
    """Return whether the operand has one number for each channel of the result."""
    channels, *rest = operand.type.shape[-len(out.shape) + 1 :]
    return operand.type.size == channels and dims.low(channels) > 1 and len(rest) == len(out.shape) - 2


def trips(channels: int, slid: list[Window]) -> int:
    """Return the number of loop iterations for one result, including those of outer loops."""
    trips = 1
    for window in reversed(slid):
        trips = window.kernel * (trips + 1)
    return channels * (trips + 1)


def _axes(node: Node, slid: list[Window], places: tuple[Dim, ...], wide: int) -> list[dict[str, Any]]:
    """Return for each axis its window, the first result of `place`, the axis's part of `tap`, and the stride in x."""
    firsts = wgsl.coordinates("place", places)
    taps = wgsl.coordinates("tap", tuple(w.kernel for w in slid))
    steps = wgsl.strides(node.inputs[0].shape[2:])
    result = []
    for i, (window, first, step, at) in enumerate(zip(slid, firsts, steps, taps, strict=True)):
        factor = wide if i == len(slid) - 1 else 1
        o = f"({first}) * {factor}u" if factor > 1 and " " in first else f"{first} * {factor}u" if factor > 1 else first
        result.append(tap(window) | {"o": o, "step": wgsl.size(step), "tap": at})
    return result


def tap(window: Window) -> dict[str, Any]:
    """Return the parameters of a window for the template lib/window."""
    names = ("kernel", "stride", "dilation")
    before = window.before if isinstance(window.before, int) else f"i32({wgsl.size(window.before)})"
    return {name: getattr(window, name) for name in names} | {"before": before, "size": wgsl.size(window.size)}


def _weight(node: Node, deep: int, high: int) -> tuple[list[Kernel], Operand]:
    """Return the weight as [out / deep, in / group, taps, deep], and the kernels that must run first to pack it.

    Zeros pad the channels of a constant weight to a multiple of `high`.
    """
    weight, group = node.inputs[1], node.attrs.get("group", 1)
    c, each = (dims.fixed(v.shape[1]) // group for v in (node.inputs[0], node.output))
    shape = (group, c, each, math.prod(map(dims.fixed, weight.shape[2:])))
    if weight.const is not None:
        rows = concrete(weight, {})  # a weight in few bits becomes f32
        rows = rows.reshape(shape).swapaxes(1, 2) if node.op == "ConvTranspose" else rows
        rows = rows.reshape(group * each, c, shape[3])
        rows = np.pad(rows, [(0, -len(rows) % high), (0, 0), (0, 0)]).reshape(-1, deep, c, shape[3])
        packed = np.ascontiguousarray(rows.transpose(0, 2, 3, 1))
        return [], Weight(Value(weight.name, type_of(packed), packed))
    if node.op == "Conv":
        return [], weight
    own = Value(f"{weight.name}.packed", TensorType(weight.dtype, (group, each, c, shape[3])))
    steps = wgsl.strides(shape)
    return [moved(weight, own, "transpose", (steps[0], steps[2], steps[1], steps[3]))], own
