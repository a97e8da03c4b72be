"""Rules: what a pattern matches, why a rule declines, and the reference that it computes from its own pattern."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph, ops, random, unchanged

from intaglio.compiler.rewrite.pattern import PatternBuilder, Rule, Variable, apply, match

W = {"w": random(4), "two": np.array(2, np.float32), "three": np.array([3], np.float32)}


def found(pattern, body: str, **weights: np.ndarray) -> list[dict[str, str]]:
    """Names of the values that the variables of `pattern` take where it matches y."""
    g = graph(f"main (float[T,4] x, float[T,4] z) => (float[T,4] y) {{ {body} }}", W | weights)
    names = list(pattern.__code__.co_varnames[1 : pattern.__code__.co_argcount])
    tree = pattern(PatternBuilder(), *map(Variable, names))
    matches = [{k: v.name for k, v in m.values.items()} for m in match(g, tree, g.outputs[0])]
    return [m for i, m in enumerate(matches) if m not in matches[:i]]


# matching


def test_an_operator_and_its_inputs():
    assert found(lambda op, a, b: op.Sub(a, b), "y = Sub(x, z)") == [{"a": "x", "b": "z"}]
    assert found(lambda op, a, b: op.Sub(a, b), "y = Add(x, z)") == []
    assert found(lambda op, a: op.Abs(op.Neg(a)), "t = Neg(x) y = Abs(t)") == [{"a": "x"}]
    assert found(lambda op, a: op.Neg(op.Abs(a)), "t = Neg(x) y = Abs(t)") == []


def test_python_operators():
    assert found(lambda op, a, b: a + b, "y = Add(x, z)")
    assert found(lambda op, a, b: a - b, "y = Sub(x, z)")
    assert found(lambda op, a, b: a * b, "y = Mul(x, z)")
    assert found(lambda op, a, b: a / b, "y = Div(x, z)")
    assert found(lambda op, a: 2.0 + a, "y = Add(x, two)") == [{"a": "x"}]
    assert found(lambda op, a: 2.0 * a, "y = Mul(x, two)") == [{"a": "x"}]
    assert found(lambda op, a: 2.0 / a, "y = Div(two, x)") == [{"a": "x"}]
    assert found(lambda op, a: 2.0 - a, "y = Sub(two, x)") == [{"a": "x"}]


@pytest.mark.parametrize("op", ["Add", "Mul", "Max", "Min"])
def test_commutative_operators_match_in_either_order(op):
    for order in ("x, t", "t, x"):
        body = f"t = Abs(z) y = {op}({order})"
        assert found(lambda o, a, b: getattr(o, op)(a, o.Abs(b)), body) == [{"a": "x", "b": "z"}]


@pytest.mark.parametrize("op", ["Sub", "Div", "Pow"])
def test_other_operators_match_in_their_order(op):
    body = "t = Abs(z) y = {}({})"
    pattern = lambda o, a, b: getattr(o, op)(a, o.Abs(b))  # noqa: E731
    assert found(pattern, body.format(op, "x, t")) == [{"a": "x", "b": "z"}]
    assert found(pattern, body.format(op, "t, x")) == []


def test_numbers_match_constants_of_one_element():
    times = lambda op, a: a * 3.0  # noqa: E731
    assert found(times, "y = Mul(x, three)") == [{"a": "x"}]
    assert found(times, "y = Mul(x, two)") == []
    assert found(times, "y = Mul(x, w)") == []
    assert found(times, "y = Mul(x, z)") == []
    assert found(times, "y = Mul(x, c)", c=np.array(3 * (1 + 1e-6), np.float32)) == [{"a": "x"}]
    assert found(times, "y = Mul(x, c)", c=np.array(3.001, np.float32)) == []
    assert found(lambda op, a: a + 0.0, "y = Add(x, c)", c=np.array(1e-30, np.float32)) == []
    assert found(lambda op, a: op.Max(a, -np.inf), "y = Max(x, c)", c=np.array(-np.inf, np.float32)) == [{"a": "x"}]
    assert found(lambda op, a: op.Max(a, -np.inf), "y = Max(x, c)", c=np.array(-3e38, np.float32)) == []


def test_any_gives_every_alternative_a_chance():
    pattern = lambda op, a: op.any(op.Pow(a, 2.0), a * a)  # noqa: E731
    assert found(pattern, "y = Mul(x, x)") == [{"a": "x"}]
    assert found(pattern, "y = Pow(x, two)") == [{"a": "x"}]
    assert found(pattern, "y = Mul(x, z)") == []
    assert found(lambda op, a: a * op.any(2.0, 3.0), "y = Mul(x, three)") == [{"a": "x"}]


def test_all_ways_to_match_are_found():
    pattern = lambda op, a, b, c: op.any(a * b, a) + c  # noqa: E731
    ways = found(pattern, "t = Mul(x, z) y = Add(t, w)")
    assert {"a": "x", "b": "z", "c": "w"} in ways
    assert {"a": "z", "b": "x", "c": "w"} in ways
    assert {"a": "t", "c": "w"} in ways
    assert {"a": "w", "c": "t"} in ways
    assert len(ways) == 4


def test_a_variable_is_one_value():
    assert found(lambda op, a: a - op.Abs(a), "t = Abs(x) y = Sub(x, t)") == [{"a": "x"}]
    assert found(lambda op, a: a - op.Abs(a), "t = Abs(x) y = Sub(z, t)") == []


def test_a_shared_subexpression_is_one_value():
    def squared_difference(op, a, b):
        d = a - b
        return d * d

    assert found(squared_difference, "d = Sub(x, z) y = Mul(d, d)") == [{"a": "x", "b": "z"}]
    assert found(squared_difference, "d = Sub(x, z) e = Sub(x, z) y = Mul(d, e)") == []


def test_attributes_must_be_there():
    soft = lambda op, a: op.Softmax(a, axis=-1)  # noqa: E731
    assert found(soft, "y = Softmax<axis=1>(x)") == [{"a": "x"}]  # the loader counts from the end
    assert found(soft, "y = Softmax<axis=0>(x)") == []


def test_the_number_of_inputs_must_fit():
    assert found(lambda op, a, b: op.Clip(a, b), "y = Clip(x, two)") == [{"a": "x", "b": "two"}]
    assert found(lambda op, a, b: op.Clip(a, b), "y = Clip(x, two, three)", three=np.array(3, np.float32)) == []
    assert found(lambda op, a, b, c: op.Clip(a, b, c), "y = Clip(x, , two)") == []


def test_only_the_first_output_is_meant():
    split = lambda op, a: op.Abs(op.Split(a))  # noqa: E731
    body = "main (float[8] x) => (float[4] y) {{ p, q = Split<axis=0, num_outputs=2>(x) y = Abs({}) }}"
    tree = split(PatternBuilder(), Variable("a"))
    assert [len(list(match(g, tree, g.outputs[0]))) for g in (graph(body.format(o)) for o in "pq")] == [1, 0]


# rewriting


class DoubleAbs(Rule):
    @staticmethod
    def pattern(op, x):
        return op.Abs(op.Abs(x))

    @staticmethod
    def rewrite(op, out, x):
        return op.Abs(x)


def test_rules_apply_until_none_fires():
    g = graph("main (float[T] x) => (float[T] y) { [a] a = Abs(x) [b] b = Abs(a) [c] c = Abs(b) [d] y = Abs(c) }")
    assert unchanged(g, lambda g: apply(g, DoubleAbs).fired) == 3
    (node,) = g.nodes
    assert node.output.name == "y"
    assert node.sources == ("a", "b", "c", "d")


def test_inner_values_are_private():
    """A value inside the match that something else reads, or that is an output, must stay."""
    g = graph("main (float[T] x) => (float[T] y, float[T] z) { a = Abs(x) y = Abs(a) z = Neg(a) }")
    outcome = apply(g, DoubleAbs)
    assert outcome.fired == 0
    assert outcome.declined and "a is also read outside of the match" in outcome.declined[0]
    g = graph("main (float[T] x) => (float[T] y, float[T] a) { a = Abs(x) y = Abs(a) }")
    assert apply(g, DoubleAbs).fired == 0


def test_a_value_read_twice_inside_the_match_is_private():
    class Square(Rule):
        @staticmethod
        def pattern(op, x):
            d = op.Abs(x)
            return d * d

        @staticmethod
        def rewrite(op, out, x):
            return op.Mul(x, x)

    g = graph("main (float[T] x) => (float[T] y) { a = Abs(x) y = Mul(a, a) }")
    assert unchanged(g, lambda g: apply(g, Square).fired) == 1


def test_a_rule_declines_with_its_reason():
    class Never(Rule):
        @staticmethod
        def pattern(op, x):
            return op.Abs(x)

        @staticmethod
        def rewrite(op, out, x):
            op.Neg(x)
            op.decline("no")

    g = graph("main (float[T] x) => (float[T] y) { [here] y = Abs(x) }")
    outcome = apply(g, Never)
    assert (outcome.fired, outcome.declined) == (0, ["Never at here: no"])
    assert ops(g) == {"Abs": 1}, "what a declined rewrite began is not left behind"


def test_a_result_of_another_type_is_declined():
    class Shorter(Rule):
        @staticmethod
        def pattern(op, x, s):
            return x - s

        @staticmethod
        def rewrite(op, out, x, s):
            return op.Abs(x)

    g = graph("main (float[4] x) => (float[1,4] y) { y = Sub(x, s) }", {"s": np.ones((1, 4), np.float32)})
    outcome = apply(g, Shorter)
    assert outcome.fired == 0
    assert "y: f32[1,4] to f32[4]" in outcome.declined[0]
    assert ops(g) == {"Sub": 1}


def test_a_rule_may_take_another_way_to_match():
    class ByTwo(Rule):
        @staticmethod
        def pattern(op, x, s):
            return x * s

        @staticmethod
        def rewrite(op, out, x, s):
            if s.scalar is None:
                op.decline("the factor is no number")
            return op.Add(x, x)

    g = graph("main (float[T] x) => (float[T] y) { y = Mul(two, x) }", W)
    assert unchanged(g, lambda g: apply(g, ByTwo).fired) == 1
    assert ops(g) == {"Add": 1}


def test_a_rewrite_may_return_one_of_its_values():
    class Away(Rule):
        @staticmethod
        def pattern(op, x):
            return op.Neg(op.Neg(x))

        @staticmethod
        def rewrite(op, out, x):
            return x

    g = graph("main (float[T] x) => (float[T] y) { a = Neg(x) b = Neg(a) y = Abs(b) }")
    assert unchanged(g, lambda g: apply(g, Away).fired) == 1
    assert ops(g) == {"Abs": 1}
    g = graph("main (float[T] x) => (float[T] y) { a = Neg(x) y = Neg(a) }")
    assert unchanged(g, lambda g: apply(g, Away).fired) == 1
    assert [v.name for v in g.inputs + g.outputs] == ["x", "y"]


# the reference


def test_a_pattern_computes_its_own_reference():
    class Norm(Rule):
        @staticmethod
        def pattern(op, x, scale, eps):
            return x / op.Sqrt(op.ReduceMean(op.any(op.Pow(x, 2.0), x * x), -1, keepdims=1) + eps) * scale

    x, scale, eps = random(3, 8), random(8, seed=1), np.float32(1e-5)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * scale
    np.testing.assert_allclose(Norm.reference(x=x, scale=scale, eps=np.asarray(eps)), expected, rtol=1e-5)
    assert Norm.parameters() == ["x", "scale", "eps"]


def test_every_number_may_be_on_either_side():
    class Affine(Rule):
        @staticmethod
        def pattern(op, x):
            return 1.0 - (2.0 * x + 3.0) / 4.0

    x = random(5)
    np.testing.assert_allclose(Affine.reference(x=x), 1 - (2 * x + 3) / 4, rtol=1e-6)
