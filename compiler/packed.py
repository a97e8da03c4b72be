"""Packed weights: matrices of f32 in fewer bits, and what they stand for.

Group-wise formats share a scale among GROUP neighbouring columns of a row. q8 is symmetric; q4 has a minimum too, for
4 bits around zero spoil real models. Scales are searched for, because the extremes of a group waste codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GROUP = 32
FORMATS = ("f16", "q8", "q4")
_LARGEST = float(np.finfo(np.float16).max)
_STEPS = range(
    8, 19
)  # steps that a group's range is divided into: what was quantized before has its own grid among them
_ROWS = 1 << 22  # numbers that are quantized at a time


@dataclass(frozen=True, eq=False)
class Packed:
    """A matrix [N, K]. `codes`: f16, i8 or u8 [N, K]; `scale`, `minimum`: f16[N, K / GROUP], if the format has them."""

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

    def dequantized(self) -> np.ndarray:
        """f32 [N, K]."""
        values = self.codes.astype(np.float32)
        if self.scale is None:
            return values
        groups = values.reshape(len(values), -1, GROUP) * self.scale[..., None].astype(np.float32)
        if self.minimum is not None:
            groups += self.minimum[..., None].astype(np.float32)
        return groups.reshape(values.shape)

    def rows(self, start: int, end: int) -> Packed:
        """Some of the rows."""
        kept = (a[start:end] if a is not None else None for a in (self.codes, self.scale, self.minimum))
        return Packed(self.format, *kept)


def pack(matrix: np.ndarray, format: str) -> Packed | None:
    """`matrix`, of f32, in one of FORMATS; None if f16 cannot hold its numbers, or its rows are no whole groups."""
    if not np.isfinite(matrix).all() or np.abs(matrix).max(initial=0) > _LARGEST:
        return None
    if format == "f16":
        return Packed("f16", matrix.astype(np.float16))
    if matrix.ndim != 2 or matrix.shape[1] % GROUP:
        return None
    quantize = {"q8": _q8, "q4": _q4}[format]
    rows = max(1, _ROWS // matrix.shape[1])
    parts = [quantize(matrix[i : i + rows].reshape(-1, GROUP)) for i in range(0, len(matrix), rows)]
    codes, *scales = (np.concatenate(p) if p[0] is not None else None for p in zip(*parts, strict=True))
    groups = (len(matrix), -1)
    return Packed(format, codes.reshape(matrix.shape), *(s.reshape(groups) if s is not None else None for s in scales))


Quantized = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def _q8(groups: np.ndarray) -> Quantized:
    scale = (np.abs(groups).max(1) / 127).astype(np.float16)
    codes = np.rint(groups / _divisor(scale)[:, None]).clip(-127, 127)
    return codes.astype(np.int8), scale, None


def _q4(groups: np.ndarray) -> Quantized:
    """For each group the best of several steps, and of the least-squares fits to their codes."""
    low, high = groups.min(1), groups.max(1)
    best = _Best(groups)
    for steps in _STEPS:
        step = (high - low) / steps
        minimum = low + step * max(0, steps - 15) / 2  # with more steps than codes, both ends are cut
        codes = best.consider(step, minimum)
        best.consider(*_fitted(groups, codes))
    return best.codes.astype(np.uint8), best.scale, best.minimum


class _Best:
    """The codes, scales and minima that come closest so far, group by group."""

    def __init__(self, groups: np.ndarray) -> None:
        self.groups = groups
        self.error = np.full(len(groups), np.inf, np.float32)
        self.codes = np.zeros_like(groups)
        self.scale, self.minimum = (np.zeros(len(groups), np.float16) for _ in range(2))

    def consider(self, scale: np.ndarray, minimum: np.ndarray) -> np.ndarray:
        """Returns the codes with this scale and minimum, which are rounded to f16."""
        scale, minimum = scale.astype(np.float16), minimum.astype(np.float16)
        s, m = _divisor(scale)[:, None], minimum.astype(np.float32)[:, None]
        codes = np.rint((self.groups - m) / s).clip(0, 15)
        error = np.square(codes * scale.astype(np.float32)[:, None] + m - self.groups).sum(1)
        better = error < self.error
        self.error[better] = error[better]
        self.codes[better], self.scale[better], self.minimum[better] = codes[better], scale[better], minimum[better]
        return codes


def _divisor(scale: np.ndarray) -> np.ndarray:
    """The scale as f32, 1 where it is 0: the codes are 0 then."""
    return np.where(scale == 0, 1, scale).astype(np.float32)


def _fitted(groups: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and minimum for which given codes come closest to their groups: a linear regression each."""
    mean, middle = groups.mean(1), codes.mean(1)
    spread = codes - middle[:, None]
    variance = np.square(spread).sum(1)
    scale = (spread * groups).sum(1) / np.where(variance == 0, 1, variance)
    return scale, mean - scale * middle
