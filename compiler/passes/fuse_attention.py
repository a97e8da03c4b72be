"""Replace softmax(q kᵀ · scale + mask) v by one operator on token rows [1, T, heads * head_dim].

Each head is a block of columns in a token's row, so the exporters' reshapes and transposes disappear. If a mask is
computed from shapes alone, the pass evaluates it for several sizes and compares it with the causal mask. An equal mask
becomes an attribute. Any other mask stays an input.
"""

from __future__ import annotations

import itertools
from weakref import WeakKeyDictionary

import numpy as np

from intaglio.compiler.ir import dims
from intaglio.compiler.ir import operators as own
from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.values import Value, known
from intaglio.compiler.rewrite import views
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.rewrite.elementwise_chains import chain_source, expression, operand_of
from intaglio.compiler.rewrite.pattern import PatternBuilder, Rule, Variable, apply, match
from intaglio.compiler.semantics import evaluate, operators

_VISIBLE, _HIDDEN = 1e-6, -1e4  # an additive mask is 0 for visible keys and very negative for hidden keys
_SIZES = (1, 2, 3, 7)
_LARGEST = 8192  # masks are evaluated for the longest sequence, which shows a sliding window; larger masks stay inputs
_LOWEST = float(np.finfo(np.float32).min)
_NO_SUM = -1e30  # a score this low stays low whatever is added to it, even if it is rounded to few bits

Hidden = dict[str, Dim | None] | None
_hidden: WeakKeyDictionary[Value, dict[tuple[Dim, Dim], Hidden]] = WeakKeyDictionary()  # by mask and sizes


def fuse_attention(graph: Graph) -> int:
    """Fuse attention into one operator; return the number of changes."""
    return apply(graph, ScaleBeforeMask, OneMask, Attention).fired


class ScaleBeforeMask(Rule):
    """Scale scores and mask separately where a model scales their sum (CodeGen)."""

    @staticmethod
    def pattern(op, q, k, mask, scale):
        return op.Softmax((op.MatMul(q, k) + mask) * scale, axis=-1)

    @staticmethod
    def rewrite(op, out, q, k, mask, scale):
        if scale.scalar is None:
            op.decline("the scale is not a constant scalar")
        scores = op.Add(op.Mul(op.MatMul(q, k), scale), op.Mul(mask, scale))
        return op.Softmax(scores, axis=-1)


class OneMask(Rule):
    """Merge a mask applied by Where and an additive mask (GPT-2) into one additive mask."""

    @staticmethod
    def pattern(op, q, k, scored, masked, visible, lowest, mask):
        raw = op.MatMul(q, k)
        scores = op.Where(visible, op.any(raw, op.chain(scored, raw)), lowest) + mask
        return op.Softmax(op.any(scores, op.chain(masked, scores)), axis=-1)

    @staticmethod
    def rewrite(op, out, q, k, visible, lowest, mask, scored=None, masked=None):
        if lowest.scalar is None or lowest.scalar > _NO_SUM:
            op.decline(f"{lowest.name} is not low enough to absorb what is added to it")
        scores = scored if scored is not None else op.MatMul(q, k)
        hidden = op.Where(visible, op.number(0, scores), lowest)
        scores = op.Add(scores, op.Add(hidden, mask))
        for node in chain_source(op.graph, masked)[1] if masked is not None else ():
            scores = op.like(node, {operand_of(node): scores})
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
            known_mask = seen(op.graph, mask, q.shape[2], k.shape[3])
            attrs |= {"mask": _additive(op, mask)} if known_mask is None else known_mask
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


def seen(graph: Graph, mask: Value, queries: Dim, keys: Dim) -> Hidden:
    """Return what a mask hides as attributes of Attention, or None if attributes cannot express it.

    past: keys - queries if query t sees no key after past + t; None if the mask hides nothing. window: the number of
    keys up to past + t that query t sees, if limited. The result is cached, because all layers share a mask.
    """
    results = _hidden.setdefault(mask, {})
    if (queries, keys) not in results:
        results[queries, keys] = _hides(graph, mask, queries, keys)
    return results[queries, keys]


def _hides(graph: Graph, mask: Value, queries: Dim, keys: Dim) -> Hidden:
    nodes = graph.ancestors(mask)
    leaves = {v for n in nodes for v in n.inputs if v is not None and graph.producer(v) is None}
    if any(v.const is None for v in (leaves if nodes else {mask})):
        return None
    values = (mask, *leaves, *(o for n in nodes for o in n.outputs))
    symbols = sorted({s for v in values for s in v.type.symbols} | {*dims.symbols(queries), *dims.symbols(keys)})
    if any(s.high > _LARGEST for s in symbols):
        return None
    window, causal, everywhere = None, True, True
    ranges = (sorted({s.high, *(n for n in _SIZES if s.low <= n < s.high)}, reverse=True) for s in symbols)
    for sizes in itertools.product(*ranges):
        env = {s.name: size for s, size in zip(symbols, sizes, strict=True)}
        results = evaluate.compute(graph, nodes, {}, env, keep=(mask,))
        actual = results[mask] if nodes else evaluate.concrete(mask, env)
        rows, columns = (dims.fixed(dims.substitute(d, env)) for d in (queries, keys))
        actual = np.broadcast_to(actual, np.broadcast_shapes(actual.shape, (rows, columns)))
        visible = actual if actual.dtype == bool else np.abs(actual) <= _VISIBLE
        hidden = ~actual if actual.dtype == bool else actual < _HIDDEN
        if window is None and actual.size:  # the largest size comes first
            window = int(visible.reshape(-1, columns)[-1].sum())
        expected = np.tri(rows, columns, columns - rows, dtype=bool)
        expected &= ~np.tri(rows, columns, columns - rows - (columns if window is None else window), dtype=bool)
        causal, everywhere = causal and bool((visible == expected).all()), everywhere and bool(visible.all())
        if not (causal or everywhere) or not (hidden == ~visible).all():
            return None
    if not causal:
        return {"past": None}
    longest = dims.high(keys)
    limit: dict[str, Dim | None] = {"window": window} if window is not None and window < longest else {}
    return {"past": keys - queries, **limit}
