"""The error function of arrays against Python's, number by number."""

from __future__ import annotations

import math

import numpy as np
import pytest

from intaglio.compiler.semantics.erf import erf

SIZES = np.concatenate([np.linspace(0, 7, 20_001), np.logspace(-300, 0, 3_001), [0.46875, np.nextafter(0.46875, 1)]])
NUMBERS = np.concatenate([SIZES, -SIZES])


def expected(x: np.ndarray) -> np.ndarray:
    return np.array([math.erf(number) for number in x.tolist()])


def test_it_is_as_precise_as_f64():
    np.testing.assert_allclose(erf(NUMBERS), expected(NUMBERS), rtol=1e-15, atol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_narrow_numbers_are_rounded_once(dtype):
    x = NUMBERS.astype(dtype)
    assert erf(x).dtype == dtype
    np.testing.assert_array_equal(erf(x), expected(x).astype(dtype))


def test_shapes_signs_and_nan():
    x = np.array([[np.inf, -np.inf, np.nan], [0.0, -0.0, 30.0]], np.float32)
    y = erf(x)
    np.testing.assert_array_equal(y, np.array([[1, -1, np.nan], [0, 0, 1]], np.float32))
    np.testing.assert_array_equal(np.signbit(y[1]), [False, True, False])
    assert erf(np.array(0.5, np.float32)).shape == () and erf(np.zeros((2, 0, 3), np.float32)).shape == (2, 0, 3)


def test_arrays_of_any_length_are_computed_alike():
    """They are computed block by block: no number may depend on where it stands."""
    x = np.linspace(-3, 3, 100_001)
    np.testing.assert_array_equal(erf(x)[::1000], erf(x[::1000]))
