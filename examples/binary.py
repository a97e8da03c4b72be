"""A cursor over little-endian binary data, for the readers of weight files."""

from __future__ import annotations

import struct


class BadWeights(ValueError):
    """The file is not what its reader knows, or is cut short."""


class Reader:
    """Refuses to run past the end."""

    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.at = 0

    def take(self, count: int) -> memoryview:
        if self.at + count > len(self.data):
            raise BadWeights(f"cut short: it has {len(self.data)} bytes, and byte {self.at + count} is needed")
        self.at += count
        return self.data[self.at - count : self.at]

    def integer(self, form: str) -> int:
        return int(self.number(form))

    def number(self, form: str) -> int | float:
        """The next number, in the letter that `struct` has for its type."""
        return struct.unpack(f"<{form}", self.take(struct.calcsize(form)))[0]
