"""Weights: laid out as kernels read them, split where a binding would be too large, stored once.

Layout rows8 is for matrices [N, K]: eight rows side by side, four columns at a time, so element (n, k) lies at
((n/8) * (K/4) + k/4) * 32 + (n%8) * 4 + k%4. Eight lanes that own eight rows then read consecutive vec4s, whether they
compute a product of matrices, of a matrix and a vector, or look rows up. N is padded to 8 and K to 4 with zeros.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from intaglio.codegen.kernel import Weight, stored

SHARD = 64 << 20  # bytes of a weight file, more only if a single tensor is larger


def rows8(matrix: np.ndarray) -> np.ndarray:
    """A matrix [N, K] in layout rows8, flat."""
    n, k = matrix.shape
    padded = np.pad(matrix, [(0, -n % 8), (0, -k % 4)])
    return np.ascontiguousarray(padded.reshape(-(-n // 8), 8, -(-k // 4), 4).transpose(0, 2, 1, 3)).reshape(-1)


def packed(weight: Weight) -> np.ndarray:
    """The words of a weight, flat, a multiple of four."""
    array = weight.value.const
    if weight.rows is not None:
        array = array[slice(*weight.rows)]
    array = stored(array)
    return rows8(array) if weight.layout == "rows8" else np.pad(array.reshape(-1), (0, -array.size % 4))


def packed_size(weight: Weight) -> int:
    """How many words `packed` gives."""
    shape = weight.value.const.shape
    if weight.layout == "rows8":
        rows = shape[0] if weight.rows is None else weight.rows[1] - weight.rows[0]
        return -(-rows // 8) * 8 * -(-shape[1] // 4) * 4
    return -(-weight.value.const.size // 4) * 4


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

    def add(self, weight: Weight) -> tuple[str, str, int]:
        """File, tensor name and number of words under which the weight is stored."""
        identity = _identity(weight)
        if identity not in self._by_identity:
            words = packed(weight)
            content = hashlib.sha256(words.tobytes() + str(words.dtype).encode()).hexdigest()
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


def _identity(weight: Weight) -> tuple:
    view = weight.value.const.__array_interface__
    return view["data"][0], view["strides"], weight.value.const.shape, view["typestr"], weight.layout, weight.rows
