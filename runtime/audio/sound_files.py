"""Recordings that libsndfile decodes, and the repair of WAV files that were written to a pipe."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile

from intaglio.runtime.audio.recording import BLOCK, AudioError, from_frame

_LARGEST = 0xFFFF_FFFF  # what a size in a WAV can say


class SoundFile:
    """A recording in a seekable file. Raises soundfile.LibsndfileError if libsndfile does not know its format."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = soundfile.SoundFile(_repaired(file))
        self._name, self.rate, self.channels = name, self._file.samplerate, self._file.channels

    def blocks(self, first: int) -> Iterator[np.ndarray]:
        """See Recording. What lies before is decoded too: in some formats libsndfile does not seek to the frame."""
        return from_frame(self._decoded(), first)

    def _decoded(self) -> Iterator[np.ndarray]:
        try:
            while len(block := self._file.read(BLOCK, dtype="float32", always_2d=True)):
                yield block
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{self._name} is damaged: {str(error).rstrip('.')}; convert it with ffmpeg") from error


def _repaired(file: BinaryIO) -> BinaryIO:
    """Return a WAV whose header says that it has no samples, because it was written to a pipe, with its true size.

    Any other file is returned as it is.
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    if (data := _unsized_data(file, end)) is None:
        file.seek(0)
        return file
    size = min(end - data, _LARGEST).to_bytes(4, "little")
    return io.BufferedReader(_Patched(file, {4: min(end - 8, _LARGEST).to_bytes(4, "little"), data - 4: size}))


def _unsized_data(file: BinaryIO, end: int) -> int | None:
    """Return where the samples of a WAV begin whose data chunk says 0 bytes although samples follow, or else None."""
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    for name, first, size in _chunks(file, 12, end):
        if name == b"data":
            rest = list(_chunks(file, first, end)) if size == 0 else []
            closed = bool(rest) and rest[-1][1] + rest[-1][2] in (end, end - 1)  # only other chunks follow
            return first if size == 0 and first < end and not closed else None
    return None


def _chunks(file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, the begin and the size of each chunk from `at` on, as far as they lie in the file."""
    while at + 8 <= end:
        file.seek(at)
        head = file.read(8)
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if not name.isascii() or at + 8 + size > end:
            return
        yield name, at + 8, size
        at += 8 + size + size % 2


class _Patched(io.RawIOBase):
    """A file with some bytes replaced. patches: the new bytes by position."""

    def __init__(self, file: BinaryIO, patches: dict[int, bytes]) -> None:
        self._file, self._patches = file, patches

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        first = self._file.tell()
        data = bytearray(self._file.read(len(buffer)))
        for at, patch in self._patches.items():
            for i, byte in enumerate(patch, at - first):
                if 0 <= i < len(data):
                    data[i] = byte
        buffer[: len(data)] = data
        return len(data)
