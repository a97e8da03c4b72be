"""Arrays in memory-mapped files: the system can drop their pages, so neither a model nor its packed weights need to fit
into memory. A mapping takes a file descriptor, and some systems allow only 256, so many arrays share one mapping.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import weakref
from pathlib import Path
from typing import IO

import numpy as np

_LEAST = 1 << 20  # bytes from which an array is moved
_SEGMENT = 1 << 28  # bytes of a temporary file that several arrays share
_ALIGNED = 64

_open: weakref.WeakValueDictionary[tuple[int, int, int], mmap.mmap] = weakref.WeakValueDictionary()
_segments: weakref.WeakSet[_Segment] = weakref.WeakSet()


def in_file(path: Path, dtype: np.dtype, shape: tuple[int, ...], offset: int) -> np.ndarray:
    """Return the array at `offset` bytes in a file, which must be long enough. Raises OSError."""
    if not math.prod(shape):
        return np.empty(shape, dtype)
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        key = status.st_dev, status.st_ino, status.st_size
        mapping = _open.get(key) or mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _open[key] = mapping
    return np.ndarray(shape, dtype, mapping, offset)


def moved(array: np.ndarray) -> np.ndarray:
    """Return the array in a temporary file if it is large, else as it is. Raises OSError if the disk is full."""
    if array.nbytes < _LEAST:
        return array
    segment = next((s for s in _segments if s.end + array.nbytes <= len(s)), None)
    if segment is None:
        segment = _Segment(max(_SEGMENT, array.nbytes))
        _segments.add(segment)
    return segment.hold(array)


class _Segment(mmap.mmap):
    """A temporary file filled from its start. It is written as a file, because a mapping cannot report a full disk."""

    file: IO[bytes]
    end: int

    def __new__(cls, size: int) -> _Segment:
        file = tempfile.TemporaryFile()  # noqa: SIM115 (it closes with the mapping)
        file.truncate(size)
        segment = super().__new__(cls, file.fileno(), size, access=mmap.ACCESS_READ)
        segment.file, segment.end = file, 0
        return segment

    def hold(self, array: np.ndarray) -> np.ndarray:
        start = self.end
        self.file.seek(start)
        self.file.write(np.ascontiguousarray(array).view(np.uint8).data)
        self.file.flush()
        self.end = start + array.nbytes + -array.nbytes % _ALIGNED
        return np.ndarray(array.shape, array.dtype, self, start)
