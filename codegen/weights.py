"""Stores weights, each once, in the layouts that kernels read (see formats.py).

Kernels split a weight that is too large for one binding. The scales of a packed matrix are a separate tensor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from intaglio.codegen.formats import FORMATS, padded, rows8, scales8
from intaglio.codegen.kernel import Weight, stored
from intaglio.compiler.ir.packed import PackedMatrix
from intaglio.runtime.files import describe
from intaglio.runtime.plan import File

FILE_BYTES = 16 << 20  # of a weight file, with its header
_DESCRIBED = 200  # a header spends up to this many bytes on a tensor, without its name


def to_kernel_layout(weight: Weight) -> np.ndarray:
    """Return the numbers of a weight in the layout that kernels read: flat, their count a multiple of 4."""
    array = weight.value.numbers
    if isinstance(array, PackedMatrix):
        part = array if weight.rows is None else array[slice(*weight.rows)]
        if weight.layout == "scales":
            return scales8(part)
        return FORMATS[part.format].codes(part)
    if weight.rows is not None:
        array = array[slice(*weight.rows)]
    array = stored(array)
    return rows8(array) if weight.layout == "rows8" else padded(array.reshape(-1), -array.size % 4)


def kernel_layout_size(weight: Weight) -> int:
    """Return how many numbers `to_kernel_layout` returns."""
    const = weight.value.numbers
    if weight.layout == "flat":
        return -(-const.size // 4) * 4
    rows = stored_rows(weight)
    if weight.layout == "scales" and isinstance(const, PackedMatrix):
        groups, pair = const.groups, const.minimum is not None
        return rows * (groups * (1 + pair) if const.wide else groups if pair else -(-groups // 2))
    return rows * -(-const.shape[1] // FORMATS[weight.format].columns) * 4


def stored_rows(weight: Weight) -> int:
    """Return the number of rows of a matrix in layout rows8, with padding."""
    rows = weight.value.numbers.shape[0] if weight.rows is None else weight.rows[1] - weight.rows[0]
    return -(-rows // 8) * 8


@dataclass(frozen=True)
class Stored:
    """Where a weight is stored: in the tensors `name` of `files`, one part after the other."""

    name: str
    files: tuple[str, ...]


class WeightStore:
    """Collects weights and writes a file into `folder` whenever one is full, so that memory holds few copies.

    If a weight does not fit in the rest of a file, the next file continues it as a tensor of the same name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, File] = {}
        self._by_content: dict[str, Stored] = {}
        self._by_identity: dict[tuple[Any, ...], Stored] = {}
        self._alive: list[np.ndarray | PackedMatrix] = []  # identities hold only while the arrays live
        self._pending: dict[str, np.ndarray] = {}
        self._left = FILE_BYTES
        self._names: set[str] = set()

    def add(self, weight: Weight, row: int) -> Stored:
        """Store a weight and return where. The runtime reads it in whole rows of `row` bytes.

        Weights of equal content and `row` are stored once. Weights of different `row`s are not shared, because a tensor
        is loaded into one texture or buffer.
        """
        identity = (*weight_identity(weight), row)
        if identity not in self._by_identity:
            words = to_kernel_layout(weight)
            digest = hashlib.sha256(np.ascontiguousarray(words).data)
            digest.update(f"{words.dtype} {row}".encode())
            content = digest.hexdigest()
            if content not in self._by_content:
                self._by_content[content] = self._store(self._unique(weight.value.name), words, row)
            self._by_identity[identity] = self._by_content[content]
            self._alive.append(weight.value.numbers)
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
        """Write the pending weights to a file."""
        if self._pending:
            content = save(self._pending)
            (self.folder / self._file).write_bytes(content)
            self.files[self._file] = describe(content, pieces=True)
        self._pending, self._left = {}, FILE_BYTES


def weight_identity(weight: Weight) -> tuple[Any, ...]:
    """Return a key that identifies a weight: the address of its numbers, while they are alive, and its layout."""
    const = weight.value.numbers
    if isinstance(const, PackedMatrix):
        return id(const), weight.layout, weight.rows
    view = const.__array_interface__
    return view["data"][0], view["strides"], const.shape, view["typestr"], weight.layout, weight.rows
