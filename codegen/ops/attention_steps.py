"""Attention in three kernels that store the scores. It is slower, and supports heads of any width, masks of rounded
scores, and one query whose scores or weights are rounded."""

from __future__ import annotations

from typing import Any

import numpy as np

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import Kernel, Operand, operand, per_element, refuse
from intaglio.codegen.ops.norm import softmax_of
from intaglio.codegen.target import MAX_TRIPS
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.expression import Expression, shifted
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Attention
from intaglio.compiler.ir.values import TensorType, Value
from intaglio.compiler.semantics.operators import expression
from intaglio.compiler.semantics.shapes import broadcast_strides


def in_steps(node: Node, of: Attention[Value]) -> list[Kernel]:
    q, k, v, mask, past, heads = of.q, of.k, of.v, of.mask, of.past, of.heads
    rows, keys = q.shape[-2], k.shape[-2]
    if 3 * dims.high(keys) > MAX_TRIPS:
        raise refuse(node, f"{keys} keys need more than {MAX_TRIPS} loop iterations; compile for fewer tokens")
    stride = keys if isinstance(rows, int) or isinstance(keys, int) else dims.high(keys)
    shape = (heads, rows, stride)
    scores, weights = (Value(f"{node.output.name}.{name}", TensorType("f32", shape)) for name in ("scores", "weights"))
    consts = {
        "heads": heads,
        "heads_per_kv": heads // of.kv_heads,
        "head_dim": q.shape[-1] // heads,
        "rows": wgsl.size(rows),
        "keys": wgsl.size(keys),
        "stride": wgsl.size(stride),
        "q_stride": q.shape[-1],
        "key_step": k.shape[-1],
        "cap": wgsl.number(of.cap, "f32") if of.cap is not None else None,
        "window": of.window,
        "scale": wgsl.number(of.scale, "f32"),
        "past": wgsl.size(past) if past is not None else None,
        **changes(of),
        **position_bias(of),
        "mask": wgsl.affine("i", shape, broadcast_strides(mask.shape[-3:], shape)) if mask is not None else None,
    }
    reads = {"q": q, "k": k} | added(of)
    flops = scores.type.size * (2 * consts["head_dim"])
    out = node.output.type.size
    begin = wgsl.affine("i", (heads * rows,), (stride,))
    return [
        _kernel("attention_scores", reads, {"scores": scores}, scores.type.size, consts, flops),
        softmax_of(scores, weights, (heads * rows, begin), (keys, 1), "softmax", consts["weighed"]),
        _kernel("attention_values", {"weights": weights, "v": v}, {"out": node.output}, out, consts, flops),
    ]


def added(of: Attention[Value]) -> dict[str, Operand]:
    """Return what is added to the scores, by name: a mask and the table of a position bias, or nothing."""
    mask = {"mask": operand(of.mask)} if of.mask is not None else {}
    return mask | ({"bias": operand(of.bias.table)} if of.bias is not None else {})


def position_bias(of: Attention[Value]) -> dict[str, Any]:
    """Return the parameters of lib/position_bias."""
    bias = of.bias
    return {"bias": {"positions": bias.table.shape[-1], "by": bias.by} if bias is not None else None}


def changes(of: Attention[Value]) -> dict[str, Any]:
    """Return the lines that change scores and weights, and the score of a masked key."""
    return {
        "scored": _steps(of.scored, "scored", "score"),
        "masked": _steps(of.masked, "masked", "score"),
        "weighed": _steps(of.weighed, "weighed", "weight"),
        "hidden": wgsl.number(_hidden(of), "f32"),
    }


def _steps(expression: Expression, name: str, number: str) -> list[str]:
    """Return the lines that apply an expression to a number."""
    if not expression:
        return []
    steps = shifted(expression, 0, {"acc": number})
    lines, result = wgsl.body(steps, {number: "f32"}, str, names=f"{name}_")
    return [*lines, f"{number} = {result};"]


def _hidden(of: Attention[Value]) -> float:
    """Return the score of a masked key: the lowest number, rounded as the other scores are."""
    lowest = np.full((), np.finfo(np.float32).min)
    with np.errstate(over="ignore"):
        score = expression(of.masked, [lowest], []) if of.masked else lowest
    return max(float(score), float(lowest))


def _kernel(
    template: str,
    reads: dict[str, Any],
    writes: dict[str, Value],
    size: dims.Dim,
    consts: dict[str, Any],
    flops: dims.Dim,
) -> Kernel:
    return per_element(template, reads, writes, size, consts | {"size": wgsl.size(size)}, template, flops)
