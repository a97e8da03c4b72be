"""Attention over token-major rows: many queries with scores in registers, or one query with a workgroup per head."""

from __future__ import annotations

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import MAX_TRIPS, Kernel, groups, op, refuse
from intaglio.codegen.ops.attention_steps import in_steps
from intaglio.compiler import dims
from intaglio.compiler.ir import Node

_REGISTERS = 128  # vec4s of queries that an invocation keeps
_KEYS = 2  # keys that are taken in at a time
_DECODE_LANES = 64
_MAX_SHARED = 3072  # keys whose weights fit workgroup memory


@op("Attention")
def attention(node: Node) -> Kernel | list[Kernel]:
    q, k, v = node.inputs[:3]
    heads, kv_heads, past = node.attrs["heads"], node.attrs["kv_heads"], node.attrs["past"]
    rows, keys = q.shape[-2], k.shape[-2]
    head_dim = q.shape[-1] // heads
    if dims.product(q.shape[:-2]) != 1:
        raise refuse(node, f"a batch of queries {q.type}")
    if node.input(3) is not None or head_dim % 4 or head_dim > 4 * _DECODE_LANES:
        return in_steps(node)
    if dims.high(keys) > MAX_TRIPS:
        raise refuse(node, f"{keys} keys")
    consts = {
        "d4": head_dim // 4,
        "kv_stride4": kv_heads * head_dim // 4,
        "heads_per_kv": heads // kv_heads,
        "scale": wgsl.number(node.attrs["scale"], "f32"),
        "keys": wgsl.size(keys),
    }
    flops = 4 * heads * head_dim * (keys if isinstance(rows, int) else rows * dims.high(keys))
    flops = flops * rows if isinstance(rows, int) else flops
    shared = ({"q": q, "k": k, "v": v}, {"out": node.output})
    vec4 = frozenset({"q", "k", "v", "out"})
    if rows == 1 and dims.high(keys) <= _MAX_SHARED:
        consts |= {
            "max_keys": _capacity(keys),
            "lanes": _DECODE_LANES,
            "splits": _DECODE_LANES // (head_dim // 4),
            "tile": 8,
        }
        grid, workgroup = (groups(heads),), (_DECODE_LANES,)
        return Kernel(
            "attention_decode", *shared, grid, workgroup, consts, f"attention_decode_{head_dim}", vec4, (), flops
        )
    tile = max(1, min(8, _REGISTERS // (head_dim // 4))) if dims.low(rows) >= 64 else 1
    lanes = 8 if tile > 1 else 32
    consts |= {
        "rows": wgsl.size(rows),
        "causal": past is not None,
        "past": wgsl.size(past) if past is not None else "",
        "q_stride4": heads * head_dim // 4,
        "tile": tile,
        "block": _KEYS if tile > 1 else 1,
        "lanes": lanes,
    }
    grid = (groups(rows, per=tile * lanes), groups(heads))
    return Kernel("attention", *shared, grid, (lanes,), consts, f"attention_{head_dim}", vec4, (), flops)


def _capacity(keys: dims.Dim) -> int:
    """The largest number of keys that can occur: the symbols' ranges allow for it, the cache may hold fewer."""
    return dims.high(keys)
