"""Formats of weights: a row for each, with how a matrix in it lies on the adapter; and layout rows8, in which all do.

Layout rows8 is for matrices [N, K]: eight rows side by side, a texel at a time, so that eight lanes that own eight rows
read neighbouring texels, whether they compute a product of matrices, of a matrix and a vector, or look rows up. In f32
and f16 a texel holds 4 columns: element (n, k) lies at ((n/8) * (K/4) + k/4) * 32 + (n%8) * 4 + k%4. N is padded to 8
and K to whole texels with zeros. What a format means, and how numbers are rounded to it, is in compiler/ir/packed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from intaglio.compiler.ir.packed import FORMATS as PACKED
from intaglio.compiler.ir.packed import PackedMatrix
from intaglio.runtime.limits import TEXELS

_TEXEL = 128  # bits of a texel of four words


@dataclass(frozen=True)
class Format:
    """bits: of a number; columns: that a texel holds; texture: the format of textures; codes: the numbers of a packed
    matrix in layout rows8, flat; packing: how the templates that unpack it are called; unsigned: whether its codes are,
    where groups have minima."""

    bits: int
    columns: int
    texture: str
    codes: Callable[[PackedMatrix], np.ndarray]
    packing: str = ""
    unsigned: bool = False

    @property
    def bytes(self) -> int:
        """Of each of the four numbers of a texel, which are words of codes where it is packed."""
        return TEXELS[self.texture] // 4


def rows8(matrix: np.ndarray) -> np.ndarray:
    """A matrix [N, K] in layout rows8, flat."""
    n, k = matrix.shape
    return _eight_together(padded(matrix, 0, -k % 4).reshape(n, -(-k // 4), 4))


def codes8(packed: PackedMatrix) -> np.ndarray:
    """Codes in layout rows8, a texel of four words for 16 columns of q8, or 32 of q4, flat u32.

    Column 4 i + w of a texel is byte (q8), or nibble (q4), i of word w: those of one i are then four neighbouring
    columns, which a kernel unpacks together.
    """
    bits = FORMATS[packed.format].bits
    each = 32 // bits
    whole = padded(packed.codes.view(np.uint8), 0, -packed.shape[1] % (4 * each))
    codes = whole.reshape(len(whole), -1, each, 4)
    words = np.zeros((*codes.shape[:2], 4), np.uint32)
    for i in range(each):
        words |= (codes[:, :, i] & ((1 << bits) - 1)).astype(np.uint32) << np.uint32(bits * i)
    return _eight_together(words)


def scales8(packed: PackedMatrix) -> np.ndarray:
    """Scales and minima in layout rows8. Of f32: for each group of columns the scales of eight rows, then their minima.
    Of f16, flat u32: a word for each row, and group of columns (scale and minimum) or pair of groups (both scales).
    """
    scale, minimum = packed.scale, packed.minimum
    if scale is None:
        raise TypeError(f"weights in {packed.format} have no scales")
    if packed.wide:
        numbers = [scale] if minimum is None else [scale, minimum]
        words = np.stack(numbers, axis=-1).reshape(len(scale), -1)
    else:
        even = padded(scale, 0, scale.shape[1] % 2)
        pairs = (even[:, 0::2], even[:, 1::2]) if minimum is None else (scale, minimum)
        low, high = (p.view(np.uint16).astype(np.uint32) for p in map(np.ascontiguousarray, pairs))
        words = low | high << np.uint32(16)
    rows = padded(words, -len(words) % 8, 0)
    return np.ascontiguousarray(rows.reshape(-1, 8, rows.shape[1]).transpose(0, 2, 1)).reshape(-1)


def _eight_together(texels: np.ndarray) -> np.ndarray:
    """Texels [N, texels of a row, 4] with eight rows side by side, flat; rows of zeros make N a multiple of 8."""
    n, each, four = texels.shape
    rows = padded(texels, -n % 8, 0, 0)
    return np.ascontiguousarray(rows.reshape(-1, 8, each, four).transpose(0, 2, 1, 3)).reshape(-1)


def padded(array: np.ndarray, *ends: int) -> np.ndarray:
    """An array with so many zeros at the end of each axis; itself, not a copy, where that is none."""
    return np.pad(array, [(0, end) for end in ends]) if any(ends) else array


def _one_by_one(matrix: PackedMatrix) -> np.ndarray:
    return rows8(matrix.codes)


def _packed(name: str, unsigned: bool = False) -> Format:
    bits = PACKED[name].bits
    return Format(bits, _TEXEL // bits, "rgba32uint", codes8, "_packed", unsigned)


FORMATS = {
    "f32": Format(32, 4, "rgba32float", _one_by_one),
    "f16": Format(16, 4, "rgba16float", _one_by_one),
    "q8": _packed("q8"),
    "q4": _packed("q4", unsigned=True),
}
