"""Attention as ONNX Runtime fuses it, with projections, rotary embeddings, masks and caches.

It becomes what exporters write, MatMul, Softmax and MatMul over heads, which the passes understand.
"""

from __future__ import annotations

import math

import numpy as np

from intaglio.compiler.ir.dims import Dim, divides, fixed, less
from intaglio.compiler.ir.errors import BadModel, UnsupportedOperator
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import DTYPES, Value, known
from intaglio.compiler.reader.contrib.refuse import refuse, refuse_inputs
from intaglio.compiler.rewrite.builder import GraphBuilder

Results = list[Value | None]
_HIDDEN = -10000.0  # mask_filter_value, where it is not given


def _attention(op: GraphBuilder, node: Node) -> Results:
    """With the projections of queries, keys and values in one weight."""
    refuse(node, "do_rotary")
    x, weight = node.inputs[:2]
    projected = op.MatMul(x, weight)
    if node.input(2) is not None:
        projected = op.Add(projected, node.inputs[2])
    return over_projected(op, node, projected, node.input(3), node.input(4), node.input(5))


def over_projected(
    op: GraphBuilder,
    node: Node,
    projected: Value,
    padding: Value | None,
    past: Value | None,
    attention_bias: Value | None = None,
) -> Results:
    """Return the outputs of attention over queries, keys and values [B,T,columns] that lie side by side."""
    heads = node.attrs["num_heads"]
    sizes = node.attrs.get("qkv_hidden_sizes") or [projected.shape[2] // 3] * 3
    q, k, v = (_split(op, y, heads) for y in op.node("Split", (projected, op.dimensions(*sizes)), 3, axis=2))
    present = None
    if past is not None and past.shape[3] != 0:
        k, v = (_after(op, op.Gather(past, op.constant(np.array(i)), axis=0), y) for i, y in enumerate((k, v)))
    if len(node.outputs) > 1:
        present = op.Concat(*(op.Unsqueeze(y, op.integers(0)) for y in (k, v)), axis=0)
    causal = _causal(op, q, k) if node.attrs.get("unidirectional") else None
    masks = [_padding(op, node, q, k, padding), causal, attention_bias]
    return [_attend(op, node, q, k, v, masks), present]


def _multi_head(op: GraphBuilder, node: Node) -> Results:
    """Queries, keys and values may come in one tensor, keys and values also as heads already, from an encoder."""
    names = "key value bias padding attention_bias past_key past_value".split()
    inputs = {name: node.input(i) for i, name in enumerate(names, 1)}
    return _over_heads(op, node, node.inputs[0], **inputs, causal=bool(node.attrs.get("unidirectional")))


def _decoder_masked(op: GraphBuilder, node: Node) -> Results:
    """One query sees all keys; of several, each sees the keys up to its own, except in cross-attention."""
    names = "key value padding attention_bias past_key past_value".split()
    inputs = {name: node.input(i) for i, name in enumerate(names, 1)}
    refuse(node, "output_qk")
    refuse_inputs(node, cache_indirection=9)
    across = (key := node.input(1)) is not None and len(key.shape) == 4
    if not across and node.attrs.get("past_present_share_buffer") and node.inputs[5].shape[2] != 0:
        raise UnsupportedOperator("past_present_share_buffer is not supported; export the model without it")
    return _over_heads(op, node, node.inputs[0], **inputs, bias=node.input(10), causal=not across)


def _over_heads(
    op: GraphBuilder,
    node: Node,
    query: Value,
    key: Value | None,
    value: Value | None,
    bias: Value | None,
    padding: Value | None,
    attention_bias: Value | None,
    past_key: Value | None,
    past_value: Value | None,
    causal: bool,
) -> Results:
    heads = node.attrs["num_heads"]
    rows = _unpacked(op, heads, query, key, value)
    if bias is not None:
        sizes = [y.shape[-1] if len(y.shape) == 3 else 0 for y in rows]
        biases = op.node("Split", (bias, op.dimensions(*sizes)), 3, axis=0)
        rows = [op.Add(y, b) if size else y for y, b, size in zip(rows, biases, sizes, strict=True)]
    q, k, v = (_split(op, y, heads) if len(y.shape) == 3 else y for y in rows)
    k, v = _after(op, past_key, k), _after(op, past_value, v)
    masks = [_padding(op, node, q, k, padding), _causal(op, q, k) if causal else None, attention_bias]
    return [_attend(op, node, q, k, v, masks), k, v]


def _unpacked(op: GraphBuilder, heads: int, query: Value, key: Value | None, value: Value | None) -> list[Value]:
    """Token rows [B,T,width], of queries, keys and values, from what holds several: [B,T,heads,of,head_dim]."""
    if key is None and len(query.shape) == 5:
        return _apart(op, query)
    if key is None:
        return list(op.node("Split", (query,), 3, axis=2, num_outputs=3))
    if value is None:
        return [query, *_apart(op, key)]
    return [query, key, value]


def _apart(op: GraphBuilder, packed: Value) -> list[Value]:
    batch, tokens, heads, count, head_dim = packed.shape
    parts = op.node("Split", (packed,), fixed(count), axis=3, num_outputs=count)
    return [op.Reshape(part, op.dimensions(batch, tokens, heads * head_dim)) for part in parts]


def _grouped(op: GraphBuilder, node: Node) -> Results:
    """Grouped queries, rotated here or before. The past must be empty, because its length is data."""
    refuse(node, "smooth_softmax", "qk_output")
    refuse_inputs(node, head_sink=11, k_scale=12, v_scale=13, q_norm_weight=14, k_norm_weight=15, query_seqlens=16)
    q, k, v = node.inputs[:3]
    heads, kv_heads = node.attrs["num_heads"], node.attrs["kv_num_heads"]
    if k is None:
        head_dim = q.shape[2] // (heads + 2 * kv_heads)
        sizes = op.integers(*(n * head_dim for n in (heads, kv_heads, kv_heads)))
        q, k, v = op.node("Split", (q, sizes), 3, axis=2)
    q, k, v = _split(op, q, heads), _split(op, k, kv_heads), _split(op, v, kv_heads)
    if node.input(3) is not None and node.inputs[3].shape[2] != 0:
        raise UnsupportedOperator("the model reads a KV cache; compile the folder of the model, not the file")
    if node.attrs.get("do_rotary"):
        tables = [_rows(op, table, node.input(9), q.shape[2]) for table in node.inputs[7:9]]
        q, k = (_rotated(op, y, *tables, interleaved=node.attrs.get("rotary_interleaved", 0)) for y in (q, k))
    window = node.attrs.get("local_window_size", -1)
    masks = [_causal(op, q, k, window) if node.attrs.get("causal", 1) else None, node.input(10)]
    repeated = (_repeated(op, y, heads // kv_heads) for y in (k, v))
    return [_attend(op, node, q, *repeated, masks=masks), k, v]


def _rotary(op: GraphBuilder, node: Node) -> Results:
    refuse(node, "is_packed_batching")
    x, positions, *caches = node.inputs
    if node.attrs.get("scale", 1.0) != 1.0:
        raise UnsupportedOperator("a scale other than 1 is not supported; export the model without it")
    flat = len(x.shape) == 3
    if flat:
        head_dim = x.shape[2] // node.attrs["num_heads"] if node.attrs.get("num_heads") else 2 * caches[0].shape[1]
        x = _split(op, x, fixed(x.shape[2] // head_dim))
    tables = [_rows(op, table, positions, x.shape[2]) for table in caches]
    y = _rotated(op, x, *tables, interleaved=node.attrs.get("interleaved", 0))
    return [_joined(op, y) if flat else y]


# heads [B,heads,T,head_dim]


def _split(op: GraphBuilder, x: Value, heads: int) -> Value:
    batch, tokens, width = x.shape
    if not divides(heads, width):
        raise BadModel(f"the width of {x} is not a multiple of its {heads} heads")
    return op.Transpose(op.Reshape(x, op.dimensions(batch, tokens, heads, width // heads)), perm=[0, 2, 1, 3])


def _joined(op: GraphBuilder, x: Value) -> Value:
    batch, heads, tokens, head_dim = x.shape
    return op.Reshape(op.Transpose(x, perm=[0, 2, 1, 3]), op.dimensions(batch, tokens, heads * head_dim))


def _repeated(op: GraphBuilder, x: Value, times: int) -> Value:
    """Each head repeated so many times."""
    if times == 1:
        return x
    batch, heads, tokens, head_dim = x.shape
    each = op.Expand(op.Unsqueeze(x, op.integers(2)), op.dimensions(batch, heads, times, tokens, head_dim))
    return op.Reshape(each, op.dimensions(batch, heads * times, tokens, head_dim))


def _after(op: GraphBuilder, past: Value | None, new: Value) -> Value:
    return new if past is None or past.shape[2] == 0 else op.Concat(past, new, axis=2)


def _attend(op: GraphBuilder, node: Node, q: Value, k: Value, v: Value, masks: list[Value | None]) -> Value:
    """Token rows [B,T,width]; `masks` are added to the scores."""
    scale = node.attrs.get("scale") or 1 / math.sqrt(fixed(q.shape[3]))
    cap = node.attrs.get("softcap", 0.0)
    scores = op.MatMul(q, op.Transpose(k, perm=[0, 1, 3, 2]))
    scores = op.Mul(scores, op.number(scale / (cap or 1), scores))
    if cap:
        scores = op.Mul(op.Tanh(scores), op.number(cap, scores))
    present = [mask for mask in masks if mask is not None]
    for mask in present[1:]:
        present[0] = op.Add(present[0], mask)
    scores = op.Add(scores, present[0]) if present else scores
    return _joined(op, op.MatMul(op.Softmax(scores, axis=-1), v))


# masks, 0 where a key is seen, and positions


def _causal(op: GraphBuilder, q: Value, k: Value, window: int = -1) -> Value:
    """[T,S]: the last query sees all keys, or the last `window`, the one before it one less."""
    queries, keys = q.shape[2], k.shape[2]
    column = op.Unsqueeze(_range(op, 0, keys), op.integers(0))
    row = op.Unsqueeze(_range(op, keys - queries, keys), op.integers(1))
    visible = op.LessOrEqual(column, row)
    if window > 0:
        visible = op.And(visible, op.Greater(column, op.Sub(row, op.constant(np.array(window)))))
    return op.Where(visible, op.number(0, q), op.number(np.finfo(DTYPES[q.dtype]).min, q))


def _range(op: GraphBuilder, start: Dim, end: Dim) -> Value:
    return op.Range(*(op.constant(known([d], ())) for d in (start, end, 1)))


def _padding(op: GraphBuilder, node: Node, q: Value, k: Value, mask: Value | None) -> Value | None:
    """A mask of 1 for keys that count and 0 for others, [B,S] or [B,T,S], or the number of keys [B], as an addend."""
    if mask is None:
        return None
    rank, batch = len(mask.shape), q.shape[0]
    if (rank == 1 and mask.shape[0] != batch) or rank > 3:
        raise UnsupportedOperator(f"the shape of the mask {mask} is not supported; expected [batch] or [batch, keys]")
    if rank == 1:
        counted = op.Less(_range(op, 0, k.shape[2]), op.Unsqueeze(op.Cast(mask, to="i64"), op.integers(1)))
        rank, mask = 2, op.Cast(counted, to="i32")
    hidden = op.number(node.attrs.get("mask_filter_value", _HIDDEN), q)
    added = op.Mul(op.Sub(op.number(1, q), op.Cast(mask, to=q.dtype)), hidden)
    return op.Unsqueeze(added, op.integers(*((1, 2) if rank == 2 else (1,))))


def _rows(op: GraphBuilder, table: Value, positions: Value | None, tokens: Dim) -> Value:
    """Rows of a table of cosines or sines: [T,pairs] from the first position given on, or [B,1,T,pairs] for each."""
    if positions is None:
        return op.Slice(table, op.integers(0), op.dimensions(tokens), op.integers(0))
    if len(positions.shape) == 1:
        return op.Gather(table, op.Add(op.Cast(positions, to="i64"), _range(op, 0, tokens)), axis=0)
    return op.Unsqueeze(op.Gather(table, positions, axis=0), op.integers(1))


def _rotated(op: GraphBuilder, x: Value, cos: Value, sin: Value, interleaved: int) -> Value:
    """Rotate the first columns of each head, in pairs of neighbours or of halves; the others stay."""
    pairs, head_dim = cos.shape[-1], x.shape[3]
    spans = ((0, 2 * pairs, 2), (1, 2 * pairs, 2)) if interleaved else ((0, pairs, 1), (pairs, 2 * pairs, 1))
    a, b = (op.Slice(x, *map(op.dimensions, (start, end, 3, step))) for start, end, step in spans)
    parts = [op.Sub(op.Mul(a, cos), op.Mul(b, sin)), op.Add(op.Mul(a, sin), op.Mul(b, cos))]
    if interleaved:
        pair = op.Concat(*(op.Unsqueeze(y, op.integers(4)) for y in parts), axis=4)
        parts = [op.Reshape(pair, op.dimensions(*x.shape[:3], 2 * pairs))]
    if less(2 * pairs, head_dim):
        parts.append(op.Slice(x, *map(op.dimensions, (2 * pairs, head_dim, 3, 1))))
    return op.Concat(*parts, axis=3)


CONTRIB = {
    "Attention": _attention,
    "DecoderMaskedMultiHeadAttention": _decoder_masked,
    "GroupQueryAttention": _grouped,
    "MultiHeadAttention": _multi_head,
    "RotaryEmbedding": _rotary,
}
