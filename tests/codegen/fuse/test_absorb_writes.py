"""Rows are written into a state by the layer that makes them."""

from __future__ import annotations

import numpy as np
from graphs import feeds, graph, ops, random, unchanged

from intaglio.codegen.fuse.absorb_writes import absorb_writes
from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.values import TensorType
from intaglio.compiler.passes.linear import linear
from intaglio.compiler.passes.merge_linear import merge_linear
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.semantics import evaluate

P = dim(Symbol("P", 0, 40))
W = {
    "wq": random(8, 8, seed=1),
    "wk": random(8, 4, seed=2),
    "wv": random(8, 12, seed=3),
    "bv": random(12, seed=6),
}
QKV = "q = MatMul(x, wq) k = MatMul(x, wk) v0 = MatMul(x, wv) v = Add(v0, bv) "


def layers(body: str, outputs: str) -> Graph:
    g = graph(f"main (float[1,T,8] x) => ({outputs}) {{ {body} }}", W)
    linear(g)
    return g


def cached(body: str, outputs: str, states: dict[str, tuple[str, object]]) -> Graph:
    """`states` maps a value to the state that its rows are written into, and the row they begin at.

    What reads the value reads all rows up to the new ones, as attention does.
    """
    g = layers(body, outputs)
    for name, (state_name, at) in states.items():
        value = next(v for v in g.values() if v.name == name)
        state = g.value(state_name, TensorType("f32", (1, 64, value.shape[-1])))
        g.states.append(state)
        readers = g.consumers(value)
        written = GraphBuilder(g, g.producer(value)).Write(value, state, at=at)
        for reader in readers:
            g.replace(reader, reader.reading({value: written}))
            reader.outputs[0].type = written.type
    merge_linear(g)
    return g


def states_after(g: Graph, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    inputs = feeds(g, sizes)
    values = {v: inputs[v.name] for v in (*g.inputs, *g.states)}
    results = evaluate.compute(g, g.nodes, values, sizes)
    return {state.name: results[out] for n in g.nodes for out, state in n.written.items()}


SIZES = ({"T": 5, "P": 3}, {"T": 1, "P": 0}, {"T": 1, "P": 12})


def test_a_layer_writes_its_rows_itself():
    g = cached(
        QKV + "a = Abs(q) b = Abs(k) c = Abs(v)", "float a, float b, float c", {"k": ("key", P), "v": ("value", P)}
    )
    before = [states_after(g, s) for s in SIZES]
    assert ops(g)["Write"] == 2
    assert unchanged(g, absorb_writes, SIZES) == 2
    assert ops(g) == {"Linear": 1, "Abs": 3}
    (node,) = [n for n in g.nodes if n.op == "Linear"]
    assert {out.shape[1] for out in node.written} == {P + g.inputs[0].shape[1]}
    assert [s.name for s in node.written.values()] == ["key", "value"]
    for sizes, expected in zip(SIZES, before, strict=True):
        actual = states_after(g, sizes)
        assert actual.keys() == expected.keys() == {"key", "value"}
        for name in expected:
            np.testing.assert_allclose(actual[name], expected[name], rtol=1e-5, atol=1e-5)


def test_a_single_layer_writes_too():
    g = cached("k = MatMul(x, wk) b = Abs(k)", "float b", {"k": ("key", P)})
    assert unchanged(g, absorb_writes, SIZES) == 1
    assert ops(g) == {"Linear": 1, "Abs": 1}


def test_writes_at_different_rows_are_not_one():
    g = cached(QKV + "b = Abs(k) c = Abs(v)", "float b, float c", {"k": ("key", P), "v": ("value", P + 1)})
    unchanged(g, absorb_writes, SIZES)
    assert ops(g) == {"Linear": 1, "Write": 1, "Abs": 2}


def test_rows_that_are_read_before_they_are_written_stay():
    g = layers("k = MatMul(x, wk) a = Abs(k)", "float a")
    k = g.nodes[0].output
    state = g.value("key", TensorType("f32", (1, 64, 4)))
    g.states.append(state)
    g.outputs.append(GraphBuilder(g, g.nodes[0]).Write(k, state, at=P))
    assert unchanged(g, absorb_writes, SIZES) == 0


def test_windows_do_not_write():
    g = graph("main (float[1,6,20] x) => (float y) { y = Conv(x, w) }", {"w": random(4, 6, 3)})
    linear(g)
    layer = next(n for n in g.nodes if n.op == "Linear")
    state = g.value("key", TensorType("f32", (1, 64, 4)))
    g.states.append(state)
    g.outputs = [GraphBuilder(g, layer).Write(layer.output, state, at=0)]
    g.prune()
    assert unchanged(g, absorb_writes) == 0
