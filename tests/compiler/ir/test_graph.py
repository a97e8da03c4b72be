"""The graph: order, rewriting in place, copies, and the invariants that verify() holds."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from graphs import graph, ops, random
from hypothesis import given
from hypothesis import strategies as st

from intaglio.compiler.ir.dims import Expr, Symbol, dim
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import CacheWrite, Node
from intaglio.compiler.ir.operators import Linear, Write
from intaglio.compiler.ir.values import TensorType, Value, known, type_of

T = dim(Symbol("T", 1, 64))
ROWS = TensorType("f32", (1, T, 4))


def chain(length: int) -> tuple[Graph, list[Value]]:
    """x -> Relu -> Relu -> ..., and all values."""
    g = Graph()
    values = [g.value("x", ROWS)]
    g.inputs = [values[0]]
    for i in range(length):
        values.append(g.value(f"v{i}", ROWS))
        g.add(Node("Relu", (values[-2],), (values[-1],), {}, (f"node{i}",)))
    g.outputs = [values[-1]]
    return g, values


# order


def build(insertions: list[int]) -> Graph:
    """A graph of a few nodes that are inserted in some order."""
    g = Graph()
    a, b, c, d = (g.value(name, ROWS) for name in "abcd")
    nodes = [
        Node("Abs", (a,), (b,)),
        Node("Neg", (a,), (c,)),
        Node("Add", (b, c), (d,)),
        Node("Exp", (d,), (g.value("e", ROWS),)),
    ]
    g.inputs, g.outputs = [a], [nodes[3].output]
    for i in insertions:
        g.add(nodes[i])
    return g


@given(st.permutations(range(4)))
def test_values_are_made_before_they_are_read(insertions):
    g = build(insertions)
    names = [n.op for n in g.nodes]
    assert names.index("Add") > max(names.index("Abs"), names.index("Neg"))
    assert names[-1] == "Exp"
    first, second = sorted([0, 1], key=insertions.index)
    assert names[:2] == [("Abs", "Neg")[first], ("Abs", "Neg")[second]]  # the older one first


def test_order_does_not_depend_on_hashes():
    """Objects hash by their address, strings by a seed: in two processes both differ."""
    program = (
        "import numpy as np; from graphs import graph\n"
        "padding = [object() for _ in range(int(np.random.default_rng().integers(1000)))]\n"
        "parts = ' '.join(f'a{i} = Abs(x) b{i} = Mul(a{i}, w{i % 3}) s{i+1} = Add(b{i}, s{i})' for i in range(20))\n"
        "weights = {f'w{i}': np.zeros(8, np.float32) for i in range(3)}\n"
        "print(graph('main (float[T,8] x) => (float[T,8] s20) { s0 = Neg(x) ' + parts + ' }', weights))"
    )
    where = os.pathsep.join(p for p in sys.path if p.endswith("support"))
    texts = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": where},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
    assert len(texts.pop().splitlines()) > 60


def test_a_cycle_is_refused():
    g, (x, a, b) = chain(2)
    g.replace(g.producer(a), Node("Add", (x, b), (a,)))
    with pytest.raises(BadModel, match="cycle"):
        g.verify()


# building and rewriting


def test_names_are_made_unique():
    g = Graph()
    names = [g.value("x", ROWS).name for _ in range(4)] + [g.value("x.1", ROWS).name]
    assert len(set(names)) == 5 and names[0] == "x"


def test_a_value_has_one_producer():
    g, (x, a, _) = chain(2)
    with pytest.raises(ValueError, match="two producers"):
        g.add(Node("Abs", (x,), (a,)))


def test_replace_keeps_the_place():
    g = build([0, 1, 2, 3])
    first = g.nodes[0]
    g.replace(first, Node("Sign", first.inputs, first.outputs))
    assert [n.op for n in g.nodes] == ["Sign", "Neg", "Add", "Exp"]


def test_consumers_are_each_listed_once_and_oldest_first():
    g = Graph()
    x = g.value("x", ROWS)
    square = g.add(Node("Mul", (x, x), (g.value("y", ROWS),)))
    other = g.add(Node("Abs", (x,), (g.value("z", ROWS),)))
    assert g.consumers(x) == [square, other]


def test_redirect_moves_readers_and_outputs():
    g, (_, a, b, c) = chain(3)
    g.redirect(b, a)
    assert g.nodes[-1].inputs == (a,) and g.nodes[-1].output is c
    g.redirect(c, a)
    assert g.outputs == [a] and a.name == "v2"
    assert g.prune() == 2
    assert g.consumers(a) == []


def test_redirecting_an_output_to_an_input_keeps_both_names():
    g, (x, a) = chain(1)
    g.redirect(a, x)
    g.verify()
    assert [v.name for v in g.inputs] == ["x"] and [v.name for v in g.outputs] == ["v0"]
    assert ops(g) == {"Identity": 1}


def test_redirecting_an_output_to_another_keeps_both_names():
    g, (_, a, b) = chain(2)
    g.outputs = [a, b]
    g.redirect(b, a)
    g.prune()
    g.verify()
    assert [v.name for v in g.outputs] == ["v0", "v1"]


def test_ancestors_stop():
    g, (_, a, b, c) = chain(3)
    assert [n.output for n in g.ancestors(c)] == [a, b, c]
    assert [n.output for n in g.ancestors(c, stop=(a,))] == [b, c]


def test_ancestors_sort_no_more_than_themselves(monkeypatch):
    """Rules ask for a few ancestors at every layer: sorting all nodes each time would take the square of the layers."""
    g, (x, *_) = chain(100)
    first = g.add(Node("Abs", (x,), (g.value("first", ROWS),)))
    second = g.add(Node("Add", (x, first.output), (g.value("second", ROWS),)))
    sizes = []
    sort = Graph._sorted
    monkeypatch.setattr(Graph, "_sorted", lambda self, nodes: sizes.append(len(nodes)) or sort(self, nodes))
    assert g.ancestors(second.output) == [first, second]
    assert sizes == [2]


def test_ancestors_stand_in_the_order_of_the_graph_whatever_they_stop_at():
    """`late` waits for the oldest nodes, so the younger `early` comes first, though neither reads the other."""
    g, (*_, before, _) = chain(5)
    late = g.value("late", ROWS)
    early = g.add(Node("Abs", (g.inputs[0],), (g.value("early", ROWS),)))
    both = g.add(Node("Add", (late, early.output), (g.value("both", ROWS),)))
    last = g.replace(g.producer(g.outputs[0]), Node("Relu", (before,), (late,)))
    assert g.ancestors(both.output, stop=(before,)) == [n for n in g.nodes if n in (last, early, both)]


def test_pruning_keeps_the_order_that_was_sorted(monkeypatch):
    g, (_, a, _) = chain(2)
    g.add(Node("Abs", (a,), (g.value("dead", ROWS),)))
    assert [n.op for n in g.nodes] == ["Relu", "Relu", "Abs"]
    monkeypatch.setattr(Graph, "_sorted", lambda self, nodes: pytest.fail("it was sorted again"))
    assert g.prune() == 1
    assert [n.op for n in g.nodes] == ["Relu", "Relu"]


@pytest.mark.parametrize("seed", range(20))
def test_the_oldest_node_that_may_be_next_is_next(seed):
    rng = np.random.default_rng(seed)
    g = Graph()
    values = [g.value("x", ROWS) for _ in range(40)]
    rank = rng.permutation(len(values))
    for i in rng.permutation(range(1, len(values))):  # nodes are added in any order, readers before makers too
        inputs = tuple(values[k] for k in rng.choice(len(values), 3) if rank[k] < rank[i])
        g.add(Node("Op", inputs or (None,), (values[i],), {"age": len(g.nodes)}))
    rest, expected = sorted(g.nodes, key=lambda n: n.attrs["age"]), []
    while rest:
        unmade = {n.output for n in rest}
        expected.append(next(n for n in rest if not unmade & set(n.inputs)))
        rest.remove(expected[-1])
    assert g.nodes == expected


# pruning


def test_prune_removes_what_nobody_reads():
    g, (x, a, _) = chain(2)
    dead = g.add(Node("Abs", (a,), (g.value("dead", ROWS),)))
    g.add(Node("Neg", (dead.output,), (g.value("deader", ROWS),)))
    assert g.prune() == 2
    assert ops(g) == {"Relu": 2}
    assert g.prune() == 0
    assert g.inputs == [x]


def test_prune_keeps_writes_to_states():
    g, (x, a) = chain(1)
    state = g.value("state", TensorType("f32", (1, 64, 4)))
    g.states.append(state)
    g.add(Node.of(Write(x, state, at=0), (g.value("written", state.type),)))
    weight = g.constant(random(4, 4))
    linear = Linear(a, weight, splits=(4,), cached=(CacheWrite(0, state, 0),))
    layer = g.add(Node.of(linear, (g.value("y", state.type),)))
    assert layer.written == {layer.output: state}
    assert g.prune() == 0
    g.replace(layer, Node.of(Linear(a, weight), layer.outputs))
    assert g.prune() == 1


# copies


def test_a_copy_is_independent():
    g, values = chain(2)
    g.states.append(g.value("state", ROWS))
    copy = g.copy("other")
    assert str(copy) == str(g).replace("graph main", "graph other")
    copy.replace(copy.nodes[0], Node("Abs", copy.nodes[0].inputs, copy.nodes[0].outputs))
    assert ops(g) == {"Relu": 2}
    assert not {id(v) for v in copy.values()} & {id(v) for v in values}
    assert copy.value("x", ROWS).name != "x"


def test_a_copy_substitutes_dimensions_everywhere():
    g = graph("main (float[1,T,4] x) => (float[1,T,2,2] y) { s = Shape(x) n = Gather(s, one) y = Reshape(x, shape) }",
              {"one": np.array([1]), "shape": np.array([1, 0, 2, 2])})  # fmt: skip
    reshape = g.nodes[-1]
    shape = g.constant(known([1, T, 2, 2], (4,)))
    g.replace(reshape, Node("Reshape", (reshape.inputs[0], shape), reshape.outputs, {"at": T + 1, "axis": 2}))
    copy = g.copy("step", {"T": 1})
    node = copy.nodes[-1]
    assert node.inputs[1].const.tolist() == [1, 1, 2, 2] and node.inputs[1].const.dtype == np.int64
    assert node.attrs == {"at": 2, "axis": 2}
    assert copy.outputs[0].shape == (1, 1, 2, 2) and copy.inputs[0].shape == (1, 1, 4)
    assert g.outputs[0].shape == (1, T, 2, 2)


def test_a_copy_shares_the_weights():
    weight = random(4)
    g = graph("main (float[T,4] x) => (float[T,4] y) { y = Add(x, w) }", {"w": weight})
    (original,) = [v for v in g.values() if v.const is not None]
    (copied,) = [v for v in g.copy("other").values() if v.const is not None]
    assert copied is not original and copied.const is original.const


# verify


def test_verify_names_what_nothing_makes():
    g, (x, _, b) = chain(2)
    g.replace(g.nodes[1], Node("Add", (x, Value("ghost", ROWS)), (b,), {}, ("node1",)))
    with pytest.raises(BadModel, match=r"Add \(node1\) reads ghost"):
        g.verify()


def test_verify_wants_outputs_to_be_made():
    g, _ = chain(1)
    g.outputs.append(Value("ghost", ROWS))
    with pytest.raises(BadModel, match="ghost"):
        g.verify()


def test_verify_takes_constants_and_states():
    g, (_, a) = chain(1)
    state = g.value("state", ROWS)
    g.states = [state]
    sum_ = g.add(Node("Add", (a, state), (g.value("sum", ROWS),)))
    g.add(Node("Mul", (sum_.output, g.constant(random(4))), (g.value("product", ROWS),)))
    g.outputs += [g.constant(random(2)), state]
    g.verify()


# text


def test_text():
    text = str(
        graph(
            "main (float[1,T,4] x) => (float[1,T,8] y) { [first] h = MatMul(x, w) [second] y = Mul(h, s) }",
            {"w": random(4, 8), "s": np.array(0.5, np.float32)},
        )
    )
    assert text.splitlines() == [
        "graph main",
        "  input x: f32[1,T,4]",
        "  const w: f32[4,8]",
        "  h: f32[1,T,8] = MatMul(x, w)",
        "  y: f32[1,T,8] = Mul(h, 0.5)",
        "  output y",
    ]


def test_types():
    assert str(TensorType("f32", (T, 384))) == "f32[T,384]"
    assert TensorType("f32", (T, 3)).size == T * 3
    assert type_of(np.zeros((2, 3), np.float16)) == TensorType("f16", (2, 3))
    assert type_of(known([T, 1], (2,))) == TensorType("i64", (2,))
    with pytest.raises(BadModel, match="complex64"):
        type_of(np.zeros(2, np.complex64))


def test_scalars():
    assert Value("c", ROWS, np.array([[2.5]], np.float32)).scalar == 2.5
    assert Value("c", ROWS, np.array(True)).scalar is True
    assert Value("c", ROWS, np.zeros(2)).scalar is None
    assert Value("c", ROWS, known([T], (1,))).scalar is None
    assert Value("x", ROWS).scalar is None


def test_known_dimensions():
    assert known([1, 2], (2, 1)).dtype == np.int64
    mixed = known([1, T], (2,))
    assert mixed.dtype == object and isinstance(mixed[1], Expr)
