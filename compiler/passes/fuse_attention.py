"""Replace softmax(q kᵀ · scale + mask) v by one operator on token rows [1, T, heads * head_dim].

Each head is a block of columns in a token's row, so the exporters' reshapes and transposes disappear. What a mask hides
and adds becomes attributes where possible (see compiler/passes/mask.py). Any other mask stays an input.
"""

from __future__ import annotations

import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir import operators as own
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.values import Value, known
from intaglio.compiler.passes.mask import explained
from intaglio.compiler.rewrite import views
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.rewrite.elementwise_chains import chain_source, expression, operand_of
from intaglio.compiler.rewrite.pattern import PatternBuilder, Rule, Variable, apply, match
from intaglio.compiler.semantics import operators

_LOWEST = float(np.finfo(np.float32).min)
_NO_SUM = -1e30  # a score this low stays low whatever is added to it, even if it is rounded to few bits


def fuse_attention(graph: Graph) -> int:
    """Fuse attention into one operator; return the number of changes."""
    return apply(graph, ScaleBeforeMask, VisibleFirst, OneMask, MaskOfBias, SumOfMasks, Attention).fired


class ScaleBeforeMask(Rule):
    """Scale scores and mask separately where a model scales their sum (CodeGen; Falcon, which adds another mask)."""

    @staticmethod
    def pattern(op, q, k, mask, scale, other):
        scaled = (op.MatMul(q, k) + mask) * scale
        return op.Softmax(op.any(scaled, scaled + other), axis=-1)

    @staticmethod
    def rewrite(op, out, q, k, mask, scale, other=None):
        if scale.scalar is None:
            op.decline("the scale is not a constant scalar")
        scores = op.Add(op.Mul(op.MatMul(q, k), scale), op.Mul(mask, scale))
        return op.Softmax(scores if other is None else op.Add(scores, other), axis=-1)


class VisibleFirst(Rule):
    """Write a choice by what is hidden (MPT) as a choice by what is visible."""

    @staticmethod
    def pattern(op, q, k, scored, hidden, lowest, mask):
        raw = op.MatMul(q, k)
        scores = op.any(raw, op.chain(scored, raw))
        return op.Where(hidden, lowest, op.any(scores, scores + mask))

    @staticmethod
    def rewrite(op, out, q, k, hidden, lowest, scored=None, mask=None):
        if lowest.scalar is None:
            op.decline(f"{lowest.name} is not a constant number")
        return op.Where(op.Not(hidden), op.root.inputs[2], lowest)


class OneMask(Rule):
    """Merge a mask applied by Where and an additive mask (GPT-2) into one additive mask."""

    @staticmethod
    def pattern(op, q, k, scored, masked, visible, lowest, mask):
        raw = op.MatMul(q, k)
        scores = op.Where(visible, op.any(raw, op.chain(scored, raw)), lowest) + mask
        return op.Softmax(op.any(scores, op.chain(masked, scores)), axis=-1)

    @staticmethod
    def rewrite(op, out, q, k, visible, lowest, mask, scored=None, masked=None):
        hidden = op.Where(visible, op.number(0, out), _low(op, lowest))
        return _softmax_of_sum(op, q, k, scored, op.Add(hidden, mask), masked)


class MaskOfBias(Rule):
    """Merge a mask applied by Where and what was added before (MPT) into one additive mask."""

    @staticmethod
    def pattern(op, q, k, scored, masked, visible, lowest, bias):
        raw = op.MatMul(q, k)
        scores = op.Where(visible, op.any(raw, op.chain(scored, raw)) + bias, lowest)
        return op.Softmax(op.any(scores, op.chain(masked, scores)), axis=-1)

    @staticmethod
    def rewrite(op, out, q, k, visible, lowest, bias, scored=None, masked=None):
        return _softmax_of_sum(op, q, k, scored, op.Where(visible, bias, _low(op, lowest)), masked)


class SumOfMasks(Rule):
    """Merge what is added to scores in two steps, such as a position bias and a mask (Bloom, T5)."""

    @staticmethod
    def pattern(op, q, k, scored, masked, first, second):
        raw = op.MatMul(q, k)
        scores = (op.any(raw, op.chain(scored, raw)) + first) + second
        return op.Softmax(op.any(scores, op.chain(masked, scores)), axis=-1)

    @staticmethod
    def rewrite(op, out, q, k, first, second, scored=None, masked=None):
        return _softmax_of_sum(op, q, k, scored, op.Add(first, second), masked)


def _low(op: GraphBuilder, lowest: Value) -> Value:
    if lowest.scalar is None or lowest.scalar > _NO_SUM:
        op.decline(f"{lowest.name} is not low enough to absorb what is added to it")
    return lowest


def _softmax_of_sum(
    op: GraphBuilder, q: Value, k: Value, scored: Value | None, mask: Value, masked: Value | None
) -> Value:
    """Return the softmax of scores plus mask, with the operators of the chain `masked` in between."""
    scores = op.Add(scored if scored is not None else op.MatMul(q, k), mask)
    for node in chain_source(op.graph, masked)[1] if masked is not None else ():
        changed = operand_of(node)
        scores = op.like(node, {changed: scores} if changed is not None else {})
    return op.Softmax(scores, axis=-1)


