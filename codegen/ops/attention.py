"""Attention over token-major rows: many queries with scores in registers, or one query with a workgroup per head."""

from __future__ import annotations

from typing import Any

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import MAX_TRIPS, Kernel, groups, op, refuse
from intaglio.codegen.ops.attention_steps import in_steps
from intaglio.compiler import dims
from intaglio.compiler.ir import Node

_REGISTERS = 128  # vec4s of queries that an invocation keeps
_KEYS = 4  # keys that are taken in at a time
_DECODE = ((64, 8), (16, 4), (32, 4), (256, 2))  # invocations that share a query, keys that each takes in at a time
_LANES = 64  # the most vec4s of a head
_SHARED = 16_384  # bytes of workgroup memory


@op("Attention")
def attention(node: Node) -> Kernel | list[Kernel]:
    q, k = node.inputs[:2]
    keys, head_dim = k.shape[-2], q.shape[-1] // node.attrs["heads"]
    if dims.product(q.shape[:-2]) != 1:
        raise refuse(node, f"a batch of queries {q.type}")
    changed = any(name in node.attrs for name in ("scored", "masked", "weighed"))
    if node.input(3) is not None or head_dim % 4 or head_dim > 4 * _LANES or changed:
        return in_steps(node)
    if dims.high(keys) > MAX_TRIPS:
        raise refuse(node, f"{keys} keys")
    one = q.shape[-2] == 1 and _shared(dims.high(keys), _LANES) <= _SHARED
    return _one_query(node) if one else _many_queries(node)


def _one_query(node: Node) -> Kernel:
    keys, d4 = node.inputs[1].shape[-2], node.inputs[0].shape[-1] // node.attrs["heads"] // 4

    def design(lanes: int, tile: int) -> dict[str, Any]:
        consts = {"lanes": lanes, "splits": lanes // d4, "tile": tile}
        return {"grid": (groups(node.attrs["heads"]),), "workgroup": (lanes,), "consts": consts}

    most = dims.high(keys)
    fitting = [(n, tile) for n, tile in _DECODE if n >= d4 and _shared(most, n) <= _SHARED]
    designs = {f"lanes{lanes}x{tile}": design(lanes, tile) for lanes, tile in fitting}
    kernel = _kernel("attention_decode", node, {"max_keys": most})
    return kernel.designed(_case(kernel, "1"), designs)


def _shared(keys: int, lanes: int) -> int:
    """Bytes of workgroup memory that a query with so many keys takes."""
    return 4 * keys + 24 * lanes


def _many_queries(node: Node) -> Kernel:
    q, heads, past = node.inputs[0], node.attrs["heads"], node.attrs["past"]
    rows, d4 = q.shape[-2], q.shape[-1] // heads // 4

    def design(tile: int, lanes: int, block: int) -> dict[str, Any]:
        consts = {"tile": tile, "lanes": lanes, "block": block}
        return {"grid": (groups(rows, per=tile * lanes), groups(heads)), "workgroup": (lanes,), "consts": consts}

    tile = max(1, min(8, _REGISTERS // d4))
    shared = {"template": "attention_subgroup", "needs": ("subgroups",)}
    many, few = {"queries8": design(tile, 8, _KEYS)}, {"query32": design(1, 32, 1)}
    designs = many | few if dims.low(rows) >= 64 and tile > 1 else few | many
    consts = {
        "rows": wgsl.size(rows),
        "causal": past is not None,
        "past": wgsl.size(past) if past is not None else "",
        "q_stride4": q.shape[-1] // 4,
    }
    kernel = _kernel("attention", node, consts)
    designs |= {"query64": design(1, 64, _KEYS), "subgroup": design(-(-tile // 2), 8, _KEYS) | shared}
    return kernel.designed(_case(kernel, str(rows)), designs)


def _case(kernel: Kernel, rows: str) -> str:
    q, k = kernel.reads["q"].type, kernel.reads["k"].type
    return f"{kernel.label} {rows}x{q.shape[-1]}x{k.shape[-2]}x{k.shape[-1]}"


def _kernel(template: str, node: Node, consts: dict[str, Any]) -> Kernel:
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
        consts=consts,
        label=f"{template}_{head_dim}",
        vec4=frozenset({"q", "k", "v", "out"}),
        flops=q.type.size * 4,
        times=k.shape[-2],
    )
