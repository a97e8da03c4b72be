"""Attention over token-major rows. Many queries keep their scores in registers; one query has a workgroup per head."""

from __future__ import annotations

from functools import partial
from typing import Any

from intaglio.codegen import profiles, wgsl
from intaglio.codegen.kernel import Kernel, groups, own, refuse
from intaglio.codegen.ops.attention_keys import by_keys, in_slices, span
from intaglio.codegen.ops.attention_steps import added, changes, in_steps, position_bias
from intaglio.codegen.ops.attention_trips import short_enough
from intaglio.codegen.target import LARGER_INVOCATIONS, LARGER_WORKGROUP_MEMORY, MAX_WORKGROUPS, WORKGROUP_MEMORY
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Attention
from intaglio.compiler.ir.values import Value
from intaglio.compiler.semantics.shapes import broadcast_strides
from intaglio.runtime.limits import WORD

_REGISTERS = 128  # vec4s of queries that an invocation keeps
_KEYS = 2  # keys that an invocation processes at a time
# invocations that share a query, keys that each processes at a time
_DECODE = {"lanes64x8": (64, 8), "lanes16x4": (16, 4), "lanes32x4": (32, 4), "lanes256x2": (256, 2)}
_GROUPS = {"group16": 16, "group64": 64}  # invocations, if a workgroup computes all heads that share their keys
_TOGETHER = 8  # up to this many heads, so that their results fit workgroup memory
_BLOCK = 2048  # up to this many weights of keys are in workgroup memory
_HEAD = 256  # the widest head
_SLICES = 16  # up to this many slices of the keys
_SLICE = 64  # the fewest keys of a slice
_RESULTS = 1 << 25  # up to this many bytes of results of slices


@own(Attention)
def attention(node: Node, of: Attention[Value]) -> Kernel | list[Kernel]:
    q = of.q
    head_dim = dims.fixed(q.shape[-1]) // of.heads
    if dims.product(q.shape[:-2]) != 1:
        raise refuse(node, f"queries {q.type} have a batch; only a batch of 1 is supported")
    rounded = bool(of.scored or of.masked or of.weighed)
    if head_dim % 4 or head_dim > _HEAD or (rounded and (of.mask is not None or q.shape[-2] == 1)):
        return in_steps(node, of)
    if rounded:
        return _many_rounded(node, of)
    return _one_query(node, of) if q.shape[-2] == 1 else _many_queries(node, of)


