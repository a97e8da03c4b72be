"""The program `align`: where in the window a decoder's tokens look, and how probable each next token is.

Heads of cross-attention follow the speech (the alignment heads). A run reads a fixed number of tokens, so neither their
weights nor the logits of all tokens of a text are ever in memory together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Attention
from intaglio.compiler.ir.values import Value, known
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.runtime.contract import PROBABILITIES, TOKENS, WEIGHTS

ROWS = 32  # tokens of a run


def align(graph: Graph, heads: Sequence[tuple[int, int]], end: int, past: Dim, rows: int) -> int:
    """Replace the logits by `weights` f32[1, heads, rows, positions] and `probabilities` f32[1, rows]; return 2.

    weights: the softmax of q kᵀ of these heads (layer, head) of cross-attention, for each of the tokens that the graph
    reads. probabilities: of the token after each, among those below `end`.
    """
    layers = cross_attentions(graph)
    chosen = {layer: [head for at, head in heads if at == layer] for layer, _ in heads}
    parts = [_weights(graph, layers[layer], of) for layer, of in chosen.items()]
    builder = GraphBuilder(graph, layers[max(chosen)])
    weights = builder.Concat(*parts, axis=1) if len(parts) > 1 else parts[0]
    probabilities = _probabilities(graph, graph.outputs[0], end, past, rows)
    weights.name, probabilities.name = WEIGHTS, PROBABILITIES
    graph.outputs = [weights, probabilities]
    graph.prune()
    return len(graph.outputs)


def cross_attentions(graph: Graph) -> list[Node]:
    """Return the attentions to the encoder's rows, one for each layer that was recognised."""
    return [node for node in graph.nodes if (of := Attention.of(node)) is not None and of.past is None]


def _weights(graph: Graph, node: Node, heads: Sequence[int]) -> Value:
    """Return the weights f32[1, heads, rows, positions] of some heads of an attention."""
    attention = Attention.of(node)
    assert attention is not None
    builder = GraphBuilder(graph, node)
    group = attention.heads // attention.kv_heads
    q = _heads(builder, attention.q, attention.heads, heads)
    k = _heads(builder, attention.k, attention.kv_heads, [head // group for head in heads])
    scores = builder.MatMul(q, builder.Transpose(k, perm=[0, 1, 3, 2]))
    return builder.Softmax(builder.Mul(scores, builder.number(attention.scale, scores)), axis=-1)


def _heads(builder: GraphBuilder, value: Value, count: int, heads: Sequence[int]) -> Value:
    """Return some of `count` heads, [1, heads, rows, head_dim], of rows [1, rows, width] or of a cache by heads."""
    if len(value.shape) == 3:
        by_head = builder.Reshape(value, builder.integers(0, 0, count, -1))
        value = builder.Transpose(by_head, perm=[0, 2, 1, 3])
    return builder.Gather(value, builder.integers(*heads), axis=1)


def _probabilities(graph: Graph, logits: Value, end: int, past: Dim, rows: int) -> Value:
    """Return the probabilities. The sums are their own reductions, because a row of logits is too long for Softmax."""
    tokens = next(v for v in graph.states if v.name == TOKENS)
    builder = GraphBuilder(graph, graph.expect_producer(logits))
    text = builder.Slice(logits, builder.integers(0), builder.integers(end), builder.integers(2))
    bounds = (known([past + 1], (1,)), known([past + 1 + rows], (1,)), np.array([1]))
    following = builder.Slice(tokens, *map(builder.constant, bounds))
    inside = builder.Min(following, builder.constant(np.array(end - 1, np.int32)))
    highest = builder.ReduceMax(text, builder.integers(2), keepdims=1)
    total = builder.ReduceSum(builder.Exp(builder.Sub(text, highest)), builder.integers(2), keepdims=1)
    of_following = builder.Exp(builder.Sub(builder.GatherElements(text, inside, axis=2), highest))
    return builder.Reshape(builder.Div(of_following, total), builder.integers(0, -1))
