"""Attention: softmax(q kᵀ · scale + mask) v becomes one operator on token-major tensors [1, T, heads * head_dim].

Heads are column blocks of a token's row, so the exporters' reshapes and transposes disappear. A mask that is computed
from shapes alone is evaluated by numpy for several sizes and compared with the causal one: equal, and it is an
attribute; else it stays data.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from intaglio.compiler import dims, evaluate, views
from intaglio.compiler.dims import Dim
from intaglio.compiler.ir import Graph, Value, known
from intaglio.compiler.pattern import GraphBuilder, Rule, apply

_VISIBLE, _HIDDEN = 1e-6, -1e4  # an additive mask is 0 where a key is seen and hugely negative where it is not
_SIZES = (1, 2, 3, 7)
_LARGEST = 4096  # masks are compared up to the longest sequence, where a sliding window shows; longer ones stay data
_LOWEST = float(np.finfo(np.float32).min)


def fuse_attention(graph: Graph) -> int:
    return apply(graph, Attention).fired


class Attention(Rule):
    """Scaled dot-product attention (Vaswani et al. 2017)."""

    def pattern(op, q, k, v, scale, mask):
        raw = op.MatMul(q, k)
        scaled = op.any(raw * scale, raw)
        scores = op.any(scaled + mask, op.Where(mask, scaled, op.any(-np.inf, _LOWEST)), scaled)
        weights = op.Softmax(scores, axis=-1)
        return op.MatMul(op.any(weights, op.Where(op.IsNaN(weights), 0.0, weights)), v)

    def rewrite(op, out, q, k, v, scale=None, mask=None):
        if any(len(x.shape) != 4 or x.shape[0] != 1 or not isinstance(x.shape[1], int) for x in (q, k, v)):
            op.decline(f"the queries are {q.type}, not [1, heads, tokens, head_dim]")
        heads, kv_heads = q.shape[1], v.shape[1]
        if scale is not None and scale.scalar is None:
            op.decline("the scale is no known number")
        sources = [
            _tokens(op, q, lambda x: evaluate.split(x, heads)),
            _tokens(op, k, lambda x: evaluate.split(x, kv_heads).swapaxes(-1, -2)),
            _tokens(op, v, lambda x: evaluate.split(x, kv_heads)),
        ]
        attrs = {"heads": heads, "kv_heads": kv_heads, "scale": scale.scalar if scale else 1.0, "past": None}
        if mask is not None:
            attrs["past"] = causal(op.graph, mask, q.shape[2], k.shape[3])
            if attrs["past"] is None:
                sources.append(_additive(op, mask))
        y = op.node("Attention", tuple(sources), **attrs)[0]
        shape = (1, q.shape[2], heads, q.shape[3])
        return op.Transpose(op.Reshape(y, op.constant(known(shape, (4,))), allowzero=1), perm=[0, 2, 1, 3])


def _tokens(op: GraphBuilder, value: Value, expected: Callable[[np.ndarray], np.ndarray]) -> Value:
    found = views.maps(op.graph, value, expected)
    if found is None:
        op.decline(f"{value.name} is no split of token rows into heads")
    return found


def _additive(op: GraphBuilder, mask: Value) -> Value:
    if mask.dtype == "bool":
        op.decline(f"the mask {mask.name} is boolean data")
    if op.graph.producer(op.root.inputs[0]).op == "Where":
        op.decline(f"the mask {mask.name} may hide all keys from a query, which is taken care of here")
    return mask


def causal(graph: Graph, mask: Value, queries: Dim, keys: Dim) -> Dim | None:
    """keys - queries if `mask` hides from query t exactly the keys after that many plus t, for all sizes tried; else
    None.
    """
    nodes = graph.ancestors(mask)
    leaves = {v for n in nodes for v in n.inputs if v is not None and graph.producer(v) is None}
    if any(v.const is None for v in (leaves if nodes else {mask})):
        return None
    values = (mask, *leaves, *(o for n in nodes for o in n.outputs))
    symbols = sorted({s for v in values for s in v.type.symbols} | {*dims.symbols(queries), *dims.symbols(keys)})
    if any(s.high > _LARGEST for s in symbols):
        return None
    for sizes in itertools.product(*({s.high, *(n for n in _SIZES if s.low <= n < s.high)} for s in symbols)):
        env = {s.name: size for s, size in zip(symbols, sizes, strict=True)}
        actual = evaluate.compute(graph, nodes, {}, env)[mask] if nodes else evaluate.concrete(mask, env)
        rows, columns = (int(dims.substitute(d, env)) for d in (queries, keys))
        visible = actual if actual.dtype == bool else np.abs(actual) <= _VISIBLE
        hidden = ~actual if actual.dtype == bool else actual < _HIDDEN
        wanted = np.tri(rows, columns, columns - rows, dtype=bool)
        if not (visible == wanted).all() or not (hidden == ~visible).all():
            return None
    return keys - queries
