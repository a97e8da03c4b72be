"""Weights are streamed from files to the adapter: each piece is read, hashed and yielded before the next.

So memory never holds them twice, and nothing is yielded with another hash than the plan's. Files are safetensors: eight
bytes with the length of a JSON header, the header, and the tensors one after the other. A weight that goes on in
the next file has a tensor of the same name there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from intaglio.runtime import files
from intaglio.runtime.checked import items, named, typed
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.limits import DEFAULT_LIMITS, PIECE, TEXELS, WORD
from intaglio.runtime.plan import Buffer, File, Plan
from intaglio.runtime.progress import Progress

_ROW = DEFAULT_LIMITS["max-texture-dimension-2d"] * max(TEXELS.values())  # bytes of the widest row
HEADER = 100 << 20  # bytes that the header of a safetensors file may have
_WIDTHS = {"F32": 4, "I32": 4, "U32": 4, "F16": 2}  # bytes of a number, of the types that weights are written in


def stream(
    folder: Path, plan: Plan, buffers: Mapping[int, Buffer], progress: Progress
) -> Iterator[tuple[int, int, memoryview]]:
    """The weights in `buffers`, piece by piece: index of the buffer, offset in bytes, and whole rows, valid until the
    next piece.

    A file is read again if some of its weights are needed both as textures and as buffers.
    Raises BadBundle for a piece that was changed, before any of it is yielded.
    """
    weights = [_Weight(i, b) for i, b in buffers.items() if b.kind == "weight"]
    total, done = sum(w.buffer.bytes for w in weights), 0
    once = list({(w.buffer.name, w.buffer.files): w for w in reversed(weights)}.values())
    for group in (once, [w for w in weights if w not in once]):
        for name in sorted({file for w in group for file in w.buffer.files}):
            for index, first, piece in _file(folder, name, plan.files[name], _within(name, group)):
                yield index, first, piece
                done += len(piece)
                progress("weights", done, total)


def _within(file: str, weights: list[_Weight]) -> dict[str, _Weight]:
    """The weights that lie in a file, at least in part, by the names of their tensors."""
    here: dict[str, _Weight] = {}
    for weight in weights:
        if file in weight.buffer.files:
            if weight.buffer.name in here:
                raise BadBundle(f"the plan is broken: two weights are the tensor {weight.buffer.name} of {file}")
            here[weight.buffer.name] = weight
    return here


def row_bytes(buffer: Buffer) -> int:
    """Bytes that can only be written together."""
    return buffer.texture[0] * TEXELS[buffer.format] if buffer.texture else WORD


@dataclass
class _Weight:
    """A buffer of the plan, filled from its beginning; `filled`: bytes so far."""

    index: int
    buffer: Buffer
    filled: int = 0


@dataclass(frozen=True)
class _Tensor:
    name: str
    width: int  # bytes of a number
    bytes: int


class _Pieces:
    """A file that is read once, from beginning to end; each piece is compared with its hash before it is handed on."""

    def __init__(self, file: BufferedReader, path: Path, described: File) -> None:
        self._file, self._path, self._hashes = file, path, iter(described.pieces)
        self._left = described.bytes  # that were not read yet
        if os.fstat(file.fileno()).st_size != self._left:
            raise files.changed(path)
        self._room = memoryview(bytearray(PIECE + _ROW))
        self._ready = self._room[:0]

    def read(self, size: int) -> bytes:
        """The next `size` bytes."""
        content = bytearray()
        while len(content) < size:
            content += self.rows(size - len(content), 1)
        return bytes(content)

    def rows(self, size: int, row: int) -> memoryview:
        """Some of the next `size` bytes, at least one: whole rows, or all of them. The next ones take their place."""
        if len(self._ready) < min(size, row):
            self._fill()
        if len(self._ready) < min(size, row):
            raise ValueError("it ends too early")
        ready = min(len(self._ready), size)
        count = ready if ready == size else ready // row * row
        rows, self._ready = self._ready[:count], self._ready[count:]
        return rows

    def finish(self) -> None:
        """Compare the rest of the file, which nothing reads."""
        while self._left:
            self._ready = self._ready[:0]
            self._fill()

    def _fill(self) -> None:
        """Put the next piece behind what is left of the one before."""
        rest, size = len(self._ready), min(PIECE, self._left)
        self._room[:rest] = bytes(self._ready)
        piece = self._room[rest : rest + size]
        if self._file.readinto(piece) < size or (size and hashlib.sha256(piece).hexdigest() != next(self._hashes)):
            raise files.changed(self._path)
        self._left -= size
        self._ready = self._room[: rest + size]


def _file(
    folder: Path, name: str, described: File, weights: Mapping[str, _Weight]
) -> Iterator[tuple[int, int, memoryview]]:
    """The pieces of a file. A changed file and a wrongly written one give different errors."""
    with files.open_file(folder, name) as file:
        pieces = _Pieces(file, folder / name, described)
        try:
            yield from _tensors(pieces, weights)
            pieces.finish()
        except BadBundle:
            raise
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BadBundle(f"{folder / name} is broken: {error}; compile the model again") from error


def _tensors(file: _Pieces, weights: Mapping[str, _Weight]) -> Iterator[tuple[int, int, memoryview]]:
    tensors = list(_header(file))
    if missing := sorted(weights.keys() - {tensor.name for tensor in tensors}):
        raise ValueError(f"it lacks the tensor {missing[0]}")
    for tensor in tensors:
        weight = weights.get(tensor.name)
        if weight is None:
            for _ in _chunks(file, tensor.bytes, 1):
                pass
            continue
        buffer, row = weight.buffer, row_bytes(weight.buffer)
        wrong_format = buffer.texture and tensor.width != buffer.each  # a buffer takes any bytes
        if weight.filled + tensor.bytes > buffer.bytes or wrong_format or weight.filled % row:
            raise ValueError(f"tensor {tensor.name!r} does not fit the {buffer.bytes} bytes that the plan gives it")
        for chunk in _chunks(file, tensor.bytes, row):
            yield weight.index, weight.filled, chunk
            weight.filled += len(chunk)


def _chunks(file: _Pieces, size: int, row: int) -> Iterator[memoryview]:
    """The next `size` bytes in whole rows, with zeros after the last one."""
    while size:
        chunk = file.rows(size, row)
        size -= len(chunk)
        yield chunk if len(chunk) % row == 0 else memoryview(bytes(chunk).ljust(-(-len(chunk) // row) * row, b"\0"))


def _header(file: _Pieces) -> Iterator[_Tensor]:
    """The tensors in the order of their bytes. Raises ValueError if they leave a gap."""
    length = int.from_bytes(file.read(8), "little")
    if length > HEADER:
        raise ValueError(f"expected a header of up to {HEADER} bytes, got {length}")
    described = typed(json.loads(file.read(length)), dict)
    described.pop("__metadata__", None)
    spans: list[tuple[int, int, str, Any]] = []
    for name, tensor in named(described, dict).items():
        first, end = items(tensor["data_offsets"], int)
        spans.append((first, end, name, tensor["dtype"]))
    last = 0
    for first, end, name, dtype in sorted(spans):
        if first != last or end < first or dtype not in _WIDTHS:
            raise ValueError(f"tensor {name!r}: expected {', '.join(_WIDTHS)} right behind the one before")
        yield _Tensor(name, _WIDTHS[dtype], end - first)
        last = end
