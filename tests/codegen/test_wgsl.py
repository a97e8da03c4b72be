"""WGSL text: its integer arithmetic is, but for its u, also Python's, so that it can be evaluated and compared."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.codegen import wgsl
from intaglio.compiler.ir.dims import Dim, Symbol, dim, substitute
from intaglio.compiler.ir.errors import UnsupportedOperator

P, T = dim(Symbol("P", 0, 100)), dim(Symbol("T", 1, 100))
DIMS = st.one_of(
    st.integers(0, 9),
    st.builds(lambda a, b, c: a * P + b * T + c, st.integers(-3, 3), st.integers(-3, 3), st.integers(-9, 9)),
)


def values(text: str, indices: Iterable[int] = (0,), **symbols: int) -> list[int]:
    """What WGSL makes of a u32 expression for each index i: division rounds down, and all is modulo 2^32."""
    python = compile(re.sub(r"(\d+)u\b", r"\1", text).replace("/", "//"), text, "eval")
    return [eval(python, {"dims": SimpleNamespace(**symbols), "i": i}) % 2**32 for i in indices]


@given(DIMS, st.integers(0, 100), st.integers(1, 100))
def test_sizes(d: Dim, p: int, t: int) -> None:
    expected = substitute(d, {"P": p, "T": t}) % 2**32
    assert values(wgsl.size(d), P=p, T=t) == [expected]
    assert isinstance(d, int) or not re.search(r"(^|[(*/%+-] *)-", wgsl.size(d)), "a u32 has no sign"
    if 0 < expected < 1000:
        assert values(f"1000u / {wgsl.size(d)} % {wgsl.size(d)}", P=p, T=t) == [1000 // expected % expected]


@pytest.mark.parametrize(
    "d, text",
    [
        (7, "7u"),
        (T, "dims.T"),
        (T * 4, "(dims.T * 4u)"),
        (P + T - 1, "(dims.P + dims.T - 1u)"),
        (8 - T * 2, "(8u - dims.T * 2u)"),
        (0, "0u"),
    ],
)
def test_sizes_read_well(d: Dim, text: str) -> None:
    assert wgsl.size(d) == text


@st.composite
def walks(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """The shape of a tensor, and how another one's index moves along its axes: broadcast, transposed, cut, backward."""
    shape = tuple(draw(st.lists(st.integers(1, 5), max_size=4)))
    natural = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    order = draw(st.permutations(range(len(shape))))
    factors = draw(st.lists(st.sampled_from([0, 1, 1, 1, 2, 3, -1, -2]), min_size=len(shape), max_size=len(shape)))
    steps = tuple(natural[o] * f for o, f in zip(order, factors, strict=True))
    behind = sum(-s * (d - 1) for s, d in zip(steps, shape, strict=True) if s < 0)
    return shape, steps, behind + draw(st.integers(0, 7))


@given(walks())
def test_indices_are_strides(walk: tuple[tuple[int, ...], tuple[int, ...], int]) -> None:
    """For every element, against numpy's own walk over the same strides."""
    shape, steps, offset = walk
    memory = np.arange(10_000)
    expected = np.lib.stride_tricks.as_strided(memory[offset:], shape, [s * memory.itemsize for s in steps])
    text = wgsl.affine("i", shape, steps, offset)
    assert values(text, range(math.prod(shape))) == expected.reshape(-1).tolist()


@given(walks(), st.integers(0, 4), st.integers(1, 6))
def test_indices_over_sizes_that_vary(walk: tuple[tuple[int, ...], tuple[int, ...], int], axis: int, t: int) -> None:
    """One axis is T long, and all axes before it move by multiples of it."""
    shape, steps, offset = walk
    at = axis % max(1, len(shape))
    varied = tuple(T if i == at else d for i, d in enumerate(shape))
    strides = tuple(s * T if i < at else s for i, s in enumerate(steps))
    concrete = [tuple(substitute(d, {"T": t}) for d in ds) for ds in (varied, strides)]
    here, there = wgsl.affine("i", varied, strides, offset * T), wgsl.affine("i", *concrete, offset * t)
    indices = range(math.prod(concrete[0]))
    assert values(here, indices, T=t) == values(there, indices)


@pytest.mark.parametrize(
    "shape, steps, offset, text",
    [
        ((2, 3, 4), (12, 4, 1), 0, "i"),
        ((2, 3, 4), (12, 4, 1), 5, "5u + i"),
        ((2, 3, 4), (0, 0, 0), 0, "0u"),
        ((2, 3, 4), (0, 4, 1), 0, "i % 12u"),
        ((2, 3, 4), (1, 0, 0), 0, "i / 12u"),
        ((3, 4), (1, 3), 0, "i / 4u + (i % 4u) * 3u"),
        ((3, T), (T, 1), 0, "i"),
        ((T, 4), (1, 0), 0, "i / 4u"),
        ((4, T), (1, T * 2), 0, "i / dims.T + (i % dims.T) * (dims.T * 2u)"),
        ((4,), (-1,), 3, "3u - i"),
    ],
)
def test_indices_read_well(shape: tuple[Dim, ...], steps: tuple[Dim, ...], offset: int, text: str) -> None:
    assert wgsl.affine("i", shape, steps, offset) == text


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_floats_come_back(x: float) -> None:
    text = wgsl.number(x, "f32")
    assert re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?f", text)
    literal = text.removesuffix("f")
    assert np.float32(float(literal)) == np.float32(x)
    assert len(literal) <= len(str(float(literal)))


@given(st.integers(-(2**31), 2**31 - 1))
def test_integers_come_back(x: int) -> None:
    text = wgsl.number(x, "i32")
    assert int(re.fullmatch(r"(?:(\d+)i|i32\((-\d+)\))", text)[1 if x >= 0 else 2]) == x


@pytest.mark.parametrize(
    "x, kind, text",
    [
        (1, "f32", "1.0f"),
        (0.1, "f32", "0.1f"),
        (1e-5, "f32", "1e-05f"),
        (-3.4028234663852886e38, "f32", "-3.4028234663852886e+38f"),
        (math.inf, "f32", "from_bits(0x7f800000u)"),
        (-math.inf, "f32", "from_bits(0xff800000u)"),
        (math.nan, "f32", "from_bits(0x7fc00000u)"),
        (2, "vec4f", "vec4f(2.0f)"),
        (True, "u32", "1u"),
        (2**32 - 1, "u32", "4294967295u"),
        (2**63 - 1, "i32", "2147483647i"),
    ],
)
def test_numbers(x: float, kind: str, text: str) -> None:
    assert wgsl.number(x, kind) == text


@pytest.mark.parametrize("x, kind", [(2**40, "i32"), (-(2**31) - 1, "i32"), (2**32, "u32")])
def test_numbers_without_a_literal_are_refused(x: float, kind: str) -> None:
    with pytest.raises(UnsupportedOperator):
        wgsl.number(x, kind)
