"""Packed weights: how far they are from what they stand for, and what lies on a grid already is kept exactly."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import random
from hypothesis import given
from hypothesis import strategies as st

from intaglio.compiler.ir.packed import GROUP, PackedMatrix, pack


def error(matrix: np.ndarray, packed: PackedMatrix) -> float:
    """Root mean square error, relative to the matrix."""
    return float(np.sqrt(np.square(packed.dequantized() - matrix).mean() / np.square(matrix).mean()))


@pytest.mark.parametrize("format, most", [("f16", 3e-4), ("q8", 6e-3), ("q4", 0.08)])
def test_errors(format: str, most: float) -> None:
    matrix = random(40, 8 * GROUP)
    packed = pack(matrix, format)
    assert packed.format == format and packed.shape == matrix.shape and packed.dequantized().dtype == np.float32
    assert 0 < error(matrix, packed) < most


def test_q4_beats_the_extremes_of_a_group() -> None:
    matrix = random(64, 4 * GROUP)
    groups = matrix.reshape(-1, GROUP)
    low, step = groups.min(1, keepdims=True), np.ptp(groups, axis=1, keepdims=True) / 15
    naive = np.rint((groups - low) / step) * step + low
    assert error(matrix, pack(matrix, "q4")) < 0.95 * np.sqrt(
        np.square(naive - groups).mean() / np.square(groups).mean()
    )


@given(st.integers(0, 2**32 - 1), st.integers(8, 15))
def test_what_was_quantized_before_is_kept(seed: int, used: int) -> None:
    """Groups on a grid of 16, of which they use some neighbouring codes, both ends among them."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, used + 1, (6, GROUP))
    codes[:, 0], codes[:, 1] = 0, used
    scale, first = rng.uniform(0.01, 1, (6, 1)).astype(np.float16), rng.standard_normal((6, 1)).astype(np.float16)
    matrix = codes.astype(np.float32) * scale.astype(np.float32) + first.astype(np.float32)
    matrix = matrix.reshape(2, 3 * GROUP)
    np.testing.assert_array_equal(pack(matrix, "q4").dequantized(), matrix)


def test_columns_that_count_more_are_closer() -> None:
    matrix = random(200, GROUP)
    importance = np.ones(GROUP)
    importance[5] = 1000
    plain, weighted = (np.abs(pack(matrix, "q4", w).dequantized() - matrix).mean(0) for w in (None, importance))
    assert weighted[5] < 0.5 * plain[5]


@pytest.mark.parametrize("format", ["q8", "q4"])
def test_constant_groups_and_zeros(format: str) -> None:
    matrix = np.zeros((3, 2 * GROUP), np.float32)
    matrix[1] = 0.5
    np.testing.assert_allclose(pack(matrix, format).dequantized(), matrix, atol=4e-3)


@pytest.mark.parametrize("format", ["f16", "q8", "q4"])
@pytest.mark.parametrize("number", [1e6, np.inf, np.nan])
def test_what_f16_cannot_hold_is_refused(format: str, number: float) -> None:
    matrix = random(4, GROUP)
    matrix[2, 3] = number
    assert pack(matrix, format) is None


def test_rows_that_are_not_whole_groups_are_refused() -> None:
    assert pack(random(4, GROUP + 4), "q4") is None and pack(random(4, GROUP + 4), "f16") is not None


def test_rows() -> None:
    packed = pack(random(40, 2 * GROUP), "q4")
    np.testing.assert_array_equal(packed[8:24].dequantized(), packed.dequantized()[8:24])
