"""Rotary embeddings of queries and keys in one kernel, the keys written where the cache wants them."""

from __future__ import annotations

from typing import Any

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import Kernel, groups, op, operand
from intaglio.compiler.ir.graph import Node

_LANES = 64


@op("Rotary")
def rotary(node: Node) -> Kernel:
    cos, sin, *rest = node.inputs
    xs, norm = rest[: len(node.outputs)], node.attrs.get("norm")
    past, interleaved, rotated = node.attrs["past"], node.attrs["interleaved"], 2 * cos.shape[1]
    rows, head_dim = xs[0].shape[-2], xs[0].shape[-1] // node.attrs["heads"][0]
    by = 4 if head_dim % 4 == 0 and rotated % (4 if interleaved else 8) == 0 else 1
    reads = {"cos": operand(cos), "sin": operand(sin)} | {f"x{i}": x for i, x in enumerate(xs)}
    if norm is not None:
        reads |= {f"gamma{i}": operand(node.inputs[at]) for i, at in enumerate(norm["scales"])}
    writes = {f"y{i}": y for i, y in enumerate(node.outputs)}
    parts = _parts(node, [x.shape[-1] // by for x in xs])
    total = sum(part["width"] for part in parts)
    consts: dict[str, Any] = {"rows": wgsl.size(rows), "past": wgsl.size(past), "parts": parts}
    if by == 4:
        template = "rotary_interleaved" if interleaved else "rotary"
        consts |= {"d4": head_dim // 4, "rotated4": rotated // 4, "total4": total}
        consts["epsilon"] = wgsl.number(norm["epsilon"], "f32") if norm is not None else None
        vec4 = frozenset((*reads, *writes)) - (frozenset({"cos", "sin"}) if interleaved else frozenset())
    else:
        template, vec4 = "rotary_unaligned", frozenset()
        consts |= {"head_dim": head_dim, "pairs": rotated // 2, "total": total, "interleaved": interleaved}
    grid, flops = (groups(rows, total, per=_LANES),), rows * (3 * by * total)
    return Kernel(template, reads, writes, grid, (_LANES,), consts, f"{template}_{head_dim}", vec4, flops=flops)


def _parts(node: Node, widths: list[int]) -> list[dict[str, Any]]:
    """Which columns of a joint row are whose, and the row of the output that a part is written to."""
    past, states = node.attrs["past"], node.attrs.get("states", (0,) * len(widths))
    parts, first = [], 0
    for i, (width, state) in enumerate(zip(widths, states, strict=True)):
        row = f"({wgsl.size(past)} + row)" if state and past != 0 else "row"
        gamma = f"gamma{i}" if "norm" in node.attrs else None
        parts.append({"x": f"x{i}", "y": f"y{i}", "gamma": gamma, "first": first, "width": width, "row": row})
        first += width
    return parts