class Attention(Rule):
    """Fuse scaled dot-product attention (Vaswani et al. 2017), with or without scores capped by tanh (Gemma 2).

    Other elementwise operations on scores, masked scores or weights, such as roundings, become expressions.
    """

    @staticmethod
    def pattern(op, q, k, v, scale, cap, scored, mask, masked, blind, weighed):
        raw = op.MatMul(q, k)
        scaled = op.any(raw * scale, raw)
        capped = op.any(op.Tanh(scaled) * cap, scaled, op.chain(scored, raw))
        scores = op.any(capped + mask, op.Where(mask, capped, op.any(-np.inf, _LOWEST)), capped)
        weights = op.Softmax(op.any(scores, op.chain(masked, scores)), axis=-1)
        guarded = op.any(weights, op.Where(op.any(op.IsNaN(weights), blind), 0.0, weights))
        return op.MatMul(op.any(guarded, op.chain(weighed, guarded)), v)

    @staticmethod
    def rewrite(op, out, q, k, v, scale=None, cap=None, scored=None, mask=None, masked=None, blind=None, weighed=None):
        if blind is not None and not _is_blind(op.graph, blind, mask):
            op.decline(f"{blind.name} selects other values than the masked rows")
        if any(len(x.shape) != 4 or x.shape[0] != 1 or not isinstance(x.shape[1], int) for x in (q, k, v)):
            op.decline(f"the queries are {q.type}, not [1, heads, tokens, head_dim]")
        if any(x is not None and x.scalar is None for x in (scale, cap)):
            op.decline("the scale is not a constant scalar")
        heads = q.shape[1]
        rows, counts = zip(*(_tokens(op, x, x is k) for x in (q, k, v)), strict=True)
        if counts[0] != heads or counts[1] != counts[2]:
            op.decline(f"queries, keys and values have {', '.join(map(str, counts))} heads, which do not match")
        attrs = {"heads": heads, "kv_heads": counts[1], "scale": scale.scalar if scale else 1.0, "past": None}
        if cap is not None:
            attrs |= {"cap": cap.scalar, "scale": attrs["scale"] * cap.scalar}
        chains = {"scored": scored, "masked": masked, "weighed": weighed}
        attrs |= {name: expression(chain_source(op.graph, x)[1]) for name, x in chains.items() if x is not None}
        if mask is not None:
            attributes = explained(op.graph, mask, heads, q.shape[2], k.shape[3], exact=masked is not None)
            attrs |= {"mask": _additive(op, mask)} if attributes is None else attributes
        y = op.add(own.Attention(*rows, **attrs))
        shape = (1, q.shape[2], heads, q.shape[3])
        return op.Transpose(op.Reshape(y, op.constant(known(shape, (4,))), allowzero=1), perm=[0, 2, 1, 3])


def _is_blind(graph: Graph, blind: Value, mask: Value | None) -> bool:
    """Return whether `blind` marks the queries for which the mask hides all keys; ONNX's Attention sets them to 0."""
    everywhere = PatternBuilder().ReduceMax(Variable("mask"), -1)
    return any(m.values["mask"] is mask for m in match(graph, PatternBuilder().Equal(everywhere, -np.inf), blind))


def _tokens(op: GraphBuilder, value: Value, swapped: bool) -> tuple[Value, int]:
    """Return the token rows that `value` splits into heads, and the number of heads without repetitions."""
    rows, _ = views.source(op.graph, value)
    if len(rows.shape) == 4:
        return _rows_of_heads(op, value, rows, swapped)
    sizes = (value.shape[1], value.shape[2 if swapped else 3], rows.shape[-1])
    heads, head_dim, width = (d if isinstance(d, int) else 0 for d in sizes)
    if not width or not head_dim or width % head_dim or heads % (width // head_dim):
        op.decline(f"{value.name} comes from {rows}, whose width is not a multiple of head_dim {sizes[1]}")
    count = width // head_dim

    def expected(x: np.ndarray) -> np.ndarray:
        y = np.repeat(operators.split(x, count), heads // count, axis=1)
        return y.swapaxes(-1, -2) if swapped else y

    if len(rows.shape) != 3 or views.maps(op.graph, value, expected) is None:
        op.decline(f"{value.name} does not split token rows into heads")
    return rows, count


def _rows_of_heads(op: GraphBuilder, value: Value, apart: Value, swapped: bool) -> tuple[Value, int]:
    """Return token rows made of separately computed heads [1, heads, tokens, head_dim], and the number of heads."""
    _, count, tokens, head_dim = apart.shape

    def expected(x: np.ndarray) -> np.ndarray:
        y = np.repeat(x, dims.fixed(value.shape[1] // count), axis=1)
        return y.swapaxes(-1, -2) if swapped else y

    if (
        not isinstance(count, int)
        or not dims.divides(count, value.shape[1])
        or views.maps(op.graph, value, expected) is None
    ):
        op.decline(f"{value.name} does not repeat the heads {apart.name}")
    rows = op.Transpose(apart, perm=[0, 2, 1, 3])
    return op.Reshape(rows, op.dimensions(1, tokens, count * head_dim), allowzero=1), count


def _additive(op: GraphBuilder, mask: Value) -> Value:
    if mask.dtype == "bool":
        op.decline(f"the mask {mask.name} is boolean, not additive")
    if op.graph.expect_producer(op.root.inputs[0]).op == "Where":
        op.decline(f"the mask {mask.name} may hide all keys from a query")
    return mask
