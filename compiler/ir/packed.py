"""Packed weights: matrices of f32 in fewer bits, and the numbers that they represent.

In group-wise formats, GROUP neighbouring columns of a row share a scale. q8 is symmetric. q4 also has a minimum,
because symmetric 4-bit codes are too inaccurate for real models. The scales of q4 are searched, because scales from the
extremes of a group waste codes. Errors are weighted by the mean square of the activations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from intaglio.compiler.ir.memory_mapped import moved

GROUP = 32
_LARGEST = float(np.finfo(np.float16).max)
_GRIDS = range(15, 7, -1)  # steps in a group's range that reproduce a group that was quantized before
_FITS = (14, 15, 16, 17)  # steps from which the search for other grids begins
_BLOCK = 1 << 18  # numbers to quantize at a time, which fit into a cache


@dataclass(frozen=True, eq=False)
class PackedMatrix:
    """A matrix [N, K]: codes * scale + minimum.

    codes: [N, K] in f16, i8, or 4 bits as i8 or (with a minimum) u8. scale, minimum: [N, groups] if the format has
    them, in f16 (for groups of GROUP columns) or f32.
    """

    format: str
    codes: np.ndarray
    scale: np.ndarray | None = None
    minimum: np.ndarray | None = None

    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    @property
    def size(self) -> int:
        return self.codes.size

    @property
    def groups(self) -> int:
        """The number of groups of a row, each with one scale. It is 0 for f16, which has no scales."""
        return 0 if self.scale is None else self.scale.shape[1]

    @property
    def wide(self) -> bool:
        """Whether scales are f32."""
        return self.scale is not None and self.scale.dtype == np.float32

    def dequantized(self) -> np.ndarray:
        """Return the numbers as f32 [N, K]."""
        values = self.codes.astype(np.float32)
        if self.scale is None:
            return values
        groups = values.reshape(*self.scale.shape, -1)
        groups *= self.scale.astype(np.float32)[..., None]
        if self.minimum is not None:
            groups += self.minimum.astype(np.float32)[..., None]
        return groups.reshape(values.shape)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice | np.ndarray) -> PackedMatrix:
        """Return some of the rows."""
        scale, minimum = (a if a is None else a[rows] for a in (self.scale, self.minimum))
        return PackedMatrix(self.format, self.codes[rows], scale, minimum)


def stacked(matrices: list[np.ndarray | PackedMatrix]) -> np.ndarray | PackedMatrix | None:
    """Return the rows of all matrices in one matrix, or None if the matrices differ in format."""
    kinds = {(m.format, m.wide, m.scale is None or m.groups) if isinstance(m, PackedMatrix) else None for m in matrices}
    if len(kinds) > 1 or len({isinstance(m, PackedMatrix) and m.minimum is None for m in matrices}) > 1:
        return None
    packed = [m for m in matrices if isinstance(m, PackedMatrix)]
    if not packed:
        return moved(np.concatenate([m for m in matrices if not isinstance(m, PackedMatrix)]))
    codes = moved(np.concatenate([m.codes for m in packed]))
    return PackedMatrix(packed[0].format, codes, _joined(m.scale for m in packed), _joined(m.minimum for m in packed))


def _joined(arrays: Iterable[np.ndarray | None]) -> np.ndarray | None:
    """Return the arrays that are not None in one array, or None."""
    present = [a for a in arrays if a is not None]
    return moved(np.concatenate(present)) if present else None


def pack(matrix: np.ndarray, format: str, importance: np.ndarray | None = None) -> PackedMatrix | None:
    """Return the f32 `matrix` in one of FORMATS. Return None if f16 cannot hold its numbers or its rows are not whole
    groups.

    importance: f32[K], the weight of an error in each column (the mean square of the activations).
    """
    if not np.isfinite(matrix).all() or np.abs(matrix).max(initial=0) > _LARGEST:
        return None
    quantize = FORMATS[format].quantize
    if quantize is None:
        return PackedMatrix(format, moved(matrix.astype(np.float16)))
    if matrix.ndim != 2 or matrix.shape[1] % GROUP:
        return None
    each = max(1, _BLOCK // matrix.shape[1])
    weights = np.ones(matrix.shape[1], np.float32) if importance is None else importance.astype(np.float32)
    tiled = np.tile(weights.reshape(-1, GROUP), (each, 1))

    def part(first: int) -> Codes:
        groups = matrix[first : first + each].reshape(-1, GROUP)
        return quantize(groups, tiled[: len(groups)])

    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(part, range(0, len(matrix), each)))
    codes = np.concatenate([codes for codes, _, _ in parts])
    scale = np.concatenate([scale for _, scale, _ in parts]).reshape(len(matrix), -1)
    minima = [minimum for _, _, minimum in parts if minimum is not None]
    minimum = np.concatenate(minima).reshape(len(matrix), -1) if minima else None
    return PackedMatrix(format, moved(codes.reshape(matrix.shape)), scale, minimum)


Codes = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def _q8(groups: np.ndarray, weights: np.ndarray) -> Codes:
    scale = (np.abs(groups).max(1) / 127).astype(np.float16)
    codes = np.rint(groups / _divisor(scale)).clip(-127, 127)
    return codes.astype(np.int8), scale, None


def _q4(matrix: np.ndarray, weights: np.ndarray) -> Codes:
    """Use the grid that a group already lies on, else the best of several grids and their least-squares fits."""
    best, groups = _Best(len(matrix)), _Groups.of(matrix, weights)
    for steps in _GRIDS:
        _consider(best, groups, *groups.spread(steps))
        groups = groups.where(best.error[groups.at] > 0)
    mean = groups.mean(groups.numbers)
    for steps in _FITS if len(mean) else ():
        codes = _consider(best, groups, *groups.spread(steps))
        for _ in range(2):
            codes = _consider(best, groups, *_fitted(groups, mean, codes))
    return best.codes, best.scale, best.minimum


@dataclass(frozen=True)
class _Groups:
    """Some groups of a matrix. at: their indices [n]; numbers, weights: f32[n, GROUP]; low, high: extremes f32[n]."""

    at: np.ndarray
    numbers: np.ndarray
    weights: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray, weights: np.ndarray) -> _Groups:
        low, high = numbers.min(1, initial=np.inf), numbers.max(1, initial=-np.inf)
        return cls(np.arange(len(numbers)), numbers, weights, low, high)

    def where(self, chosen: np.ndarray) -> _Groups:
        if chosen.all():
            return self
        return _Groups(*(a[chosen] for a in (self.at, self.numbers, self.weights, self.low, self.high)))

    def spread(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Return scale and minimum that divide a group's range into `steps`. More than 15 steps cut off both ends."""
        scale = (self.high - self.low) / steps
        return scale, self.low + scale * (max(0, steps - 15) / 2)

    def mean(self, x: np.ndarray) -> np.ndarray:
        """Return the weighted mean of each group of x [n, GROUP]."""
        return np.einsum("ij,ij->i", self.weights, x) / self.weights.sum(1)


