"""Low-bit weights as exporters store them: f16, bf16, and integers with scales and zero points.

They stay encoded until the compiler packs them for the kernel that reads them, because f32 would fill the memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from intaglio.compiler.ir.memory_mapped import moved
from intaglio.compiler.ir.packed import PackedMatrix

SMALL = 1024  # elements; smaller constants are dequantized
_LEAST = 16  # columns that a kernel unpacks together
_LARGEST = float(np.finfo(np.float16).max)
_RANGE = 2.0**-14  # mean size from which f16 holds most bf16 numbers, and the rest with an error of 2**-11 of the mean
_SYMMETRIC = {"int8": 0, "uint8": 128, "int4": 0, "uint4": 8}  # zero points in the middle of the range of the codes


@dataclass(frozen=True, eq=False)
class EncodedWeight:
    """The array (codes - zero) * scale in f32, or the codes alone if scale and zero are None.

    The size of scale and zero along each axis divides that of the codes; each number applies to a block of codes.
    codes: f16, bf16, or integers of 4 or 8 bits. scale: f32. zero: i32 or f32.
    """

    codes: np.ndarray
    scale: np.ndarray | None = None
    zero: np.ndarray | None = None

    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    @property
    def size(self) -> int:
        return self.codes.size

    @property
    def T(self) -> EncodedWeight:
        return self.transpose(*range(len(self.shape))[::-1])

    def __len__(self) -> int:
        return len(self.codes)

    def transpose(self, *axes: int) -> EncodedWeight:
        return self._each(lambda a: a.transpose(axes))

    def scaled(self, factor: np.ndarray) -> EncodedWeight | None:
        """Return the weight times numbers that broadcast to it, or None if the scale cannot hold them."""
        if self.scale is None or self.zero is None or not _fits(factor, self.scale, self.shape):
            return None
        return EncodedWeight(self.codes, (self.scale * factor).astype(np.float32), self.zero)

    def shifted(self, by: np.ndarray) -> EncodedWeight | None:
        """Return the weight minus numbers that broadcast to it, or None if it is scaled already."""
        if self.zero is None or self.scale is None or (self.scale != 1).any() or not _fits(by, self.zero, self.shape):
            return None
        zero = (self.zero + by).astype(np.float32)
        return EncodedWeight(self.codes, self.scale, zero.astype(np.int32) if (zero == np.rint(zero)).all() else zero)

    def reshaped(self, shape: tuple[int, ...]) -> EncodedWeight | None:
        """Return the weight with neighbouring axes merged, or None if `shape` is not made so."""
        groups, axis = [], 0
        for size in shape:
            first = axis
            while axis < len(self.shape) and math.prod(self.shape[first:axis]) < size:
                axis += 1
            groups.append(range(first, axis))
        sizes = tuple(math.prod(self.shape[a] for a in group) for group in groups)
        if axis != len(self.shape) or sizes != shape or not all(groups):
            return None
        merged = EncodedWeight(self.codes.reshape(shape), self.scale, self.zero)
        return merged if self.scale is None else merged._each_number(lambda a: _merged(a, self.shape, groups))

    def rows(self) -> EncodedWeight:
        """Return the weight as a matrix that keeps the first axis and flattens the others."""
        if len(self.shape) == 2:
            return self
        if self.scale is None or math.prod(self.scale.shape[1:]) == 1:
            return self._each(lambda a: a.reshape(len(a), -1))
        return self._each(lambda a: np.broadcast_to(_repeated(a, self.shape), self.shape).reshape(len(self), -1))

    def _each_number(self, change: Callable[[np.ndarray], np.ndarray]) -> EncodedWeight:
        """Return the weight with scale and zero point changed."""
        scale, zero = (a if a is None else change(a) for a in (self.scale, self.zero))
        return EncodedWeight(self.codes, scale, zero)

    def _each(self, change: Callable[[np.ndarray], np.ndarray]) -> EncodedWeight:
        """Return the weight with codes, scale and zero point changed."""
        changed = self._each_number(change)
        return EncodedWeight(change(self.codes), changed.scale, changed.zero)

    def dequantized(self) -> np.ndarray:
        """Return the values as f32, as ONNX's DequantizeLinear computes them."""
        values = self.codes.astype(np.float32)
        if self.scale is None or self.zero is None:
            return values
        values -= _repeated(self.zero, self.shape)
        values *= _repeated(self.scale, self.shape)
        return values

    def to_kernel_layout(self) -> PackedMatrix | np.ndarray:
        """Return a matrix [N, K] packed for kernels, or as f32 if no kernel reads its format."""
        if self.scale is None or self.zero is None:
            return self._halves()
        rows, width = self.shape
        groups = max(self.scale.shape[1], self.zero.shape[1])
        if str(self.codes.dtype) not in _SYMMETRIC or width // groups % _LEAST:
            return self.dequantized()
        grid = (np.broadcast_to(_repeated(a, (rows, groups)), (rows, groups)) for a in (self.scale, self.zero))
        scale, zero = (a.astype(np.float32) for a in grid)
        bits = 4 if self.codes.dtype in (ml_dtypes.int4, ml_dtypes.uint4) else 8
        middle = _SYMMETRIC[str(self.codes.dtype)]
        symmetric = (zero == middle).all()
        shift = middle if symmetric or bits == 8 else -8 if self.codes.dtype == ml_dtypes.int4 else 0
        codes = (self.codes.astype(np.int16) - shift).astype(np.int8 if symmetric or bits == 8 else np.uint8)
        return PackedMatrix(f"q{bits}", moved(codes), scale, None if symmetric else (shift - zero) * scale)

    def _halves(self) -> PackedMatrix | np.ndarray:
        if self.codes.dtype == np.float16:
            return PackedMatrix("f16", self.codes)
        values = self.codes.astype(np.float32)
        size = np.abs(values)
        if size.max() > _LARGEST or size.mean() < _RANGE:
            return values
        return PackedMatrix("f16", moved(values.astype(np.float16)))


