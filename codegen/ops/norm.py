"""Norms and softmax: a row at a time, accumulated in f32."""

from __future__ import annotations

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import MAX_TRIPS, Kernel, groups, op, operand, refuse, rows_of
from intaglio.compiler import dims
from intaglio.compiler.ir import Node

_TILE = 4  # rows per workgroup


@op("LayerNormalization")
def layer_norm(node: Node) -> Kernel:
    x, scale, bias = node.inputs[0], node.inputs[1], node.input(2)
    width, rows = x.shape[-1], rows_of(x.shape)
    if node.attrs.get("axis", -1) % len(x.shape) != len(x.shape) - 1 or len(node.outputs) > 1:
        raise refuse(node, "only the last axis, without mean and deviation as outputs")
    if not isinstance(width, int) or width % 4:
        raise refuse(node, f"a width of {width}, which is no multiple of 4")
    reads = {"x": x, "gamma": operand(scale)} | ({"beta": operand(bias)} if bias is not None else {})
    consts = {
        "rows": wgsl.size(rows),
        "width": width,
        "width4": width // 4,
        "epsilon": wgsl.number(node.attrs.get("epsilon", 1e-5), "f32"),
        "beta": bias is not None,
        "tile": _TILE,
    }
    vec4 = frozenset({"x", "gamma", "beta", "y"})
    grid = (groups(rows, per=_TILE),)
    return Kernel(
        "layernorm", reads, {"y": node.output}, grid, (8,), consts, f"layernorm_{width}", vec4, (), rows * (8 * width)
    )


@op("Softmax")
def softmax(node: Node) -> Kernel:
    x = node.inputs[0]
    axis = node.attrs.get("axis", -1) % len(x.shape)
    length, stride = x.shape[axis], dims.product(x.shape[axis + 1 :])
    if 3 * dims.high(length) > MAX_TRIPS:
        raise refuse(node, f"{length} elements in a row")
    outputs = dims.product(x.shape[:axis]) * stride
    consts = {"outputs": wgsl.size(outputs), "length": wgsl.size(length), "stride": wgsl.size(stride)}
    return Kernel("softmax", {"x": x}, {"out": node.output}, (groups(outputs, per=64),), (64,), consts, "softmax")
