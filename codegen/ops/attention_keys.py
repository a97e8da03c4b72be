"""Attention of one query for GPUs, whose lanes read neighbouring vec4s of keys; and slices of the keys.

Each workgroup may have a slice (flash-decoding). Then a second dispatch merges the results of the slices.
"""

from __future__ import annotations

from typing import Any

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import Kernel, groups
from intaglio.codegen.target import MAX_BINDING, WORKGROUP_MEMORY
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Attention
from intaglio.compiler.ir.values import TensorType, Value
from intaglio.runtime.limits import WORD

_TOGETHER = 4  # heads with the same keys that a workgroup computes, so that their sums stay in registers
_MEMORY_OF_LANE = 85  # bytes of workgroup memory, so that AMD's 128 KB serve 1,536 lanes at a time
_SLICE_LANES = 128


def by_keys(node: Node, of: Attention[Value]) -> dict[str, dict[str, Any]]:
    """Return the variants by name; those with slices only if there can be several."""
    slices = {f"slices{size}": _slices(node, of, size) for size in (64, 256) if _several(of, size)}
    return {f"keys{lanes}": _keys(of, lanes, None) for lanes in (128, 256)} | slices


def span(of: Attention[Value]) -> Dim:
    """Return how many keys the query sees: fewer only at the start, if there is a window."""
    keys = of.k.shape[-2]
    return of.window if of.window is not None and of.window < dims.high(keys) else keys


def _keys(of: Attention[Value], lanes: int, size: int | None) -> dict[str, Any]:
    """Return a variant whose workgroups have `lanes` invocations, and `size` keys each, or all if it is None."""
    bytes = 16 * (lanes + _d4(of)) + WORD * (lanes // 8 + 1)  # of workgroup memory for each head
    most = min(_TOGETHER, min(WORKGROUP_MEMORY, _MEMORY_OF_LANE * lanes) // bytes)
    shared = of.heads // of.kv_heads
    parts = -(-shared // most)  # workgroups for the heads that have the same keys
    grid = (groups(of.kv_heads, parts), *([groups(span(of), per=size)] if size is not None else []))
    consts = {"group": -(-shared // parts), "parts": parts, "heads": of.heads, "slice": size}
    return {"template": "attention_keys", "grid": grid, "workgroup": (lanes,), "consts": consts}


def _slices(node: Node, of: Attention[Value], size: int) -> dict[str, Any]:
    """Return a variant of two dispatches, of which the first has a workgroup for every `size` keys."""
    return in_slices(node, of, _keys(of, _SLICE_LANES, size), span(of), size)


def in_slices(node: Node, of: Attention[Value], variant: dict[str, Any], keys: Dim, size: int) -> dict[str, Any]:
    """Return a variant with a second dispatch, which merges what the first one makes of each `size` of the keys."""
    heads = dims.high(of.q.shape[-2]) * of.heads
    results = Value(f"{node.output.name}.results", TensorType("f32", (_most(keys, size) * heads, 4 * _d4(of))))
    softmax = Value(f"{node.output.name}.softmax", TensorType("f32", (_most(keys, size) * heads, 2)))
    return variant | {
        "label": f"attention_slices_{4 * _d4(of)}",
        "writes": {"results": results, "softmax": softmax},
        "vec4": frozenset({"q", "k", "v", "results"}),
        "then": (_merge(node, of, keys, size, results, softmax),),
    }


def _several(of: Attention[Value], size: int) -> bool:
    """Return whether there can be several slices, and their results fit a binding."""
    return 1 < _most(span(of), size) <= MAX_BINDING // (WORD * dims.fixed(of.q.shape[-1]))


def _merge(node: Node, of: Attention[Value], keys: Dim, size: int, results: Value, softmax: Value) -> Kernel:
    rows = of.q.shape[-2]
    slices = f"{_most(keys, size)}u" if isinstance(keys, int) else f"({wgsl.size(keys)} + {size - 1}u) / {size}u"
    return Kernel(
        "attention_merge",
        {"results": results, "softmax": softmax},
        {"out": node.output},
        (groups(of.heads), groups(rows)),
        (_SLICE_LANES,),
        {"slices": slices, "rows": wgsl.size(rows), "d4": _d4(of), "heads": of.heads},
        label=f"attention_merge_{4 * _d4(of)}",
        vec4=frozenset({"results", "out"}),
        flops=4 * results.type.size,
    )


def _most(keys: Dim, size: int) -> int:
    """Return the number of slices at the largest sizes."""
    return -(-dims.high(keys) // size)


def _d4(of: Attention[Value]) -> int:
    """Return the vec4s in a head."""
    return dims.fixed(of.q.shape[-1]) // of.heads // 4
