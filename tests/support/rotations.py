"""Graphs of queries and keys that are rotated and cached, which the tests of two fusions share."""

from __future__ import annotations

import numpy as np
from graphs import feeds
from parity import Build

from intaglio.compiler.ir.dims import Dim, Symbol, dim
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.operators import Rotary
from intaglio.compiler.ir.values import Value, known
from intaglio.compiler.semantics import evaluate

P = dim(Symbol("P", 0, 40))
SIZES = ({"T": 5, "P": 3}, {"T": 1, "P": 0}, {"T": 1, "P": 12})
HEADS = {"queries": 3, "keys": 1}


def tables(b: Build, pairs: int) -> tuple[Value, Value]:
    return b.weight(64, pairs), b.weight(64, pairs)


def rotated(b: Build, x: Value, angles: tuple[Value, Value], heads: int, interleaved: bool = False) -> Value:
    return b.add(Rotary(*angles, (x,), heads=(heads,), interleaved=interleaved, past=P))


def normed(b: Build, x: Value, head_dim: int, epsilon: float = 1e-6) -> Value:
    """Token rows with the norm of each head taken."""
    rows, width = x.shape[1:]
    heads = b.Reshape(x, b.constant(known([1, rows, width // head_dim, head_dim], (4,))))
    y = b.RMSNormalization(heads, b.weight(head_dim), axis=-1, epsilon=epsilon)
    return b.Reshape(y, b.constant(known([1, rows, width], (3,))))


def attended(b: Build, q: Value, k: Value, *others: Value) -> Graph:
    """What attention makes of the queries and the cached keys."""
    attention = b.Attention(q, k, k, heads=3, kv_heads=1, scale=0.5, past=P)
    return b.output(attention, *others)


def cached(b: Build, rows: Value, at: Dim = P) -> Value:
    return b.Write(rows, b.state("key", 1, 64, rows.shape[-1]), at=at)


def states_after(g: Graph, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    inputs = feeds(g, sizes)
    values = {v: inputs[v.name] for v in (*g.inputs, *g.states)}
    results = evaluate.compute(g, g.nodes, values, sizes)
    return {state.name: results[out] for n in g.nodes for out, state in n.written.items()}
