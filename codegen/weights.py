"""Weights: laid out as kernels read them, split where a binding would be too large, stored once.

Layout rows8 is for matrices [N, K]: eight rows side by side, four columns at a time, so element (n, k) lies at
((n/8) * (K/4) + k/4) * 32 + (n%8) * 4 + k%4. Eight lanes that own eight rows then read consecutive vec4s, whether they
compute a product of matrices, of a matrix and a vector, or look rows up. N is padded to 8 and K to 4 with zeros.
Packed matrices are laid out alike, in units of texels, and have their scales in a tensor of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from intaglio.codegen.kernel import COLUMNS, Weight, stored
from intaglio.compiler.ir.packed import Packed

SHARD = 64 << 20  # bytes of a weight file, more only if a single tensor is larger


def rows8(matrix: np.ndarray) -> np.ndarray:
    """A matrix [N, K] in layout rows8, flat."""
    n, k = matrix.shape
    padded = np.pad(matrix, [(0, 0), (0, -k % 4)])
    return _eight_together(padded.reshape(n, -(-k // 4), 4))


def _eight_together(texels: np.ndarray) -> np.ndarray:
    """Texels [N, texels of a row, 4] with eight rows side by side, flat; rows of zeros make N a multiple of 8."""
    n, each, four = texels.shape
    padded = np.pad(texels, [(0, -n % 8), (0, 0), (0, 0)])
    return np.ascontiguousarray(padded.reshape(-1, 8, each, four).transpose(0, 2, 1, 3)).reshape(-1)


def codes8(packed: Packed) -> np.ndarray:
    """Codes in layout rows8, a texel of four words for 16 columns of q8, or 32 of q4, flat u32.

    Column 4 i + w of a texel is byte (q8), or nibble (q4), i of word w: those of one i are then four neighbouring
    columns, which a kernel unpacks together.
    """
    bits = {"q8": 8, "q4": 4}[packed.format]
    each = 32 // bits
    whole = np.pad(packed.codes.view(np.uint8), [(0, 0), (0, -packed.shape[1] % (4 * each))])
    codes = whole.reshape(len(whole), -1, each, 4)
    words = np.zeros((*codes.shape[:2], 4), np.uint32)
    for i in range(each):
        words |= (codes[:, :, i] & ((1 << bits) - 1)).astype(np.uint32) << np.uint32(bits * i)
    return _eight_together(words)


def scales8(packed: Packed) -> np.ndarray:
    """Scales and minima in layout rows8. Of f32: for each group of columns the scales of eight rows, then their minima.
    Of f16, flat u32: a word for each row, and group of columns (scale and minimum) or pair of groups (both scales).
    """
    if packed.wide:
        numbers = [packed.scale] if packed.minimum is None else [packed.scale, packed.minimum]
        words = np.stack(numbers, axis=-1).reshape(len(packed.scale), -1)
    else:
        pairs = packed.scale, packed.minimum
        if packed.minimum is None:
            even = np.pad(packed.scale, [(0, 0), (0, packed.scale.shape[1] % 2)])
            pairs = even[:, 0::2], even[:, 1::2]
        low, high = (p.view(np.uint16).astype(np.uint32) for p in map(np.ascontiguousarray, pairs))
        words = low | high << np.uint32(16)
    padded = np.pad(words, [(0, -len(words) % 8), (0, 0)])
    return np.ascontiguousarray(padded.reshape(-1, 8, padded.shape[1]).transpose(0, 2, 1)).reshape(-1)


def packed(weight: Weight) -> np.ndarray:
    """The numbers of a weight as they are stored, flat, a multiple of four."""
    array = weight.value.const
    if isinstance(array, Packed):
        part = array if weight.rows is None else array[slice(*weight.rows)]
        if weight.layout == "scales":
            return scales8(part)
        return rows8(part.codes) if part.format == "f16" else codes8(part)
    if weight.rows is not None:
        array = array[slice(*weight.rows)]
    array = stored(array)
    return rows8(array) if weight.layout == "rows8" else np.pad(array.reshape(-1), (0, -array.size % 4))


def packed_size(weight: Weight) -> int:
    """How many numbers `packed` gives."""
    shape = weight.value.const.shape
    if weight.layout == "flat":
        return -(-weight.value.const.size // 4) * 4
    padded = stored_rows(weight)
    if weight.layout == "scales":
        groups, pair = weight.value.const.groups, weight.value.const.minimum is not None
        return padded * (groups * (1 + pair) if weight.value.const.wide else groups if pair else -(-groups // 2))
    return padded * -(-shape[1] // COLUMNS[weight.format]) * 4


def stored_rows(weight: Weight) -> int:
    """How many rows a matrix has in layout rows8."""
    rows = weight.value.const.shape[0] if weight.rows is None else weight.rows[1] - weight.rows[0]
    return -(-rows // 8) * 8


class WeightStore:
    """Collects weights, writing a shard whenever enough has come together, so that little is held twice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, str] = {}
        self._by_content: dict[str, tuple[str, str, int]] = {}
        self._by_identity: dict[tuple, tuple[str, str, int]] = {}
        self._kept: list[np.ndarray] = []  # identities hold only while the arrays live
        self._shard: dict[str, np.ndarray] = {}
        self._names: set[str] = set()

    def add(self, weight: Weight, texture: bool) -> tuple[str, str, int]:
        """File, tensor name and number of words under which the weight is stored. What equals it shares that, unless
        only one of them is for a texture: a tensor is read into one place."""
        identity = (*weight_identity(weight), texture)
        if identity not in self._by_identity:
            words = packed(weight)
            content = hashlib.sha256(words.tobytes() + f"{words.dtype} {texture}".encode()).hexdigest()
            if content not in self._by_content:
                self._by_content[content] = self._store(weight, words)
            self._by_identity[identity] = self._by_content[content]
            self._kept.append(weight.value.const)
        return self._by_identity[identity]

    def _store(self, weight: Weight, words: np.ndarray) -> tuple[str, str, int]:
        if self._shard and sum(a.nbytes for a in self._shard.values()) + words.nbytes > SHARD:
            self.flush()
        name = self._unique(weight.value.name)
        self._shard[name] = words
        return self._file, name, words.size

    @property
    def _file(self) -> str:
        return f"weights-{len(self.files) + 1:05d}.safetensors"

    def _unique(self, name: str) -> str:
        candidates: Iterator[str] = (name if i == 0 else f"{name}#{i}" for i in range(len(self._names) + 1))
        unique = next(c for c in candidates if c not in self._names)
        self._names.add(unique)
        return unique

    def flush(self) -> None:
        """Write what is pending."""
        if self._shard:
            path = self.folder / self._file
            save_file(self._shard, path)
            with path.open("rb") as file:
                self.files[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
            self._shard = {}


def weight_identity(weight: Weight) -> tuple:
    """What tells weights apart: where their numbers lie while they live, and how they are laid out."""
    const = weight.value.const
    if isinstance(const, Packed):
        return id(const), weight.layout, weight.rows
    view = const.__array_interface__
    return view["data"][0], view["strides"], const.shape, view["typestr"], weight.layout, weight.rows
