"""Add a KV cache: causal attention over T tokens becomes attention over a state that holds the earlier tokens.

Tokens interact only in attention, so a decoder with a cache can be derived from a decoder exported without one. The
pass writes keys and values into a state at row P. Everything else is computed only for the T new rows.
"""

from __future__ import annotations

from dataclasses import replace

from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Dim, Symbol, fixed
from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.expression import ELEMENTWISE
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Attention, FakeQuantize, Linear, Rotary
from intaglio.compiler.ir.values import TensorType, Value, known
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.rewrite.elementwise_chains import rounding

_BY_LAST_AXIS = frozenset({"LayerNormalization", "RMSNormalization", "Softmax", "Linear", "Rotary"})
_KEEPS = ELEMENTWISE | {"Slice", "Concat", "Expand"}


def kv_cache(graph: Graph, tokens: Symbol, past: Dim) -> int:
    """Add the states `self.N.key` and `self.N.value` to each causal attention; see `cache`.

    Return the number of attentions. Raises UnsupportedOperator if tokens interact outside causal attention, because
    the past tokens would be missing there, or if an attention has keys that no token wrote.
    """
    _check(graph, tokens)
    layers = [(n, of) for n in graph.nodes if (of := Attention.of(n)) and of.past is not None]
    for i, (node, attention) in enumerate(layers):
        if attention.past != 0:
            raise UnsupportedOperator(
                f"Attention ({', '.join(node.sources)}) has keys that no token wrote; no cache fits it"
            )
        builder = GraphBuilder(graph, node)
        k, v = (
            _write(builder, rows, f"self.{i}.{name}", cache(rows, attention.kv_heads, tokens.high), past)
            for name, rows in (("key", attention.k), ("value", attention.v))
        )
        graph.replace(node, Node.of(replace(attention, k=k, v=v, past=past), node.outputs, node.sources))
    for node in graph.nodes:
        if rotary := Rotary.of(node):
            graph.replace(node, Node.of(replace(rotary, past=past), node.outputs, node.sources))
    return len(layers)


def cache(rows: Value, heads: int, capacity: int) -> TensorType:
    """Return the type of a cache of up to `capacity` rows of keys or values: [1, heads, capacity, head_dim].

    So the keys of a head are a run of memory. Heads that are not whole vec4s stay together in a row, [1, capacity,
    width], because kernels write rows by vec4s.
    """
    width = fixed(rows.shape[-1])
    shape = (1, capacity, width) if width // heads % 4 else (1, heads, capacity, width // heads)
    return TensorType(rows.dtype, shape)


def _write(builder: GraphBuilder, rows: Value, name: str, type: TensorType, past: Dim) -> Value:
    state = builder.graph.value(name, type)
    builder.graph.states.append(state)
    return builder.Write(rows, state, at=past)


def _check(graph: Graph, tokens: Symbol) -> None:
    for node in graph.nodes:
        over = [v for v in node.inputs if v is not None and tokens in v.type.symbols]
        if over and not _apart(node, over, tokens):
            where = ", ".join(node.sources)
            raise UnsupportedOperator(
                f"{node.op} ({where}) mixes tokens and is not a causal attention that the compiler recognises; "
                "try `intaglio compile MODEL --explain Attention`"
            )


def _apart(node: Node, over: list[Value], tokens: Symbol) -> bool:
    """Return whether the output for each token depends only on the same token of the inputs `over`."""
    values = {*over, *node.outputs}
    axes = {v: axis for v in values if (axis := _token_axis(v, tokens)) is not None}
    if len(axes) < len(values):
        return False
    x, axis = node.inputs[0], axes[node.output]
    if FakeQuantize.of(node):
        return True  # its range covers only the new tokens, as in a model exported with a cache
    if attention := Attention.of(node):
        return attention.past is not None or tokens not in attention.k.type.symbols
    if node.op == "Reshape":
        return dims.product(x.shape[: axes[x]]) == dims.product(node.output.shape[:axis])
    if node.op == "Gather":
        return x not in axes or node.attrs.get("axis", 0) % len(x.shape) != axes[x] % len(x.shape)
    if node.op == "Transpose":
        return True
    if node.op.startswith("Reduce"):
        return axes[x] != -1 and _last_axis(node)
    if node.op in _KEEPS:
        return set(axes.values()) == {axis}
    by_last = node.op in _BY_LAST_AXIS or (node.op == "MatMul" and node.inputs[1].const is not None)
    layer = Linear.of(node)
    by_row = layer is None or layer.window is None
    return by_last and set(axes.values()) == {axis} and axis != -1 and _last_axis(node) and by_row


def _token_axis(value: Value, tokens: Symbol) -> int | None:
    """Return the token axis, counted from the end, or None if there is not exactly one."""
    rank = len(value.shape)
    axes = [i - rank for i, d in enumerate(value.shape) if tokens in dims.symbols(d)]
    return axes[0] if len(axes) == 1 and value.shape[axes[0]] == dims.dim(tokens) else None


def _last_axis(node: Node) -> bool:
    rank = len(node.inputs[0].shape)
    if node.op.startswith("Reduce"):
        return node.input(1) is not None and node.inputs[1].scalar in (-1, rank - 1)
    return node.attrs.get("axis", -1) in (-1, rank - 1)


def last_position(graph: Graph, tokens: Dim) -> int:
    """Compute the outputs only for the last of `tokens` tokens; return the number of changed outputs."""
    changed = 0
    for out in list(graph.outputs):
        value = out
        while (node := graph.producer(value)) is not None and _row_by_row(graph, node):
            value = node.inputs[0]
        if node is None or len(value.shape) != 3 or value.shape[1] != tokens or isinstance(tokens, int):
            continue
        _shorten(graph, value, out, tokens)
        changed += 1
    return changed


def _row_by_row(graph: Graph, node: Node) -> bool:
    """Return whether `node` computes each row of its output only from the same row of its first input."""
    constant = all(v is None or v.const is not None for v in node.inputs[1:])
    by_row = node.op in ELEMENTWISE | _BY_LAST_AXIS | {"MatMul"} or rounding(node) is not None
    return constant and by_row and len(node.outputs) == 1


def _shorten(graph: Graph, value: Value, out: Value, tokens: Dim) -> None:
    chain = graph.ancestors(out, stop=(value,))
    builder = GraphBuilder(graph, chain[0])
    ends = [builder.constant(known([d], (1,))) for d in (tokens - 1, tokens, 1)]
    row = builder.Slice(value, *ends)
    for node in chain:
        row = builder.like(node, {node.inputs[0]: row})
        row.origin = node.output.origin
    graph.redirect(out, row)
    graph.prune()