def dequantize(codes: np.ndarray, scale: np.ndarray, zero: np.ndarray | None, attrs: dict[str, Any]) -> EncodedWeight:
    """Return the result of DequantizeLinear with the attributes `attrs`, still encoded."""
    axis, block = attrs.get("axis", 1), attrs.get("block_size", 0)
    zero = np.zeros(scale.shape, np.int32) if zero is None else zero
    zero = zero if zero.dtype == np.float32 else zero.astype(np.int32)
    scale, zero = (_spread(a, codes.shape, axis, block) for a in (scale.astype(np.float32), zero))
    return EncodedWeight(codes, scale, zero)


def encode(codes: np.ndarray) -> EncodedWeight:
    """Return integers as the f32 numbers of the same value, still encoded."""
    shape = (1,) * codes.ndim
    return EncodedWeight(codes, np.ones(shape, np.float32), np.zeros(shape, np.int32))


def _fits(numbers: np.ndarray, scale: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Return whether numbers broadcast to `shape`, and with `scale` to one number for each block of it."""
    sizes = (1,) * (len(shape) - numbers.ndim) + numbers.shape
    if len(sizes) != len(shape) or numbers.dtype != np.float32:
        return False
    return all(n in (1, size) and (n == 1 or s in (1, n)) for n, s, size in zip(sizes, scale.shape, shape, strict=True))


def _merged(numbers: np.ndarray, shape: tuple[int, ...], groups: list[range]) -> np.ndarray:
    """Return scales of blocks of `shape`, whose axes are merged in groups."""
    sizes = list(shape)
    for group in groups:
        last = max((a for a in group if numbers.shape[a] > 1), default=-1)
        sizes[group.start : group.stop] = [shape[a] if a < last else numbers.shape[a] for a in group]
    repeated = numbers
    for axis, size in enumerate(sizes):
        repeated = np.repeat(repeated, size // repeated.shape[axis], axis)
    return repeated.reshape([math.prod(sizes[a] for a in group) for group in groups])


def _spread(scale: np.ndarray, shape: tuple[int, ...], axis: int, block: int) -> np.ndarray:
    """Return scales that are per tensor, per index of `axis`, or per block along it, in the rank of `shape`."""
    if scale.size == 1:
        return scale.reshape((1,) * len(shape))
    axis %= len(shape)
    if not block:
        return scale.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    each = math.gcd(shape[axis], block)
    return np.repeat(scale, block // each, axis)[(slice(None),) * axis + (slice(shape[axis] // each),)]


def _repeated(scale: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a scale that broadcasts to `shape`."""
    for axis, (count, size) in enumerate(zip(scale.shape, shape, strict=True)):
        if 1 < count < size:
            scale = np.repeat(scale, size // count, axis)
    return scale
