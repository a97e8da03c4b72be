"""Attention in three kernels, scores stored: slower, for masks that are data and for heads of any width."""

from __future__ import annotations

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import MAX_TRIPS, Kernel, groups, operand, refuse
from intaglio.codegen.ops.norm import softmax_of
from intaglio.compiler import dims
from intaglio.compiler.ir import Node, TensorType, Value


def in_steps(node: Node) -> list[Kernel]:
    q, k, v = node.inputs[:3]
    mask, past, heads = node.input(3), node.attrs["past"], node.attrs["heads"]
    rows, keys = q.shape[-2], k.shape[-2]
    if 3 * dims.high(keys) > MAX_TRIPS:
        raise refuse(node, f"{keys} keys")
    stride = keys if isinstance(rows, int) or isinstance(keys, int) else dims.high(keys)
    shape = (heads, rows, stride)
    scores, weights = (Value(f"{node.output.name}.{name}", TensorType("f32", shape)) for name in ("scores", "weights"))
    consts = {
        "heads": heads,
        "heads_per_kv": heads // node.attrs["kv_heads"],
        "head_dim": q.shape[-1] // heads,
        "rows": wgsl.size(rows),
        "keys": wgsl.size(keys),
        "stride": wgsl.size(stride),
        "q_stride": q.shape[-1],
        "kv_stride": k.shape[-1],
        "cap": wgsl.number(node.attrs["cap"], "f32") if "cap" in node.attrs else None,
        "window": node.attrs.get("window"),
        "scale": wgsl.number(node.attrs["scale"], "f32"),
        "past": wgsl.size(past) if past is not None else None,
        "mask": wgsl.affine("i", shape, wgsl.broadcast_strides(mask.shape[-3:], shape)) if mask is not None else None,
    }
    reads = {"q": q, "k": k} | ({"mask": operand(mask)} if mask is not None else {})
    flops = scores.type.size * (2 * consts["head_dim"])
    out = node.output.type.size
    begin = wgsl.affine("i", (heads * rows,), (stride,))
    return [
        _kernel("attention_scores", reads, {"scores": scores}, scores.type.size, consts, flops),
        softmax_of(scores, weights, (heads * rows, begin), (keys, 1), "softmax"),
        _kernel("attention_values", {"weights": weights, "v": v}, {"out": node.output}, out, consts, flops),
    ]


def _kernel(template: str, reads: dict, writes: dict, size: dims.Dim, consts: dict, flops: dims.Dim) -> Kernel:
    consts = consts | {"size": wgsl.size(size)}
    return Kernel(template, reads, writes, (groups(size, per=64),), (64,), consts, template, flops=flops)
