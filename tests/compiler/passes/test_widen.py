"""f16 and bf16 become f32, without a number that changes, and weights stay in the bits that they come in."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph, ops, random, unchanged

from intaglio.compiler.ir.encoded import SMALL, EncodedWeight
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.passes.widen import widen
from intaglio.compiler.semantics import evaluate

LARGE = SMALL // 8
W = {
    "row": random(8).astype(np.float16),
    "two": np.array(2, np.float16),
    "matrix": random(8, LARGE, seed=1).astype(np.float16),
    "pair": np.array([0, 2, 1]),
    "shape": np.array([1, 8]),
}


def of(body: str, inputs: str = "float16[T,8] x", outputs: str = "float16 y") -> Graph:
    return graph(f"main ({inputs}) => ({outputs}) {{ {body} }}", W)


def computed(g: Graph) -> set[str]:
    """The types of all values, but for the ends of the graph and what is known."""
    ends = [*g.inputs, *g.outputs]
    return {v.dtype for v in g.values() if v.const is None and v not in ends}


@pytest.mark.parametrize(
    "body",
    [
        "y = Add(x, row)",
        "a = Relu(x) y = Mul(a, two)",
        "a = Neg(x) b = Abs(a) y = Max(b, x)",
        "c = Less(x, row) y = Where(c, x, row)",
        "a = Transpose(x) y = Transpose(a)",
        "a = Cast<to=1>(x) y = Cast<to=10>(a)",
    ],
)
def test_everything_between_the_ends_is_f32(body: str) -> None:
    """Each result is rounded once, so no number changes."""
    g = of(body)
    assert unchanged(g, widen) > 0
    assert computed(g) <= {"f32", "bool"}
    assert [v.dtype for v in (*g.inputs, *g.outputs)] == ["f16", "f16"]


def test_the_ends_too() -> None:
    g = of("y = Add(x, row)")
    x = np.linspace(-2, 2, 40, dtype=np.float16).reshape(5, 8)
    before = evaluate.run(g, {"x": x}, {"T": 5})["y"]
    assert widen(g, whole=True) > 0
    after = evaluate.run(g, {"x": x.astype(np.float32)}, {"T": 5})["y"]
    assert [v.dtype for v in (*g.inputs, *g.outputs)] == ["f32", "f32"] and ops(g) == {"Add": 1}
    np.testing.assert_allclose(after, before, rtol=1e-3)


def test_a_matrix_stays_in_its_bits() -> None:
    g = of("y = MatMul(x, matrix)", outputs="float16 y")
    widen(g)
    weight = next(n for n in g.nodes if n.op == "MatMul").inputs[1]
    assert weight.dtype == "f32" and isinstance(weight.const, EncodedWeight)
    assert np.array_equal(evaluate.concrete(weight, {}), W["matrix"].astype(np.float32))


def test_a_matrix_that_is_added_is_computed() -> None:
    """What reads it has no kernel for few bits."""
    g = of("a = Transpose(x) y = Add(a, matrix)", f"float16[{LARGE},8] x")
    assert unchanged(g, widen) > 0
    added = next(n for n in g.nodes if n.op == "Add").inputs[1]
    assert isinstance(added.const, np.ndarray) and added.const.dtype == np.float32


def test_what_is_rounded_to_f16_on_purpose_stays() -> None:
    g = of("a = Cast<to=10>(x) y = Cast<to=1>(a)", "float[T,8] x", "float y")
    assert unchanged(g, widen) == 0
    assert ops(g) == {"Cast": 2} and computed(g) == {"f16"}


def test_f16_between_casts_that_is_computed_with_becomes_f32() -> None:
    """f16 between the casts is a way to compute, not to round: the sum is f32 then."""
    g = of("a = Cast<to=10>(x) b = Add(a, row) y = Cast<to=1>(b)", "float[T,8] x", "float y")
    assert widen(g) > 0
    assert computed(g) == {"f32"}


def test_attributes_that_name_a_type() -> None:
    g = graph(
        "main (float16[T,8] x) => (float16 y) { s = Shape(x) ones = ConstantOfShape<value=float16[1] {1}>(s) "
        "y = Add(x, ones) }"
    )
    assert unchanged(g, widen) > 0
    assert computed(g) == {"f32"}


def test_a_graph_of_f32_is_left_alone() -> None:
    g = of("y = Abs(x)", "float[T,8] x", "float y")
    assert unchanged(g, widen) == 0
    assert ops(g) == {"Abs": 1}
