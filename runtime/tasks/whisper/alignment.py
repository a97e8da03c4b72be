"""When each token of a text was said: a path through the weights with which alignment heads look at the window.

The steps are those of OpenAI's reference, whisper/timing.py: weights become deviations from their mean, a median along
time smooths them, and dynamic time warping finds the path of the largest sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MEDIAN = 7  # positions
_BOTH, _ROW, _COLUMN = range(3)  # what a step of a path advances


@dataclass(frozen=True)
class Alignment:
    """Where the tokens of a text are in a window.

    starts: the position at which each token begins, and at which the last one ends, i64[tokens + 1]. probabilities: of
    the tokens, f32[tokens].
    """

    starts: np.ndarray
    probabilities: np.ndarray


def starts(weights: np.ndarray, first: int, last: int) -> np.ndarray:
    """Return the position at which each of the rows `first` to `last` begins, i64[last - first + 1].

    weights: f32[heads, rows, positions], of positions in the recording. The mean is that of all rows.
    """
    total = weights.sum(axis=2, keepdims=True, dtype=np.float64)
    shares = weights / np.maximum(total, np.finfo(np.float32).tiny)
    deviation = shares.std(axis=1, keepdims=True)
    standard = (shares - shares.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1)
    return path(-smoothed(standard).mean(axis=0)[first : last + 1])


def smoothed(values: np.ndarray, width: int = MEDIAN) -> np.ndarray:
    """Return the median of `width` neighbours along the last axis, mirrored at its ends. A shorter axis stays as is."""
    half = width // 2
    if values.shape[-1] <= half:
        return values
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(half, half)], mode="reflect")
    neighbours = np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1)
    return np.partition(neighbours, half, axis=-1)[..., half]


def path(costs: np.ndarray) -> np.ndarray:
    """Return the first column of each row on the path of the least sum from the first cell to the last, i64[rows].

    costs: [rows, columns]. A step goes to the next row, the next column, or both.
    """
    rows, columns = costs.shape
    steps = _steps(costs)
    entries = np.zeros(rows, np.int64)
    row, column = rows, columns
    while row and column:
        entries[row - 1] = column - 1
        step = steps[row + column, row]
        row, column = row - (step != _COLUMN), column - (step != _ROW)
    return entries


def _steps(costs: np.ndarray) -> np.ndarray:
    """Return the step by which the cheapest path comes to each cell, u8[rows + columns + 1, rows + 1].

    Cells of a diagonal depend only on those of the two before it, so they are computed together. Element [d, i] is the
    cell of row i and column d - i, both from 1 on.
    """
    rows, columns = costs.shape
    sums = np.full((rows + columns + 1, rows + 1), np.inf, np.float32)
    steps = np.full(sums.shape, _COLUMN, np.uint8)
    sums[0, 0] = 0
    for diagonal in range(2, rows + columns + 1):
        i = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        both, row, column = sums[diagonal - 2, i - 1], sums[diagonal - 1, i - 1], sums[diagonal - 1, i]
        by_both, by_row = (both < row) & (both < column), (row < both) & (row < column)
        steps[diagonal, i] = np.where(by_both, _BOTH, np.where(by_row, _ROW, _COLUMN))
        least = np.where(by_both, both, np.where(by_row, row, column))
        sums[diagonal, i] = costs[i - 1, diagonal - i - 1] + least
    return steps
