"""Quantized graphs as quantizers write them become roundings and products of numbers; near misses stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import graph, ops, random, unchanged

from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.operators import FakeQuantize
from intaglio.compiler.passes.fuse_quantized import fuse_quantized, rounds_by_run


def codes(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


W = {
    "step": np.array(0.125, np.float32),
    "other": np.array(0.5, np.float32),
    "steps": np.array([0.125] * 8, np.float32),
    "infinite": np.array(np.inf, np.float32),
    "zero": np.array(3, np.int8),
    "zeros": np.array([3] * 8, np.int8),
    "low": np.array(2, np.int8),
    "unsigned": np.array(130, np.uint8),
    "w": codes(8, 4),
    "kernel": codes(4, 6, 3, seed=1),
    "wz": np.array(0, np.int8),
    "wzs": np.array([1, -2, 0, 5], np.int8),
    "ws": np.array(0.02, np.float32),
    "wss": np.abs(random(4)) / 50,
    "table": codes(5, 8, seed=2),
    "y0": codes(8, 4, seed=3),
}


def of(body: str, inputs: str = "float[1,T,8] x", outputs: str = "float y") -> Graph:
    return graph(f"main ({inputs}) => ({outputs}) {{ {body} }}", W)


ROUNDED = "q = QuantizeLinear(x, step, zero) y = DequantizeLinear(q, step, zero)"
DYNAMIC = "q, s, z = DynamicQuantizeLinear(x) "


@pytest.mark.parametrize(
    "body, ends",
    [
        (ROUNDED, (-128, 127)),
        (ROUNDED.replace("zero", "unsigned"), (0, 255)),
        (DYNAMIC + "y = DequantizeLinear(q, s, z)", (None, None)),
    ],
)
def test_roundings(body: str, ends: tuple[int | None, int | None]) -> None:
    g = of(body)
    assert unchanged(g, fuse_quantized) >= 1
    rounding = FakeQuantize.of(g.nodes[0])
    assert ops(g) == {"FakeQuantize": 1} and (rounding.low, rounding.high) == ends
    assert rounds_by_run(g) == (ends == (None, None))


@pytest.mark.parametrize(
    "body",
    [
        "q = QuantizeLinear(x, step, zero) y = DequantizeLinear(q, other, zero)",
        "q = QuantizeLinear(x, step, zero) y = DequantizeLinear(q, step, low)",
        "q = QuantizeLinear<axis=-1>(x, steps, zeros) y = DequantizeLinear<axis=1>(q, steps, zeros)".replace(
            "axis=1", "axis=-1"
        ),
        "q = QuantizeLinear(x, step) y = DequantizeLinear(q, step)",  # without zero points they are unsigned
        DYNAMIC + "y = DequantizeLinear(q, step, z)",
    ],
)
def test_other_roundings_stay(body: str) -> None:
    g = of(body)
    before = ops(g)
    assert unchanged(g, fuse_quantized) == 0
    assert ops(g) == before


def test_codes_that_are_read_too_stay() -> None:
    g = of(ROUNDED, outputs="float y, int8 q")
    assert unchanged(g, fuse_quantized) == 1
    assert ops(g) == {"FakeQuantize": 1, "QuantizeLinear": 1}


PRODUCT = DYNAMIC + "i = MatMulInteger(q, w, z, wz) f = Cast<to=1>(i) k = Mul(s, ws) y = Mul(f, k)"


@pytest.mark.parametrize(
    "body", [PRODUCT, PRODUCT.replace("wz", "wzs").replace("ws)", "wss)"), PRODUCT.replace("s, ws", "ws, s")]
)
def test_products_of_integers(body: str) -> None:
    g = of(body)
    assert unchanged(g, fuse_quantized) >= 1
    assert ops(g) == {"FakeQuantize": 1, "MatMul": 1}
    assert rounds_by_run(g)


@pytest.mark.parametrize(
    "body, inputs",
    [
        (PRODUCT.replace("i = MatMulInteger(q, w, z, wz)", "i = MatMulInteger(q, w)"), "float[1,T,8] x"),
        (PRODUCT.replace("Mul(s, ws)", "Mul(step, ws)"), "float[1,T,8] x"),  # another scale than that of the codes
        (PRODUCT.replace("(q, w, z, wz)", "(q, v, z, wz)"), "float[1,T,8] x, int8[8,4] v"),  # weights that are fed
        (PRODUCT.replace("y = Mul(f, k)", "y = Mul(f, ws)"), "float[1,T,8] x"),
    ],
)
def test_other_products_stay(body: str, inputs: str) -> None:
    g = of(body, inputs)
    unchanged(g, fuse_quantized)
    assert ops(g)["MatMulInteger"] == 1 and not ops(g)["MatMul"]


def test_sums_that_are_read_as_integers_too_stay() -> None:
    g = of(PRODUCT, outputs="float y, int32 i")
    assert unchanged(g, fuse_quantized) == 0


CONVOLUTION = DYNAMIC + "i = ConvInteger<pads=[1,1]>(q, kernel, z, wz) f = Cast<to=1>(i) k = Mul(s, ws) y = Mul(f, k)"


def test_convolutions_of_integers() -> None:
    g = of(CONVOLUTION, "float[1,6,20] x")
    assert unchanged(g, fuse_quantized) >= 1
    conv = next(n for n in g.nodes if n.op == "Conv")
    assert ops(g) == {"FakeQuantize": 1, "Conv": 1} and list(conv.attrs["pads"]) == [1, 1]


def test_a_table_is_dequantized_before_its_rows_are_looked_up() -> None:
    g = of("r = Gather(table, ids) y = DequantizeLinear(r, step, zero)", "int64[T] ids")
    assert unchanged(g, fuse_quantized) == 1
    assert ops(g) == {"Gather": 1} and g.nodes[0].inputs[0].dtype == "f32"


def test_a_table_with_several_scales_stays() -> None:
    g = of("r = Gather(table, ids) y = DequantizeLinear<axis=1>(r, steps, zeros)", "int64[T] ids")
    assert unchanged(g, fuse_quantized) == 0
    assert ops(g) == {"Gather": 1, "DequantizeLinear": 1}


def test_infinite_steps_are_refused() -> None:
    with pytest.raises(UnsupportedOperator, match="nodes_to_exclude"):
        fuse_quantized(of("q = QuantizeLinear(x, infinite, zero) y = DequantizeLinear(q, infinite, zero)"))
