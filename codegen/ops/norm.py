"""Norms and softmax, which process a row at a time and accumulate in f32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from intaglio.codegen import profiles, wgsl
from intaglio.codegen.kernel import Kernel, groups, op, operand, refuse
from intaglio.codegen.ops.linear import tail_operands
from intaglio.codegen.target import MAX_TRIPS
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value

# invocations that share a row, rows of a workgroup
_LANES = {"lanes8x4": (8, 4), "lanes64": (64, 1), "lanes256": (256, 1)}


@op("LayerNormalization", "RMSNormalization")
def norm(node: Node) -> Kernel:
    x, scale, bias = node.inputs[0], node.inputs[1], node.input(2)
    axis = node.attrs.get("axis", -1) % len(x.shape)
    rows, width = dims.product(x.shape[:axis]), dims.product(x.shape[axis:])
    if len(node.outputs) > 1:
        raise refuse(node, "the mean and the deviation as outputs are not supported")
    if not isinstance(width, int) or 3 * width > MAX_TRIPS or any(v.type.size != width for v in (scale, bias) if v):
        raise refuse(node, f"the shape of the scale {scale.type} does not match rows of {width}")
    reads = {"x": x, "gamma": operand(scale)} | ({"beta": operand(bias)} if bias is not None else {})
    consts = {
        "rows": wgsl.size(rows),
        "width": width,
        "width4": width // 4,
        "epsilon": wgsl.number(node.attrs.get("epsilon", 1e-5), "f32"),
        "beta": bias is not None,
    }
    template = "rmsnorm" if node.op == "RMSNormalization" else "layernorm"
    label, flops = f"{template}_{width}", rows * (8 * width)
    if width % 4:
        grid = (groups(rows, per=64),)
        return Kernel(f"{template}_unaligned", reads, {"y": node.output}, grid, (64,), consts, label, flops=flops)
    reads |= tail_operands(node)
    vec4 = frozenset({*reads, "y"})

    def variant(lanes: int, tile: int, subgroup: bool = False) -> dict[str, Any]:
        sharing = {"lanes": lanes, "lanes_y": 1} if subgroup else {"lanes": 1, "lanes_y": lanes}
        sizes = {"tile": tile, "subgroup": subgroup, **sharing}
        return {"grid": (groups(rows, per=tile),), "workgroup": (lanes,), "consts": sizes}

    variants = {name: variant(*sizes) for name, sizes in _LANES.items()}
    variants["subgroup"] = variant(8, 4, subgroup=True) | {"needs": ("subgroups",)}
    tail = node.tail.steps if node.tail is not None else ()
    kernel = Kernel(template, reads, {"y": node.output}, consts=consts, label=label, vec4=vec4, tail=tail, flops=flops)
    return kernel.with_variants(f"{template} {rows}x{width}", variants, profiles.norms())


@op("Softmax", "LogSoftmax")
def softmax(node: Node) -> Kernel:
    x = node.inputs[0]
    axis = node.attrs.get("axis", -1) % len(x.shape)
    length, stride = x.shape[axis], dims.product(x.shape[axis + 1 :])
    if 3 * dims.high(length) > MAX_TRIPS:
        raise refuse(node, f"rows of {length} elements need more than {MAX_TRIPS} loop iterations")
    rows = (*x.shape[:axis], *x.shape[axis + 1 :])
    steps = wgsl.strides(x.shape)
    first = wgsl.affine("i", rows, (*steps[:axis], *steps[axis + 1 :]))
    return softmax_of(x, node.output, (dims.product(rows), first), (length, stride), node.op.lower())


def softmax_of(
    x: Value, out: Value, rows: tuple[Dim, str], row: tuple[Dim, Dim], label: str, steps: Sequence[str] = ()
) -> Kernel:
    """Return a softmax or logsoftmax kernel, by its `label`.

    rows: how many there are, and where row i begins. row: how many elements it has, and their stride. steps: lines that
    change each `weight`.
    """
    (outputs, first), (length, stride) = rows, row
    consts = {"outputs": wgsl.size(outputs), "first": first, "length": wgsl.size(length), "stride": wgsl.size(stride)}
    consts |= {"log": label == "logsoftmax", "steps": steps}
    return Kernel("softmax", {"x": x}, {"out": out}, (groups(outputs, per=64),), (64,), consts, label)