class _Best:
    """The codes, scales and minima with the smallest error so far, for each group."""

    def __init__(self, count: int) -> None:
        self.error = np.full(count, np.inf, np.float32)
        self.codes = np.zeros((count, GROUP), np.uint8)
        self.scale, self.minimum = (np.zeros(count, np.float16) for _ in range(2))


def _consider(best: _Best, groups: _Groups, scale: np.ndarray, minimum: np.ndarray) -> np.ndarray:
    """Keep the groups that have a smaller error with this scale and minimum, rounded to f16; return the codes."""
    scale, minimum = scale.astype(np.float16), minimum.astype(np.float16)
    offset = minimum.astype(np.float32)[:, None]
    codes = groups.numbers - offset
    codes /= _divisor(scale)
    np.rint(codes, out=codes).clip(0, 15, out=codes)
    wrong = codes * scale.astype(np.float32)[:, None]
    wrong += offset
    wrong -= groups.numbers
    error = np.einsum("ij,ij,ij->i", wrong, wrong, groups.weights)
    better = error < best.error[groups.at]
    to = groups.at[better]
    best.error[to], best.codes[to] = error[better], codes[better]
    best.scale[to], best.minimum[to] = scale[better], minimum[better]
    return codes


def _divisor(scale: np.ndarray) -> np.ndarray:
    """Return the scale as f32[n, 1], with 1 in place of 0."""
    return np.where(scale == 0, 1, scale).astype(np.float32)[:, None]


def _fitted(groups: _Groups, mean: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale and minimum that fit the codes best, by a weighted linear regression for each group."""
    middle = groups.mean(codes)
    spread = codes - middle[:, None]
    variance = np.einsum("ij,ij,ij->i", groups.weights, spread, spread)
    scale = np.einsum("ij,ij,ij->i", groups.weights, spread, groups.numbers) / np.where(variance == 0, 1, variance)
    return scale, mean - scale * middle


@dataclass(frozen=True)
class Format:
    """bits: the bits of a code. quantize: returns codes, scales and minima of groups [n, GROUP], given error weights.

    A format without `quantize` rounds each number separately.
    """

    bits: int
    quantize: Callable[[np.ndarray, np.ndarray], Codes] | None = None


FORMATS = {"f16": Format(16), "q8": Format(8, _q8), "q4": Format(4, _q4)}
QUANTIZED = tuple(name for name, format in FORMATS.items() if format.quantize)
STORAGE = ("f32", *(name for name in FORMATS if name not in QUANTIZED))  # formats of tensors that are not quantized
