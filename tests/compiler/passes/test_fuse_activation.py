"""GELU, exact and by tanh, in the associations of the exporters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from graphs import graph, ops, unchanged

from intaglio.compiler.passes.canonical import canonical
from intaglio.compiler.passes.fuse_activation import Gelu, TanhGelu, fuse_activation

W = {
    "root2": np.array(math.sqrt(2), np.float32),
    "half_root": np.array(math.sqrt(0.5), np.float32),
    "third_root": np.array(math.sqrt(1 / 3), np.float32),
    "one": np.array(1, np.float32),
    "one1": np.array([1], np.float32),
    "half": np.array(0.5, np.float32),
    "quarter": np.array(0.25, np.float32),
    "three": np.array(3, np.float32),
    "c": np.array(0.044715, np.float32),
    "k": np.array(math.sqrt(2 / math.pi), np.float32),
}
EXACT = "a = Div(x, root2) b = Erf(a) g = Add(b, one) "
TANH = "p = Pow(x, three) q = Mul(p, c) r = Add(x, q) a = Mul(r, k) b = Tanh(a) g = Add(b, one) "


def result(body: str, outputs: str = "float y") -> dict[str, int]:
    g = graph(f"main (float[1,T,8] x, float[1,T,8] z) => ({outputs}) {{ {body} }}", W)
    canonical(g)
    count = unchanged(g, fuse_activation)
    assert ops(g)["Gelu"] == count
    return ops(g)


PRODUCTS = [
    "h = Mul(x, g) y = Mul(h, half)",  # TorchScript
    "h = Mul(half, g) y = Mul(x, h)",  # dynamo
    "h = Mul(x, half) y = Mul(h, g)",
    "h = Mul(half, x) y = Mul(g, h)",
    "h = Mul(g, x) y = Mul(half, h)",
    "h = Mul(g, half) y = Mul(h, x)",
]


@pytest.mark.parametrize(
    "gate", [EXACT, EXACT.replace("Div(x, root2)", "Mul(x, half_root)"), TANH], ids=["root", "half root", "tanh"]
)
def test_numbers_that_f16_holds(gate):
    """What a converter to f16 leaves of the numbers counts as them; what is merely as near does not."""
    body = f"main (float[1,T,8] x) => (float y) {{ {gate} {PRODUCTS[0]} }}"
    for change, expected in ((0, 1), (3e-4, 0)):
        narrow = {name: np.float32(np.float16(a) * np.float32(1 + change)) for name, a in W.items()}
        g = graph(body, {name: a if name in ("one", "half", "three") else narrow[name] for name, a in W.items()})
        canonical(g)
        assert fuse_activation(g) == expected


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("gate", [EXACT, TANH])
def test_associations(gate, product):
    assert result(gate + product) == {"Gelu": 1}


@pytest.mark.parametrize(
    "gate",
    [
        "a = Mul(x, half_root) b = Erf(a) g = Add(one, b) ",
        "a = Mul(half_root, x) b = Erf(a) g = Add(b, one1) ",
        TANH.replace("p = Pow(x, three)", "s = Mul(x, x) p = Mul(s, x)"),
        TANH.replace("p = Pow(x, three)", "s = Mul(x, x) p = Mul(x, s)"),
        TANH.replace("Add(x, q)", "Add(q, x)").replace("Mul(p, c)", "Mul(c, p)"),
    ],
)
def test_gates(gate):
    assert result(gate + PRODUCTS[0]) == {"Gelu": 1}


def test_which_of_the_two():
    for gate, attrs in ((EXACT, {}), (TANH, {"approximate": "tanh"})):
        g = graph(f"main (float[T] x) => (float[T] y) {{ {gate + PRODUCTS[0]} }}", W)
        canonical(g)
        fuse_activation(g)
        assert g.nodes[0].attrs == attrs


@pytest.mark.parametrize(
    "body",
    [
        EXACT.replace("Div(x, root2)", "Mul(x, third_root)") + PRODUCTS[0],
        EXACT.replace("Add(b, one)", "Add(b, half)") + PRODUCTS[0],
        EXACT.replace("Add(b, one)", "Sub(b, one)") + PRODUCTS[0],
        EXACT.replace("Erf", "Tanh") + PRODUCTS[0],
        EXACT + "h = Mul(x, g) y = Mul(h, quarter)",
        EXACT + "h = Mul(z, g) y = Mul(h, half)",  # gated by another value
        EXACT + "h = Add(x, g) y = Mul(h, half)",
        TANH.replace("Mul(p, c)", "Mul(p, half)") + PRODUCTS[0],
        TANH.replace("Pow(x, three)", "Pow(x, half)") + PRODUCTS[0],
        TANH.replace("Mul(r, k)", "Mul(r, half)") + PRODUCTS[0],
        TANH.replace("Add(x, q)", "Add(z, q)") + PRODUCTS[0],
        TANH.replace("p = Pow(x, three)", "s = Mul(x, x) p = Mul(s, z)") + PRODUCTS[0],
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_near_misses(body):
    assert "Gelu" not in result(body)


def test_a_gate_that_is_read_elsewhere():
    assert "Gelu" not in result(EXACT + PRODUCTS[0] + " w = Abs(g)", outputs="float y, float w")


def test_references():
    x = np.linspace(-4, 4, 9, dtype=np.float32)
    exact = np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x])
    np.testing.assert_allclose(Gelu.reference(x=x), exact, atol=1e-6)
    np.testing.assert_allclose(TanhGelu.reference(x=x), exact, atol=1e-3)
    assert np.abs(TanhGelu.reference(x=x) - exact).max() > 1e-5
