"""The formats of weights, one row each, and rows8, the layout in which every format stores a matrix on the adapter.

Layout rows8 stores a matrix [N, K] in blocks of eight rows. Within a block, the texels of the eight rows are
interleaved, so eight lanes that own eight rows read neighbouring texels. Matrix products, matrix-vector products and
row lookups all use it. In f32 and f16 a texel holds 4 columns: element (n, k) lies at
((n/8) * (K/4) + k/4) * 32 + (n%8) * 4 + k%4. N is padded to a multiple of 8 and K to whole texels, with zeros.
compiler/ir/packed defines what a format means and how numbers are rounded to it.
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
    """How a format of weights is stored on the adapter.

    bits: bits per number. columns: columns per texel. texture: the texel format. codes: returns the codes of a packed
    matrix in layout rows8, flat. packing: the suffix of the templates that unpack it. unsigned: whether the codes are
    unsigned if the groups have minima.
    """

    bits: int
    columns: int
    texture: str
    codes: Callable[[PackedMatrix], np.ndarray]
    packing: str = ""
    unsigned: bool = False

    @property
    def bytes(self) -> int:
        """Return the bytes of one of a texel's four numbers; in a packed format, each number is a word of codes."""
        return TEXELS[self.texture] // 4


def rows8(matrix: np.ndarray) -> np.ndarray:
    """Return a matrix [N, K] in layout rows8, flat."""
    n, k = matrix.shape
    return _eight_together(padded(matrix, 0, -k % 4).reshape(n, -(-k // 4), 4))


def codes8(packed: PackedMatrix) -> np.ndarray:
    """Return the codes of a packed matrix in layout rows8, flat u32. A texel of four words holds 16 (q8) or 32 (q4)
    columns.

    Column 4 i + w of a texel is byte i (q8) or nibble i (q4) of word w, so a kernel unpacks four neighbouring columns
    at once.
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
    """Return the scales and minima of a packed matrix in layout rows8, flat. Raises TypeError if it has no scales.

    In f32, each group of columns has the scales of eight rows, then their minima. In f16, the result is u32: a word
    holds the scale and the minimum of one group of a row, or, without minima, the scales of two groups.
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
    """Interleave the texels [N, texels per row, 4] of every eight rows, flat. Zeros pad N to a multiple of 8."""
    n, each, four = texels.shape
    rows = padded(texels, -n % 8, 0, 0)
    return np.ascontiguousarray(rows.reshape(-1, 8, each, four).transpose(0, 2, 1, 3)).reshape(-1)


def padded(array: np.ndarray, *ends: int) -> np.ndarray:
    """Append `ends[i]` zeros to axis i of an array. Returns the array itself if every count is 0."""
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
