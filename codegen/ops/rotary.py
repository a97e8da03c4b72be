"""Rotary embeddings of queries and keys in one kernel, which writes the keys to their rows of the cache."""

from __future__ import annotations

from typing import Any

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import Kernel, groups, operand, own
from intaglio.codegen.ops.cache_rows import places
from intaglio.compiler.ir.dims import fixed
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Rotary
from intaglio.compiler.ir.values import Value

_LANES = 64


@own(Rotary)
def rotary(node: Node, of: Rotary[Value]) -> Kernel:
    xs, norm, interleaved, rotated = of.rows, of.norm, of.interleaved, 2 * fixed(of.cos.shape[1])
    rows, head_dim = xs[0].shape[-2], fixed(xs[0].shape[-1]) // of.heads[0]
    by = 4 if head_dim % 4 == 0 and rotated % (4 if interleaved else 8) == 0 else 1
    reads = {"cos": operand(of.cos), "sin": operand(of.sin)} | {f"x{i}": x for i, x in enumerate(xs)}
    if norm is not None:
        reads |= {f"gamma{i}": operand(scale) for i, scale in enumerate(norm.scales)}
    writes = {f"y{i}": y for i, y in enumerate(node.outputs)}
    parts = _parts(of, [fixed(x.shape[-1]) for x in xs], by)
    total = sum(part["width"] for part in parts)
    consts: dict[str, Any] = {"rows": wgsl.size(rows), "past": wgsl.size(of.past), "parts": parts}
    if by == 4:
        template = "rotary_interleaved" if interleaved else "rotary"
        consts |= {"d4": head_dim // 4, "rotated4": rotated // 4, "total4": total}
        consts["epsilon"] = wgsl.number(norm.epsilon, "f32") if norm is not None else None
        vec4 = frozenset((*reads, *writes)) - (frozenset({"cos", "sin"}) if interleaved else frozenset())
    else:
        template, vec4 = "rotary_unaligned", frozenset()
        consts |= {"head_dim": head_dim, "pairs": rotated // 2, "total": total, "interleaved": interleaved}
    grid, flops = (groups(rows, total, per=_LANES),), rows * (3 * by * total)
    return Kernel(template, reads, writes, grid, (_LANES,), consts, f"{template}_{head_dim}", vec4, flops=flops)


def _parts(of: Rotary[Value], widths: list[int], by: int) -> list[dict[str, Any]]:
    """Return which columns of a joint row belong to each tensor, and the row of the output where they are written.

    by: the numbers that are counted as one column.
    """
    cached = {write.output: write.at for write in of.cached}
    caches = places(of.cached, of.rows[0].shape, by)
    parts, first = [], 0
    for i, width in enumerate(width // by for width in widths):
        row = f"({wgsl.size(cached[i])} + row)" if cached.get(i, 0) != 0 else "row"
        gamma = f"gamma{i}" if of.norm is not None else None
        part = {"x": f"x{i}", "y": f"y{i}", "gamma": gamma, "first": first, "width": width}
        parts.append(part | {"row": row, "cache": caches.get(i)})
        first += width
    return parts
