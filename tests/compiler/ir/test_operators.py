"""Our own operators: their operands have names, and what walks a graph sees them in order."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.compiler.ir.dims import Symbol, dim
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.nodes import CacheWrite, Node, Tail
from intaglio.compiler.ir.operators import OWN, FakeQuantize, Linear, Prologue, Rotary, SampleToken, Write, node
from intaglio.compiler.ir.values import TensorType, Value
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.rewrite.pattern import PatternBuilder
from intaglio.compiler.semantics.operators import OURS

P = dim(Symbol("P", 0, 9))


def value(name: str, *shape: int) -> Value:
    return Value(name, TensorType("f32", shape))


X, W, B, S, STATE = value("x", 1, 4), value("w", 8, 4), value("b", 8), value("s", 4), value("state", 1, 9, 8)


def names(values: tuple[Value | None, ...]) -> list[str | None]:
    return [v.name if v is not None else None for v in values]


def test_operands_in_order() -> None:
    norm = Prologue("rmsnorm", 1e-6, S)
    assert names(Linear(X, W).inputs) == ["x", "w"]
    assert names(Linear(X, W, B, prologue=norm).inputs) == ["x", "w", "b", "s"]
    # an operand of the operator itself keeps its place; one of a part of it, such as the norm's shift, has none
    assert names(Linear(X, W, prologue=norm).inputs) == ["x", "w", None, "s"]
    assert names(Rotary(S, B, (X, W), heads=(1, 2), interleaved=False, past=0).inputs) == ["s", "b", "x", "w"]


def test_the_operands_of_a_tail_begin_behind_three_inputs() -> None:
    tail = Tail((("Add", "acc", "x3"),), (B,))
    assert names(Node.of(Linear(X, W), (value("y", 1, 8),), tail=tail).reads) == ["x", "w", None, "b"]
    assert names(Node("Relu", (X,), (X,), tail=tail).reads) == ["x", None, None, "b"]


def test_what_is_written() -> None:
    out, other = value("y", 1, 8), value("z", 1, 8)
    layer = Linear(X, W, splits=(4, 4), cached=(CacheWrite(1, STATE, P),))
    assert Node.of(layer, (out, other)).written == {other: STATE}
    assert Node.of(Write(X, STATE, at=P), (out,)).written == {out: STATE}
    assert Node.of(SampleToken(X, S, STATE, at=P, seed=0, drawn=0), (out,)).written == {out: STATE}
    assert Node("Relu", (X,), (out,)).written == {}


def test_others_in_their_place() -> None:
    layer = Linear(X, W, cached=(CacheWrite(0, STATE, P + 1),))
    changed = Node.of(layer, (X,)).reading({W: B}).with_sizes({"P": 3})
    assert Linear.of(changed) == Linear(X, B, cached=(CacheWrite(0, STATE, 4),))
    array = np.zeros((2, 2))
    assert Linear(X, W).with_inputs({X: array}).x is array


def test_what_a_node_is() -> None:
    made = node("FakeQuantize", (X,), (X,), {})
    assert FakeQuantize.of(made) == FakeQuantize(X) and Linear.of(made) is None and Linear.of(None) is None
    assert (made.op, made.inputs, made.attrs, made.settings) == ("FakeQuantize", (X,), {}, {})
    assert node("Relu", (X,), (X,), {}).own is None
    with pytest.raises(TypeError, match="expected Linear"):
        Linear.expect(made)


def test_settings_are_what_is_not_an_operand() -> None:
    assert Linear(X, W, B, splits=(4, 4)).settings == {"splits": (4, 4)}
    assert Linear(X, W).is_plain and not Linear(X, W, splits=(8,)).is_plain
    assert "prologue=(kind=rmsnorm, epsilon=1e-06, scale=s)" in str(
        Node.of(Linear(X, W, prologue=Prologue("rmsnorm", 1e-6, S)), (X,))
    )


def test_equal_computations() -> None:
    """Whatever they read: two roundings to the same codes are one computation, those to others are not."""
    first, second = (Node.of(FakeQuantize(v, S, B, low=0.0, high=255.0), (v,)) for v in (X, W))
    assert first.computes == second.computes
    assert first.computes != Node.of(FakeQuantize(X, S, B, low=-128.0, high=127.0), (X,)).computes


def test_every_operator_has_a_meaning_or_needs_none() -> None:
    assert OWN.keys() - OURS.keys() == {"SampleToken", "WhisperToken"}  # nothing that is folded or compared


@pytest.mark.parametrize("builder", [GraphBuilder(Graph(), Node("", (), (X,))), PatternBuilder()])
def test_operators_that_do_not_exist(builder: GraphBuilder | PatternBuilder) -> None:
    with pytest.raises(AttributeError, match="Lienar"):
        builder.Lienar(X, W)
