"""Reductions: along one axis, or along neighbouring axes, which are one."""

from __future__ import annotations

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import MAX_TRIPS, Kernel, groups, op, refuse
from intaglio.compiler import dims
from intaglio.compiler.ir import Node

# operator: the value to begin with, how one more element combines, what is done at the end
_KINDS = {
    "ReduceSum": ("0.0", "sum + value", "sum"),
    "ReduceMean": ("0.0", "sum + value", "sum / f32({length})"),
    "ReduceMax": ("-3.4028234663852886e38", "max(sum, value)", "sum"),
    "ReduceMin": ("3.4028234663852886e38", "min(sum, value)", "sum"),
    "ReduceProd": ("1.0", "sum * value", "sum"),
    "ReduceSumSquare": ("0.0", "sum + value * value", "sum"),
    "ReduceL1": ("0.0", "sum + abs(value)", "sum"),
    "ReduceL2": ("0.0", "sum + value * value", "sqrt(sum)"),
}


@op(*_KINDS)
def reduce(node: Node) -> Kernel:
    x = node.inputs[0]
    rank = len(x.shape)
    if x.dtype != "f32":
        raise refuse(node, f"elements of type {x.dtype}")
    if node.input(1) is not None:
        if node.inputs[1].const is None:
            raise refuse(node, "axes that are computed at run time")
        axes = sorted(int(a) % rank for a in node.inputs[1].const.reshape(-1))
    else:
        axes = []
    axes = axes or list(range(rank))
    if axes != list(range(axes[0], axes[-1] + 1)):
        raise refuse(node, f"the axes {axes}, which are no neighbours")
    length, stride = dims.product(x.shape[axes[0] : axes[-1] + 1]), dims.product(x.shape[axes[-1] + 1 :])
    if dims.high(length) > MAX_TRIPS:
        raise refuse(node, f"{length} elements for one result")
    outputs = dims.product(x.shape[: axes[0]]) * stride
    start, combine, finish = _KINDS[node.op]
    consts = {
        "outputs": wgsl.size(outputs),
        "length": wgsl.size(length),
        "stride": wgsl.size(stride),
        "start": start,
        "combine": combine,
        "finish": finish.format(length=wgsl.size(length)),
    }
    return Kernel("reduce", {"x": x}, {"out": node.output}, (groups(outputs, per=64),), (64,), consts, node.op.lower())
