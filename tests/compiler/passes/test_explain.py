"""Explain: the closest match of a rule that did not fire, what it expected and what it got; refusals come first."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph, random

from intaglio.compiler.passes import explain, pipeline
from intaglio.compiler.passes.canonical import canonical
from intaglio.compiler.passes.fuse_activation import fuse_activation
from intaglio.compiler.passes.fuse_norm import fuse_norm
from intaglio.compiler.rewrite.pattern import Rule, apply

assert pipeline  # importing it imports every rule

GELU = """main (float[2,T] x) => (float[2,T] y) {
  scaled = Mul(x, root) erf = FUNCTION(scaled) gate = Add(erf, one) part = Mul(x, gate) y = Mul(part, half)
}"""
NUMBERS = {"root": np.float32(0.5**0.5), "one": np.float32(1), "half": np.float32(0.5)}


def explained(rule: str, step, text: str, **weights: np.ndarray) -> str:
    g = graph(text, {name: np.float32(w) for name, w in weights.items()})
    for node, name in zip(g.nodes, ["/scaled", "/erf", "/gate", "/part", "/y"], strict=False):
        node.sources = (name,)
    with explain.watching(rule) as explanation:
        step(g)
    return str(explanation)


def gelu(function: str = "Erf", **change: np.ndarray) -> str:
    return explained("Gelu", fuse_activation, GELU.replace("FUNCTION", function), **(NUMBERS | change))


def test_a_rule_that_fires_everywhere():
    assert gelu().splitlines() == ["main: Gelu fired 1 time"]


def test_another_operator():
    assert gelu("Tanh").splitlines() == [
        "main: Gelu fired 0 times",
        "  closest match at Mul (/y): 3 operators match",
        "    expected as an input of Add (/gate): Erf of 1 input",
        "    got: erf: f32[2,T], the output of Tanh (/erf)",
    ]


def test_another_number():
    *_, closest, expected, actual = gelu(root=np.float32(0.7)).splitlines()
    assert closest == "  closest match at Mul (/y): 5 operators match"
    assert expected == "    expected as an input of Mul (/scaled): the number 0.7071068 or the number 0.7071823"
    assert actual == "    got: the constant 0.699999988079071: f32[]"


def test_another_value_in_place_of_a_repeated_one():
    text = GELU.replace("FUNCTION", "Erf").replace("scaled = Mul(x, root)", "scaled = Mul(z, root)")
    text = text.replace("float[2,T] x)", "float[2,T] x, float[2,T] z)")
    *_, expected, actual = explained("Gelu", fuse_activation, text, **NUMBERS).splitlines()
    assert expected == "    expected as an input of Mul (/scaled): x again"
    assert actual == "    got: the input z: f32[2,T]"


def test_every_spelling_is_listed():
    text = "main (float[2,8] x) => (float[2,8] y) { d = Abs(x) e = Relu(d) f = Mul(e, s) y = Add(f, b) }"
    *_, expected, actual = explained("LayerNorm", fuse_norm, text, s=random(8), b=random(8)).splitlines()
    assert expected == "    expected as an input of Mul (/gate): Div of 2 inputs or Mul of 2 inputs"
    assert actual == "    got: e: f32[2,8], the output of Relu (/erf)"


def test_an_attribute_is_part_of_what_is_expected():
    text = """main (float[1,2,3,4] q, float[1,2,4,3] k, float[1,2,3,4] v) => (float[1,2,3,4] y) {
      a = MatMul(q, k) w = Softmax<axis = 1>(a) y = MatMul(w, v) }"""
    *_, expected, actual = explained("Attention", fuse_attention_alone, text).splitlines()
    assert "Softmax of 1 input, axis=-1" in expected and "Softmax (/erf)" in actual


def fuse_attention_alone(g) -> int:
    from intaglio.compiler.passes.fuse_attention import fuse_attention

    return fuse_attention(g)


def test_refusals_come_before_near_misses():
    text = "main (float[2,T] x) => (float[2,T] y) { y = Mul(x, two) }"
    lines = explained("MultiplyByOne", canonical, text, two=np.float32(2)).splitlines()
    assert lines == ["main: MultiplyByOne fired 0 times", "  it matched, and declined at /scaled: the factor is not 1"]


def test_many_refusals_are_counted():
    chain = "a = Mul(x, s) b = Mul(a, s) c = Mul(b, s) d = Mul(c, s) y = Mul(d, s)"
    text = f"main (float[2,T] x) => (float[2,T] y) {{ {chain} }}"
    lines = explained("MultiplyByOne", canonical, text, s=random(2, 1)).splitlines()
    assert len(lines) == 5 and lines[-1] == "  and 2 more"


def test_rules_that_were_not_applied():
    with explain.watching("Gelu") as explanation:
        pass
    assert "was not applied" in str(explanation)


def test_unknown_rules():
    with (
        pytest.raises(ValueError, match=r"'Sing'; the rules are .*Attention.*Gelu.*LayerNorm"),
        explain.watching("Sing"),
    ):
        pass


def test_rules_of_others_are_not_listed():
    class Mine(Rule):
        @staticmethod
        def pattern(op, x):
            return op.Relu(x)

        @staticmethod
        def rewrite(op, out, x):
            return x

    assert "Mine" not in explain.rules()
    assert apply(graph("main (float[2,T] x) => (float[2,T] y) { y = Neg(x) }"), Mine).fired == 0
