"""Writes packets of Opus or Vorbis as an Ogg file.

Its pages tell how many samples there are up to their end, which only the packets know. Pages: RFC 3533; Opus in Ogg:
RFC 7845 and RFC 6716, 3.1; the sizes of blocks and modes: Vorbis I specification, 4.2 and 4.3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Protocol, Self

_BEGIN, _END, _CONTINUED = 2, 4, 1
_FLAG = 0x01
_LOWEST_BITS = 97  # of a setup header that lie before its modes
_MODES = 64
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


class Codec(Protocol):
    """A codec: its packets before those of sound, and the samples of each packet of sound."""

    headers: Sequence[bytes]

    def samples(self, packet: bytes) -> int: ...


class Opus:
    """Opus. head: the packet that begins with OpusHead. Raises ValueError if it does not."""

    def __init__(self, head: bytes) -> None:
        if head[:8] != b"OpusHead" or len(head) < 19:
            raise ValueError("no head of Opus")
        self.headers: Sequence[bytes] = (head, b"OpusTags" + bytes(8))

    def samples(self, packet: bytes) -> int:
        """Return the samples of a packet at 48 kHz."""
        config, code = packet[0] >> 3, packet[0] & 3
        if config < 12:
            size = (480, 960, 1920, 2880)[config & 3]
        elif config < 16:
            size = (480, 960)[config & 1]
        else:
            size = (120, 240, 480, 960)[config & 3]
        return size * (1, 2, 2, packet[1] & 63 if len(packet) > 1 else 0)[code]


class Vorbis:
    """Vorbis. headers: identification, comments and setup. Raises ValueError if they are not."""

    def __init__(self, headers: Sequence[bytes]) -> None:
        if [header[:7] for header in headers] != [b"\1vorbis", b"\3vorbis", b"\5vorbis"] or len(headers[0]) < 30:
            raise ValueError("no headers of Vorbis")
        self.headers = headers
        sizes = headers[0][28]
        self._sizes = 1 << (sizes & 15), 1 << (sizes >> 4)
        self._long = _long_modes(headers[2])
        self._before = 0

    def samples(self, packet: bytes) -> int:
        """Return the samples that are complete with this packet: a quarter of its size and of the one before."""
        mode = packet[0] >> 1 & ((1 << (len(self._long) - 1).bit_length()) - 1)
        if packet[0] & _FLAG or mode >= len(self._long):
            return 0  # not a packet of sound
        size = self._sizes[self._long[mode]]
        before, self._before = self._before, size
        return (before + size) // 4 if before else 0


def _long_modes(setup: bytes) -> list[bool]:
    """Return whether each mode has long blocks. Raises ValueError.

    The modes are the end of the setup header, and all that lies before is hard to read. So they are read backwards, as
    FFmpeg's vorbis_parser does, up to the last place that counts as many modes as there are.
    """
    bits = int.from_bytes(setup, "little")
    at = bits.bit_length() - 1  # of the bit that ends the header
    modes: list[bool] = []
    best = 0
    while at >= _LOWEST_BITS and len(modes) < _MODES:
        mapping, transform, window = bits >> at - 8 & 0xFF, bits >> at - 24 & 0xFFFF, bits >> at - 40 & 0xFFFF
        if mapping >= _MODES or transform or window:
            break
        at -= 41
        modes.append(bool(bits >> at & 1))
        if (bits >> at - 6 & 0x3F) + 1 == len(modes):
            best = len(modes)
    if not best:
        raise ValueError("no modes in the setup of Vorbis")
    return modes[:best][::-1]


class Writer(Protocol):
    def write(self, data: bytes, /) -> object: ...


class Pages:
    """Writes the packets of a track as pages, each in pages of its own. `count`: the packets of sound so far."""

    def __init__(self, output: Writer, codec: Codec) -> None:
        self._output, self._codec = output, codec
        self._sequence, self._position, self.count = 0, 0, 0
        self._waiting: bytes | None = None
        for i, header in enumerate(codec.headers):
            self._packet(header, 0, 0 if i else _BEGIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Write the last packet with the mark of the end."""
        if self._waiting is not None:
            self._packet(self._waiting, self._position, _END)

    def add(self, packet: bytes) -> None:
        """Add a packet of sound, which is not empty."""
        if self._waiting is not None:
            self._packet(self._waiting, self._position, 0)
        self._waiting = packet
        self._position += self._codec.samples(packet)
        self.count += 1

    def _packet(self, packet: bytes, position: int, flags: int) -> None:
        """Write a packet. position: the samples up to its end."""
        lengths = [255] * (len(packet) // 255) + [len(packet) % 255]
        for first in range(0, len(lengths), 255):
            part, last = lengths[first : first + 255], first + 255 >= len(lengths)
            content = packet[255 * first : 255 * first + sum(part)]
            kind = (0 if flags == _END and not last else flags) | (_CONTINUED if first else 0)
            head = (0, kind, position if last else -1, 1, self._sequence, 0, len(part))
            page = struct.pack("<4sBBqIIIB", b"OggS", *head) + bytes(part) + content
            self._output.write(page[:22] + checksum(page).to_bytes(4, "little") + page[26:])
            self._sequence += 1


def checksum(page: bytes) -> int:
    """Return the checksum of a page whose own is 0: zlib's CRC-32, but with the first bit of each byte first."""
    mirrored = ~zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) & 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
