"""Weights on their way from files to the adapter, in one pass: a piece is read, hashed and handed on before the next.

So memory never holds them twice, and no file is read again to see whether it is what was compiled. Files are
safetensors: eight bytes that tell the length of a JSON header, the header, and the tensors one after the other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from intaglio.runtime import files
from intaglio.runtime.checked import items, named, typed
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.limits import TEXELS, WORD
from intaglio.runtime.plan import Buffer, Plan
from intaglio.runtime.progress import Progress

PIECE = 4 << 20  # bytes that are on their way at once; more than a row of any texture
HEADER = 100 << 20  # bytes that the header of a safetensors file may have
_WIDTHS = {"F32": 4, "I32": 4, "U32": 4, "F16": 2}  # bytes of a number, of the types that weights are written in


def stream(folder: Path, plan: Plan, progress: Progress) -> Iterator[tuple[int, int, memoryview]]:
    """All weights, piece by piece: a buffer, a place in it in bytes, and whole rows of what comes there, which are gone
    when the next piece is taken. Raises BadBundle, at the end of a file that was changed: run nothing before.
    """
    weights = [(i, b) for i, b in enumerate(plan.buffers) if b.kind == "weight"]
    total, done = sum(b.bytes for _, b in weights), 0
    if len({(b.file, b.name) for _, b in weights}) < len(weights):
        raise BadBundle("the plan is broken: two weights are one tensor")
    for name in sorted({b.file for _, b in weights}):
        here: dict[str, tuple[int, Buffer]] = {b.name: (i, b) for i, b in weights if b.file == name}
        for index, first, piece in _file(folder, plan, name, here):
            yield index, first, piece
            done += len(piece)
            progress("weights", done, total)


def row_bytes(buffer: Buffer) -> int:
    """Bytes that can only be written together."""
    return buffer.texture[0] * TEXELS[buffer.format] if buffer.texture else WORD


@dataclass(frozen=True)
class _Tensor:
    name: str
    width: int  # bytes of a number
    bytes: int


class _Hashed:
    """A file that is read once, from beginning to end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, hashlib.sha256()
        self._piece = memoryview(bytearray(PIECE))

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self._hash.update(content)
        if len(content) < size:
            raise ValueError("it is too short")
        return content

    def piece(self, size: int, room: int) -> memoryview:
        """The next `size` bytes, and zeros up to `room`, which is at most PIECE. The next piece takes their place."""
        count = self._file.readinto(self._piece[:size])
        self._hash.update(self._piece[:count])
        if count < size:
            raise ValueError("it is too short")
        self._piece[size:room] = bytes(room - size)
        return self._piece[:room]

    def digest(self) -> str:
        """The hash of all of the file; what was not read yet is."""
        while size := self._file.readinto(self._piece):
            self._hash.update(self._piece[:size])
        return self._hash.hexdigest()


def _file(
    folder: Path, plan: Plan, name: str, wanted: Mapping[str, tuple[int, Buffer]]
) -> Iterator[tuple[int, int, memoryview]]:
    """The pieces of a file. A file that was changed is told from one that was written wrongly."""
    with files.open_file(folder, name) as file:
        hashed, wrong = _Hashed(file), None
        try:
            yield from _pieces(hashed, wanted)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            wrong = error
        if hashed.digest() != plan.files[name]:
            raise files.changed(folder / name)
    if wrong is not None:
        raise BadBundle(f"{folder / name} is broken: {wrong}") from wrong


def _pieces(file: _Hashed, wanted: Mapping[str, tuple[int, Buffer]]) -> Iterator[tuple[int, int, memoryview]]:
    tensors = list(_header(file))
    if missing := sorted(wanted.keys() - {tensor.name for tensor in tensors}):
        raise ValueError(f"it has no tensor {missing[0]}")
    for tensor in tensors:
        index, buffer = wanted.get(tensor.name, (None, None))
        if buffer and (tensor.bytes > buffer.bytes or tensor.width != buffer.each):
            raise ValueError(f"{tensor.name} has {tensor.bytes} bytes, the plan says {buffer.bytes}")
        row = row_bytes(buffer) if buffer else 1
        most = PIECE // row * row
        for first in range(0, tensor.bytes, most):
            size = min(most, tensor.bytes - first)
            piece = file.piece(size, -(-size // row) * row)
            if buffer:
                yield index, first, piece


def _header(file: _Hashed) -> Iterator[_Tensor]:
    """The tensors in the order of their bytes, which leave no gap."""
    length = int.from_bytes(file.read(8), "little")
    if length > HEADER:
        raise ValueError(f"its header has {length} bytes")
    described = typed(json.loads(file.read(length)), dict)
    described.pop("__metadata__", None)
    spans: list[tuple[int, int, str, Any]] = []
    for name, tensor in named(described, dict).items():
        first, end = items(tensor["data_offsets"], int)
        spans.append((first, end, name, tensor["dtype"]))
    last = 0
    for first, end, name, dtype in sorted(spans):
        if first != last or end < first or dtype not in _WIDTHS:
            raise ValueError(f"{name} is {dtype} from {first} to {end}")
        yield _Tensor(name, _WIDTHS[dtype], end - first)
        last = end
