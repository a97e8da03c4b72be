"""Attention over token-major rows: many queries with scores in registers, or one query with a workgroup per head."""

from __future__ import annotations

from typing import Any

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import MAX_TRIPS, Groups, Kernel, groups, op, refuse
from intaglio.codegen.ops.attention_steps import in_steps
from intaglio.compiler import dims
from intaglio.compiler.ir import Node

_REGISTERS = 128  # vec4s of queries that an invocation keeps
_KEYS = 4  # keys that are taken in at a time
_DECODE_LANES = 64
_MAX_SHARED = 3072  # keys whose weights fit workgroup memory


@op("Attention")
def attention(node: Node) -> Kernel | list[Kernel]:
    q, k = node.inputs[:2]
    keys, head_dim = k.shape[-2], q.shape[-1] // node.attrs["heads"]
    if dims.product(q.shape[:-2]) != 1:
        raise refuse(node, f"a batch of queries {q.type}")
    if node.input(3) is not None or head_dim % 4 or head_dim > 4 * _DECODE_LANES:
        return in_steps(node)
    if dims.high(keys) > MAX_TRIPS:
        raise refuse(node, f"{keys} keys")
    return _one_query(node) if q.shape[-2] == 1 and dims.high(keys) <= _MAX_SHARED else _many_queries(node)


def _one_query(node: Node) -> Kernel:
    keys, d4 = node.inputs[1].shape[-2], node.inputs[0].shape[-1] // node.attrs["heads"] // 4
    consts = {"max_keys": dims.high(keys), "lanes": _DECODE_LANES, "splits": _DECODE_LANES // d4, "tile": 8}
    return _kernel("attention_decode", node, (groups(node.attrs["heads"]),), _DECODE_LANES, consts)


def _many_queries(node: Node) -> Kernel:
    q, heads, past = node.inputs[0], node.attrs["heads"], node.attrs["past"]
    rows, d4 = q.shape[-2], q.shape[-1] // heads // 4
    tile = max(1, min(8, _REGISTERS // d4)) if dims.low(rows) >= 64 else 1
    lanes = 8 if tile > 1 else 32
    consts = {
        "rows": wgsl.size(rows),
        "causal": past is not None,
        "past": wgsl.size(past) if past is not None else "",
        "q_stride4": q.shape[-1] // 4,
        "tile": tile,
        "block": _KEYS if tile > 1 else 1,
        "lanes": lanes,
    }
    return _kernel("attention", node, (groups(rows, per=tile * lanes), groups(heads)), lanes, consts)


def _kernel(template: str, node: Node, grid: tuple[Groups, ...], lanes: int, consts: dict[str, Any]) -> Kernel:
    q, k, v = node.inputs[:3]
    heads, kv_heads = node.attrs["heads"], node.attrs["kv_heads"]
    head_dim = q.shape[-1] // heads
    consts |= {
        "d4": head_dim // 4,
        "kv_stride4": k.shape[-1] // 4,
        "heads_per_kv": heads // kv_heads,
        "scale": wgsl.number(node.attrs["scale"], "f32"),
        "keys": wgsl.size(k.shape[-2]),
        "cap": wgsl.number(node.attrs["cap"], "f32") if "cap" in node.attrs else None,
        "window": node.attrs.get("window"),
    }
    return Kernel(
        template,
        {"q": q, "k": k, "v": v},
        {"out": node.output},
        grid,
        (lanes,),
        consts,
        f"{template}_{head_dim}",
        frozenset({"q", "k", "v", "out"}),
        flops=q.type.size * 4,
        times=k.shape[-2],
    )