def _one_query(node: Node, of: Attention[Value]) -> Kernel:
    keys, heads = of.k.shape[-2], of.heads
    d4, most, together = dims.fixed(of.q.shape[-1]) // heads // 4, dims.high(keys), heads // of.kv_heads

    def variant(lanes: int, tile: int, group: int = 1, shared: int = WORKGROUP_MEMORY) -> dict[str, Any]:
        left = shared - 24 * group * lanes  # bytes, without the results of lanes
        block = min(most, _BLOCK // group, left // (4 * group))
        sizes = {"lanes": lanes, "splits": lanes // d4, "tile": tile, "group": group, "block": block}
        return {"grid": (groups(heads, per=group),), "workgroup": (lanes,), "consts": sizes}

    variants = {name: variant(*sizes) for name, sizes in _DECODE.items() if sizes[0] >= d4}
    larger = variant(LARGER_INVOCATIONS, 1, shared=LARGER_WORKGROUP_MEMORY)
    variants["lanes1024x1"] = larger | {"needs": ("larger-limits",)}
    subgroup = {"template": "attention_decode_subgroup", "needs": ("subgroups",), "workgroup": (8,)}
    variants["subgroup"] = subgroup | {"grid": (groups(heads),), "consts": {"group": 1}}
    if 1 < together <= _TOGETHER:
        tile, grid = max(1, 16 // together), (groups(heads, per=together),)
        variants |= {name: variant(lanes, tile, together) for name, lanes in _GROUPS.items() if lanes >= d4}
        variants["subgroup_group"] = subgroup | {"grid": grid, "consts": {"group": together}}
    variants |= by_keys(node, of)
    variants = short_enough(node, of, "attention_decode", variants)
    kernel = _kernel("attention_decode", node, of, {})
    return kernel.with_variants(_problem(kernel, "1"), variants, profiles.decode_attention(span(of)))


def _many_queries(node: Node, of: Attention[Value]) -> Kernel:
    rows, d4 = of.q.shape[-2], dims.fixed(of.q.shape[-1]) // of.heads // 4
    variant = partial(_queries, of)
    tile = max(1, min(8, _REGISTERS // d4))
    shared = {"template": "attention_subgroup", "needs": ("subgroups",)}
    many, few = {"queries8": variant(tile, 8, _KEYS)}, {"query32": variant(1, 32, 1)}
    variants = many | few if dims.low(rows) >= 64 and tile > 1 else few | many
    kernel = _kernel("attention", node, of, _of_rows(of))
    variants |= {"query64": variant(1, 64, _KEYS), "subgroup": variant(-(-tile // 2), 8, 1) | shared}
    slices = _tiles_of_slices(node, of)
    variants |= {"tiles128": _tiles(of, 128), "tiles256": _tiles(of, 256)} | slices
    variants = short_enough(node, of, "attention", variants)
    return kernel.with_variants(_problem(kernel, str(rows)), variants, profiles.attention(rows, *slices))


def _many_rounded(node: Node, of: Attention[Value]) -> Kernel:
    """Return a kernel for rounded scores, which computes each score twice instead of storing it."""
    rows, d4 = of.q.shape[-2], dims.fixed(of.q.shape[-1]) // of.heads // 4
    many = {"queries4": _queries(of, max(1, min(4, _REGISTERS // d4)), 8, 2)}
    few = {"query32": _queries(of, 1, 32, 1)}
    rounded = {"template": "attention_tiles_rounded"}
    tiles = {f"tiles{lanes}": _tiles(of, lanes) | rounded for lanes in (128, 256)}
    kernel = _kernel("attention_rounded", node, of, _of_rows(of) | changes(of))
    variants = (many | few if dims.low(rows) >= 64 else few | many) | tiles
    variants = short_enough(node, of, "attention_rounded", variants)
    return kernel.with_variants(_problem(kernel, str(rows)), variants, profiles.attention(rows))


def _queries(of: Attention[Value], tile: int, lanes: int, block: int) -> dict[str, Any]:
    """Return a variant in which an invocation computes `tile` queries of a head, with `block` keys at a time."""
    consts = {"tile": tile, "lanes": lanes, "block": block}
    grid = (groups(of.q.shape[-2], per=tile * lanes), groups(of.heads))
    return {"grid": grid, "workgroup": (lanes,), "consts": consts}


def _tiles(of: Attention[Value], lanes: int) -> dict[str, Any]:
    """Return a variant whose workgroups have blocks of keys and values in their memory.

    An invocation has up to 4 vec4s of a query and of its result, because that is what GPUs keep in registers.
    """
    d4 = dims.fixed(of.q.shape[-1]) // of.heads // 4
    share = 4 if d4 <= 16 else 8 if d4 <= 32 else 16
    queries, block = lanes // share, 8 if d4 <= 32 else 4
    consts = {"share": share, "columns": -(-d4 // share), "queries": queries, "block": block, "slice": None}
    grid = (groups(of.q.shape[-2], per=queries), groups(of.heads))
    return {"template": "attention_tiles", "grid": grid, "workgroup": (lanes,), "consts": consts}


def _tiles_of_slices(node: Node, of: Attention[Value]) -> dict[str, dict[str, Any]]:
    """Return a variant for few queries: tiles of slices of the keys; none if there are many queries or few keys."""
    rows, keys, tiles = of.q.shape[-2], of.k.shape[-2], _tiles(of, 128)
    count = min(_SLICES, _RESULTS // (WORD * dims.high(rows) * dims.fixed(of.q.shape[-1])))
    few = dims.low(rows) <= profiles.FEW_QUERIES and dims.high(rows) <= MAX_WORKGROUPS
    if not few or dims.high(keys) <= _SLICE or count < 2:
        return {}
    size = max(_SLICE, -(-dims.high(keys) // (count * 8)) * 8)
    grid, consts = (*tiles["grid"], groups(keys, per=size)), tiles["consts"] | {"slice": size, "heads": of.heads}
    first = tiles | {"template": "attention_tiles_slice", "grid": grid, "consts": consts}
    return {"tiles_of_slices": in_slices(node, of, first, keys, size)}


def _of_rows(of: Attention[Value]) -> dict[str, Any]:
    q, past = of.q, of.past
    return {
        "rows": wgsl.size(q.shape[-2]),
        "causal": past is not None,
        "ahead": past is not None and dims.high(past + q.shape[-2] - of.k.shape[-2]) > 0,
        "past": wgsl.size(past) if past is not None else "",
        "q_stride4": q.shape[-1] // 4,
    }


def _place(mask: Value, scores: tuple[Dim, ...]) -> str:
    """Return the element of a mask that belongs to key s of query t of a head, as WGSL text."""
    steps = zip(("head", "t", "s"), broadcast_strides(mask.shape[-3:], scores), strict=True)
    return " + ".join(f"{name} * ({wgsl.size(step)})" for name, step in steps if step != 0) or "0u"


def _problem(kernel: Kernel, rows: str) -> str:
    q, k = kernel.reads["q"].type, kernel.reads["k"].type
    width = k.shape[-1] if len(k.shape) == len(q.shape) else k.shape[-3] * k.shape[-1]
    return f"{kernel.label} {rows}x{q.shape[-1]}x{k.shape[-2]}x{width}"


def _kernel(template: str, node: Node, of: Attention[Value], consts: dict[str, Any]) -> Kernel:
    q, k, v = of.q, of.k, of.v
    head_dim = q.shape[-1] // of.heads
    consts |= position_bias(of) | {
        "d4": head_dim // 4,
        "key_step": k.shape[-1] // 4,
        "heads_per_kv": of.heads // of.kv_heads,
        "scale": wgsl.number(of.scale, "f32"),
        "keys": wgsl.size(k.shape[-2]),
        "cap": wgsl.number(of.cap, "f32") if of.cap is not None else None,
        "window": of.window,
        "mask": _place(of.mask, (of.heads, q.shape[-2], k.shape[-2])) if of.mask is not None else None,
    }
    return Kernel(
        template,
        {"q": q, "k": k, "v": v} | added(of),
        {"out": node.output},
        consts=consts,
        label=f"{template}_{head_dim}{'_bias' if of.bias is not None else ''}{'_mask' if of.mask is not None else ''}",
        vec4=frozenset({"q", "k", "v", "out"}),
        flops=q.type.size * 4,
        times=k.shape[-2],
    )
