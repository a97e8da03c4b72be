"""Canonical: each spelling of the exporters becomes the one that the rules after it know."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph, ops, random, unchanged

from intaglio.compiler.passes.canonical import canonical

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")

SCALARS = {
    "one": np.array(1, np.float32),
    "two": np.array([2], np.float32),
    "zero": np.array(0, np.float32),
    "ones": np.ones((2, 1, 1, 1), np.float32),
    "ax": np.array([1]),
    "axes": np.array([0, 2]),
    "row": random(4, seed=3),
    "m": random(4, 4, seed=4),
    "tiny": np.array(1e-42, np.float32),
    "huge": np.array(2e38, np.float32),
    "i0": np.array([0]),
    "i1": np.array([1]),
    "far": np.array([2**63 - 1]),
    "same": np.array([0, -1, 4]),
    "s14": np.array([1, -1]),
    "s4": np.array([-1, 4]),
    "like": np.array([1, 1, 4]),
    "int2": np.array(2),
    "never": np.zeros((1, 1), bool),
    "always": np.ones((1, 1), bool),
    "mixed": np.array([True, False, True, True]),
}


def check(text: str, expected: dict[str, int], **weights: np.ndarray) -> int:
    g = graph(text, SCALARS | weights)
    count = unchanged(g, canonical)
    assert ops(g) == expected
    assert unchanged(g, canonical) == 0, "what is canonical stays"
    return count


@pytest.mark.parametrize(
    "body, expected",
    [
        # views
        ("t = Unsqueeze(x, ax) u = Squeeze(t, ax) y = Abs(u)", {"Abs": 1}),
        ("t = Unsqueeze(x, ax) y = Abs(t)", {"Reshape": 1, "Abs": 1}),
        ("t = Flatten<axis=2>(x) y = Abs(t)", {"Reshape": 1, "Abs": 1}),
        ("t = Reshape(x, s4) u = Reshape(t, s14) y = Abs(u)", {"Reshape": 1, "Abs": 1}),
        ("t = Reshape(x, same) y = Abs(t)", {"Abs": 1}),
        ("t = Transpose<perm=[1,0,2]>(x) y = Abs(t)", {"Reshape": 1, "Abs": 1}),  # moves only the batch of 1
        ("t = Transpose<perm=[0,2,1]>(x) y = Abs(t)", {"Transpose": 1, "Abs": 1}),
        ("t = Transpose<perm=[0,2,1]>(x) u = Transpose<perm=[0,2,1]>(t) y = Abs(u)", {"Abs": 1}),
        ("t = Transpose(x) u = Transpose(t) y = Abs(u)", {"Abs": 1}),
        ("t = Transpose(x) u = Transpose<perm=[2,1,0]>(t) y = Abs(u)", {"Abs": 1}),
        # no-ops
        ("t = Identity(x) y = Abs(t)", {"Abs": 1}),
        ("t = Cast<to=1>(x) y = Abs(t)", {"Abs": 1}),
        ("t = Expand(x, like) y = Abs(t)", {"Abs": 1}),
        ("t = Where(never, zero, x) y = Abs(t)", {"Abs": 1}),
        ("t = Where(always, x, zero) y = Abs(t)", {"Abs": 1}),
        ("t = Where(mixed, x, zero) y = Abs(t)", {"Where": 1, "Abs": 1}),
        ("t = Where(never, ones, x) y = Abs(t)", {"Where": 1, "Abs": 1}),  # of another shape
        ("t = Slice(x, i0, far, ax) y = Abs(t)", {"Abs": 1}),
        ("t = Concat<axis=1>(x) y = Abs(t)", {"Abs": 1}),
        ("t, mask = Dropout(x) y = Abs(t)", {"Abs": 1}),
        ("t = Mul(x, one) y = Abs(t)", {"Abs": 1}),
        ("t = Mul(one, x) y = Abs(t)", {"Abs": 1}),
        # near misses
        ("t = Mul(x, two) y = Abs(t)", {"Mul": 1, "Abs": 1}),
        ("t = Mul(x, ones) y = Abs(t)", {"Mul": 1, "Abs": 1}),
        ("t = Add(x, one) y = Abs(t)", {"Add": 1, "Abs": 1}),
        ("t = Cast<to=11>(x) y = Abs(t)", {"Cast": 1, "Abs": 1}),
        ("t = Slice(x, i1, far, axm) y = Abs(t)", {"Slice": 1, "Abs": 1}),
        # division
        ("y = Div(x, two)", {"Mul": 1}),
        ("y = Div(x, row)", {"Mul": 1}),
        ("y = Div(two, x)", {"Div": 1}),
        ("y = Div(x, x)", {"Div": 1}),
        ("t = Abs(x) y = Div(t, tiny)", {"Abs": 1, "Div": 1}),  # 1 / tiny is infinite
        ("t = Abs(x) y = Div(t, huge)", {"Abs": 1, "Div": 1}),  # 1 / huge is denormal, and 0 on many adapters
        # reductions
        ("t = ReduceMean(x, axes) y = Abs(t)", {"ReduceMean": 1, "Abs": 1}),
        ("y = ReduceMax<keepdims=0>(x)", {"ReduceMax": 1}),
    ],
)
def test_spellings(body, expected):
    check(f"main (float[1,T,4] x) => (float y) {{ {body} }}", expected, axm=np.array([-1]))


def test_axes_are_counted_from_the_end():
    g = graph("main (float[1,T,4] x) => (float y) { y = ReduceMean(x, axes) }", SCALARS)
    unchanged(g, canonical)
    assert g.nodes[0].inputs[1].const.tolist() == [-3, -1]


def test_two_transposes_are_one():
    g = graph(
        "main (float[2,3,4,5] x) => (float y) { t = Transpose<perm=[2,0,3,1]>(x) y = Transpose<perm=[3,1,0,2]>(t) }"
    )
    unchanged(g, canonical)
    assert ops(g) == {"Transpose": 1}


def test_integers_are_divided_as_integers():
    check("main (int64[T] x) => (int64[T] y) { y = Div(x, int2) }", {"Div": 1})


def test_empty_parts_are_left_out():
    """The cache of a decoder that has no past."""
    empty = np.zeros((1, 2, 0, 4), np.float32)
    check("main (float[1,2,T,4] x) => (float y) { t = Concat<axis=-2>(past, x) y = Abs(t) }", {"Abs": 1}, past=empty)
    check(
        "main (float[1,2,T,4] x) => (float y) { t = Concat<axis=2>(x, past, x) y = Abs(t) }",
        {"Concat": 1, "Abs": 1},
        past=empty,
    )


def test_a_concatenation_of_nothing_but_empty_parts():
    check(
        "main (float[2,0] x, float[2,T] z) => (float y) {"
        " t = Concat<axis=1>(x, x) u = Concat<axis=1>(t, z) y = Abs(u) }",
        {"Abs": 1},
    )


@pytest.mark.parametrize("a, b", [("", ""), ("transA=1, ", ""), ("", "transB=1, "), ("transA=1, ", "transB=1, ")])
@pytest.mark.parametrize("c", ["", "row", "column", "m", "one"])
def test_gemm(a, b, c):
    x = "float[4,T] x" if a else "float[T,4] x"
    inputs = ", ".join(filter(None, ["x", "m", c]))
    if c == "m":
        x = x.replace("T", "4")
    for alpha, beta in [(1.0, 1.0), (0.5, 1.0), (1.0, 2.0), (0.5, 2.0)]:
        g = graph(
            f"main ({x}) => (float y) {{ y = Gemm<{a}{b}alpha={alpha}, beta={beta}>({inputs}) }}",
            SCALARS | {"column": random(1, 4)},
        )
        unchanged(g, canonical)
        kinds = ops(g)
        assert "Gemm" not in kinds
        assert kinds["MatMul"] == 1
        assert kinds["Transpose"] == (bool(a))
        assert kinds["Add"] == bool(c)
        assert kinds["Mul"] == (alpha != 1)


def test_gemm_in_other_precisions():
    g = graph(
        "main (double[3,4] x, double[4,2] w, double[2] c) => (double[3,2] y) { y = Gemm<alpha=0.5, beta=2.0>(x, w, c) }"
    )
    unchanged(g, canonical)
    assert {v.dtype for v in g.values()} == {"f64"}


@pytest.mark.parametrize("op", ["Max", "Min", "Sum", "Mean"])
def test_operands_of_any_number(op):
    for inputs in ("x", "x, z", "x, z, x", "x, row, z, one"):
        g = graph(f"main (float[T,4] x, float[T,4] z) => (float[T,4] y) {{ y = {op}({inputs}) }}", SCALARS)
        unchanged(g, canonical)
        assert all(len(n.inputs) == 2 or n.op == "Identity" for n in g.nodes)


def test_an_output_is_never_renamed():
    for body in (
        "y = Identity(x) z = Identity(x)",
        "y = Mul(x, one) z = Abs(x)",
        "t = Abs(x) y = Identity(t) z = Identity(t)",
    ):
        g = graph(f"main (float[T] x) => (float[T] y, float[T] z) {{ {body} }}", SCALARS)
        unchanged(g, canonical)
        assert [v.name for v in g.inputs] == ["x"]
        assert [v.name for v in g.outputs] == ["y", "z"]
