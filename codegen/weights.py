"""Weights: laid out as kernels read them, split where a binding would be too large, stored once.

Layout rows8 is for matrices [N, K]: eight rows side by side, four columns at a time, so element (n, k) lies at
((n/8) * (K/4) + k/4) * 32 + (n%8) * 4 + k%4. Eight lanes that own eight rows then read consecutive vec4s, whether they
compute a product of matrices, of a matrix and a vector, or look rows up. N is padded to 8 and K to 4 with zeros.
PackedMatrix matrices are laid out alike, in units of texels, and have their scales in a tensor of their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from intaglio.codegen.kernel import COLUMNS, Weight, stored
from intaglio.compiler.ir.packed import PackedMatrix
from intaglio.runtime.files import describe
from intaglio.runtime.plan import File

FILE_BYTES = 16 << 20  # of a weight file, header and all
_DESCRIBED = 200  # bytes, at most, that a header spends on a tensor beside its name


def rows8(matrix: np.ndarray) -> np.ndarray:
    """A matrix [N, K] in layout rows8, flat."""
    n, k = matrix.shape
    return _eight_together(_padded(matrix, 0, -k % 4).reshape(n, -(-k // 4), 4))


def _eight_together(texels: np.ndarray) -> np.ndarray:
    """Texels [N, texels of a row, 4] with eight rows side by side, flat; rows of zeros make N a multiple of 8."""
    n, each, four = texels.shape
    padded = _padded(texels, -n % 8, 0, 0)
    return np.ascontiguousarray(padded.reshape(-1, 8, each, four).transpose(0, 2, 1, 3)).reshape(-1)


def _padded(array: np.ndarray, *ends: int) -> np.ndarray:
    """An array with so many zeros at the end of each axis; itself, not a copy, where that is none."""
    return np.pad(array, [(0, end) for end in ends]) if any(ends) else array


def codes8(packed: PackedMatrix) -> np.ndarray:
    """Codes in layout rows8, a texel of four words for 16 columns of q8, or 32 of q4, flat u32.

    Column 4 i + w of a texel is byte (q8), or nibble (q4), i of word w: those of one i are then four neighbouring
    columns, which a kernel unpacks together.
    """
    bits = {"q8": 8, "q4": 4}[packed.format]
    each = 32 // bits
    whole = _padded(packed.codes.view(np.uint8), 0, -packed.shape[1] % (4 * each))
    codes = whole.reshape(len(whole), -1, each, 4)
    words = np.zeros((*codes.shape[:2], 4), np.uint32)
    for i in range(each):
        words |= (codes[:, :, i] & ((1 << bits) - 1)).astype(np.uint32) << np.uint32(bits * i)
    return _eight_together(words)


def scales8(packed: PackedMatrix) -> np.ndarray:
    """Scales and minima in layout rows8. Of f32: for each group of columns the scales of eight rows, then their minima.
    Of f16, flat u32: a word for each row, and group of columns (scale and minimum) or pair of groups (both scales).
    """
    if packed.wide:
        numbers = [packed.scale] if packed.minimum is None else [packed.scale, packed.minimum]
        words = np.stack(numbers, axis=-1).reshape(len(packed.scale), -1)
    else:
        pairs = packed.scale, packed.minimum
        if packed.minimum is None:
            even = _padded(packed.scale, 0, packed.scale.shape[1] % 2)
            pairs = even[:, 0::2], even[:, 1::2]
        low, high = (p.view(np.uint16).astype(np.uint32) for p in map(np.ascontiguousarray, pairs))
        words = low | high << np.uint32(16)
    padded = _padded(words, -len(words) % 8, 0)
    return np.ascontiguousarray(padded.reshape(-1, 8, padded.shape[1]).transpose(0, 2, 1)).reshape(-1)


def to_kernel_layout(weight: Weight) -> np.ndarray:
    """The numbers of a weight as they are stored, flat, a multiple of four."""
    array = weight.value.const
    if isinstance(array, PackedMatrix):
        part = array if weight.rows is None else array[slice(*weight.rows)]
        if weight.layout == "scales":
            return scales8(part)
        return rows8(part.codes) if part.format == "f16" else codes8(part)
    if weight.rows is not None:
        array = array[slice(*weight.rows)]
    array = stored(array)
    return rows8(array) if weight.layout == "rows8" else _padded(array.reshape(-1), -array.size % 4)


def kernel_layout_size(weight: Weight) -> int:
    """How many numbers `to_kernel_layout` gives."""
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


@dataclass(frozen=True)
class Stored:
    """Where a weight is: the tensor `name` of `files`, one part after the other."""

    name: str
    files: tuple[str, ...]


class WeightStore:
    """Collects weights, writing a file whenever enough has come together, so that little is held twice.

    A weight that is too large for what is left of a file goes on in the next one, as a tensor of the same name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, File] = {}
        self._by_content: dict[str, Stored] = {}
        self._by_identity: dict[tuple, Stored] = {}
        self._alive: list[np.ndarray] = []  # identities hold only while the arrays live
        self._pending: dict[str, np.ndarray] = {}
        self._left = FILE_BYTES
        self._names: set[str] = set()

    def add(self, weight: Weight, row: int) -> Stored:
        """Where the weight is stored, whose bytes are read in whole rows of `row` bytes. What equals it shares that,
        unless only one of them is for a texture: a tensor is read into one place."""
        identity = (*weight_identity(weight), row)
        if identity not in self._by_identity:
            words = to_kernel_layout(weight)
            digest = hashlib.sha256(np.ascontiguousarray(words))
            digest.update(f"{words.dtype} {row}".encode())
            content = digest.hexdigest()
            if content not in self._by_content:
                self._by_content[content] = self._store(self._unique(weight.value.name), words, row)
            self._by_identity[identity] = self._by_content[content]
            self._alive.append(weight.value.const)
        return self._by_identity[identity]

    def _store(self, name: str, words: np.ndarray, row: int) -> Stored:
        files = []
        described = _DESCRIBED + len(json.dumps(name))
        while words.size or not files:
            count = max(self._left - described, 0) // row * row // words.itemsize
            if count or not words.size:
                self._pending[name], words = words[:count], words[count:]
                self._left -= self._pending[name].nbytes + described
                files.append(self._file)
            if words.size:
                self.flush()
        return Stored(name, tuple(files))

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
        if self._pending:
            content = save(self._pending)
            (self.folder / self._file).write_bytes(content)
            self.files[self._file] = describe(content, pieces=True)
        self._pending, self._left = {}, FILE_BYTES


def weight_identity(weight: Weight) -> tuple:
    """What tells weights apart: where their numbers lie while they live, and how they are laid out."""
    const = weight.value.const
    if isinstance(const, PackedMatrix):
        return id(const), weight.layout, weight.rows
    view = const.__array_interface__
    return view["data"][0], view["strides"], const.shape, view["typestr"], weight.layout, weight.rows
