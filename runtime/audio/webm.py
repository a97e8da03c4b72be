"""WebM and Matroska with Opus or Vorbis, repacked as Ogg, which libsndfile reads: no sample is decoded here.

A file comes from a stranger, so each size is checked against what is there, and nothing that is read is large.
Elements: RFC 9559; blocks and lacing: its section 10.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, cast

from intaglio.runtime.audio.ogg import Codec, Opus, Pages, Vorbis

SIGN = b"\x1aE\xdf\xa3"
_SEGMENT, _CLUSTER, _TRACKS, _ENTRY, _GROUP = 0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE, 0xA0
_NUMBER, _CODEC, _PRIVATE, _SIMPLE, _BLOCK = 0xD7, 0x86, 0x63A2, 0xA3, 0xA1
_MASTERS, _BLOCKS = (_SEGMENT, _CLUSTER, _TRACKS, _ENTRY, _GROUP), (_SIMPLE, _BLOCK)
_READ = _NUMBER, _CODEC, _PRIVATE, *_BLOCKS
_LARGEST = 1 << 20  # bytes of an element that is read: a block of sound, or the headers of a codec
_ELEMENTS = 1 << 22  # that are looked at: twelve hours of sound in blocks of 20 ms have half of them
_MOST_TRACKS = 32
_IN_MEMORY = 1 << 24  # bytes of a repacked file
_LACES, _XIPH, _FIXED = 0x06, 0x02, 0x04


class Unsuitable(ValueError):
    """The file has no track that can be repacked."""


@dataclass
class _Track:
    number: int = 0
    codec: bytes = b""
    private: bytes = b""

    def opened(self) -> Codec:
        """Return its codec. Raises ValueError for another one, and for headers that are damaged."""
        if self.codec == b"A_OPUS":
            return Opus(self.private)
        if self.codec == b"A_VORBIS" and self.private[:1] == b"\x02":
            return Vorbis(_laced(self.private[1:], _XIPH, 3))
        raise ValueError("another codec")


def repacked(file: BinaryIO, name: str) -> BinaryIO:
    """Return the first track of Opus or Vorbis in a seekable file as a temporary Ogg file, at its begin.

    Warns of parts that are damaged, and leaves them out. Raises Unsuitable.
    """
    elements = _Elements(file)
    stream = iter(elements)
    tracks: list[_Track] = []
    first = next((data for id, data in stream if not _in_header(tracks, id, data)), b"")
    number, codec = _chosen(tracks)
    output = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115, the caller closes it
    with Pages(output, codec) as pages:
        for data in chain([first], (data for id, data in stream if id in _BLOCKS)):
            try:
                for packet in _packets(data, number):
                    pages.add(packet)
            except ValueError:
                elements.damaged += 1
    if not pages.count:
        raise Unsuitable("no sound")
    if elements.damaged:
        warnings.warn(f"{name} is damaged: {elements.damaged} of its parts were skipped", stacklevel=2)
    output.seek(0)
    return cast(BinaryIO, output)


def _in_header(tracks: list[_Track], id: int, data: bytes) -> bool:
    """Add what an element says about tracks. Returns False for a block, which begins the sound."""
    if id == _ENTRY and len(tracks) < _MOST_TRACKS:
        tracks.append(_Track())
    elif tracks and id == _NUMBER:
        tracks[-1].number = int.from_bytes(data, "big")
    elif tracks and id == _CODEC:
        tracks[-1].codec = data.rstrip(b"\0")
    elif tracks and id == _PRIVATE:
        tracks[-1].private = data
    return id not in _BLOCKS


def _chosen(tracks: list[_Track]) -> tuple[int, Codec]:
    """Return the number and the codec of the first track that can be repacked. Raises Unsuitable."""
    for track in tracks:
        with suppress(ValueError):
            return track.number, track.opened()
    raise Unsuitable("no track of Opus or Vorbis")


class _Elements:
    """The elements that matter, flat, each with its content. `damaged`: 1 if the file is cut or ends in nonsense."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._end = file, file.seek(0, os.SEEK_END)
        self.damaged = 0

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        at = 0
        for _ in range(_ELEMENTS):
            if at >= self._end:
                return
            self._file.seek(at)
            head = self._file.read(16)
            try:
                id, begin = _vint(head, 0, marked=True)
                size, content = _vint(head, begin)
            except ValueError:
                break
            at += content
            if id in _MASTERS:  # what follows is in it, whatever its size says
                yield id, b""
                continue
            unknown = size == (1 << 7 * (content - begin)) - 1
            if unknown or size > self._end - at:
                break
            if id in _READ and size <= _LARGEST:
                self._file.seek(at)
                yield id, self._file.read(size)
            at += size
        self.damaged = 1


def _length(byte: int) -> int:
    """Return the length in bytes of a number that begins with this byte. Raises ValueError."""
    if not byte:
        raise ValueError("a number is longer than 8 bytes")
    return 9 - byte.bit_length()


def _vint(data: bytes, at: int, marked: bool = False) -> tuple[int, int]:
    """Return a number of EBML and where it ends. marked: with the bit that tells its length. Raises ValueError."""
    if at >= len(data):
        raise ValueError("a number is cut")
    length = _length(data[at])
    content = data[at : at + length]
    if len(content) < length:
        raise ValueError("a number is cut")
    value = int.from_bytes(content, "big")
    return value if marked else value & ((1 << 7 * length) - 1), at + length


def _packets(block: bytes, number: int) -> list[bytes]:
    """Return the packets of a block; none if it is of another track. Raises ValueError if it is damaged."""
    track, at = _vint(block, 0)
    if track != number:
        return []
    if len(block) < at + 4:
        raise ValueError("a block is empty")
    lacing, content = block[at + 2] & _LACES, block[at + 3 :]
    return _laced(content[1:], lacing, content[0] + 1) if lacing else [content]


def _laced(data: bytes, lacing: int, count: int) -> list[bytes]:
    """Return the `count` packets of a content with this kind of lacing. Raises ValueError."""
    if lacing == _FIXED:
        sizes, at = [len(data) // count] * count, len(data) % count
        if at:
            raise ValueError("laces are not of equal size")
    else:
        sizes, at = (_xiph if lacing == _XIPH else _ebml)(data, count - 1)
        sizes.append(len(data) - at - sum(sizes))
    if min(sizes) <= 0:
        raise ValueError("laces are longer than their block")
    packets = []
    for size in sizes:
        packets.append(data[at : at + size])
        at += size
    return packets


def _xiph(data: bytes, count: int) -> tuple[list[int], int]:
    """Return sizes that are sums of bytes up to the first below 255, and where they end. Raises ValueError."""
    sizes, at = list[int](), 0
    for _ in range(count):
        size = 0
        while True:
            if at >= len(data):
                raise ValueError("laces are cut")
            size, at = size + data[at], at + 1
            if data[at - 1] < 255:
                break
        sizes.append(size)
    return sizes, at


def _ebml(data: bytes, count: int) -> tuple[list[int], int]:
    """Return sizes of which all but the first are differences, and where they end. Raises ValueError."""
    sizes, at = list[int](), 0
    for i in range(count):
        begin = at
        value, at = _vint(data, at)
        sizes.append(value if not i else sizes[-1] + value - ((1 << 7 * (at - begin) - 1) - 1))
    return sizes, at
