"""The path of dynamic time warping, against every path; medians and normalisation, against their definitions."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from intaglio.runtime.tasks.whisper.alignment import path, smoothed, starts


def cheapest(costs: np.ndarray) -> float:
    """The least sum from the first cell to the last one, by trying every path."""

    @functools.cache
    def until(i: int, j: int) -> float:
        if i < 0 or j < 0:
            return 0.0 if i == j == -1 else np.inf
        return costs[i, j] + min(until(i - 1, j - 1), until(i - 1, j), until(i, j - 1))

    return float(until(costs.shape[0] - 1, costs.shape[1] - 1))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (5, 9), (9, 5), (6, 6)])
def test_the_path_has_the_least_sum(shape: tuple[int, int]) -> None:
    costs = np.random.default_rng(0).normal(size=shape)
    entries = path(costs)
    assert entries[0] == 0 and (np.diff(entries) >= 0).all() and (np.diff(entries) <= shape[1]).all()
    leaves = [*entries[1:], shape[1] - 1]

    def between(row: int, leave: int) -> float:
        return float(costs[row, entries[row] : leave + 1].sum()) if leave >= entries[row] else np.inf

    # A row is left at the column where the next one is entered, or at the one before.
    total = sum(min(between(r, leave - 1), between(r, leave)) for r, leave in enumerate(leaves[:-1]))
    assert total + between(shape[0] - 1, leaves[-1]) == pytest.approx(cheapest(costs), abs=1e-5)


def test_rows_begin_where_their_ridge_begins() -> None:
    weights = np.full((2, 5, 40), 0.01, np.float32)
    for row in range(5):
        weights[:, row, 8 * row : 8 * row + 8] = 1
    assert starts(weights, 0, 4).tolist() == [0, 8, 16, 24, 32]
    assert starts(weights, 1, 3).tolist()[1:] == [16, 24]


def test_rows_that_all_look_alike_have_a_path() -> None:
    assert np.isfinite(starts(np.ones((1, 3, 10), np.float32), 0, 2)).all()


def test_medians_of_seven_neighbours_mirrored_at_the_ends() -> None:
    values = np.random.default_rng(1).normal(size=(2, 12))
    mirrored = np.concatenate([values[:, 3:0:-1], values, values[:, -2:-5:-1]], axis=1)
    expected = np.stack([np.median(mirrored[:, i : i + 7], axis=1) for i in range(12)], axis=1)
    np.testing.assert_array_equal(smoothed(values), expected)
    np.testing.assert_array_equal(smoothed(values[:, :3]), values[:, :3])
