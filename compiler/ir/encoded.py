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

    def rows(self) -> EncodedWeight:
        """Return the weight as a matrix that keeps the first axis and flattens the others."""
        if len(self.shape) == 2:
            return self
        if self.scale is None or math.prod(self.scale.shape[1:]) == 1:
            return self._each(lambda a: a.reshape(len(a), -1))
        return self._each(lambda a: np.broadcast_to(_repeated(a, self.shape), self.shape).reshape(len(self), -1))

    def _each(self, change: Callable[[np.ndarray], np.ndarray]) -> EncodedWeight:
        """Return the weight with codes, scale and zero point changed."""
        scale, zero = (a if a is None else change(a) for a in (self.scale, self.zero))
        return EncodedWeight(change(self.codes), scale, zero)

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
        groups = self.scale.shape[1]
        if str(self.codes.dtype) not in _SYMMETRIC or width // groups % _LEAST:
            return self.dequantized()
        scale, zero = (np.broadcast_to(a, (rows, groups)).astype(np.float32) for a in (self.scale, self.zero))
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
