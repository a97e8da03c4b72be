"""Readbacks: words that a submit leaves for the host, which later submits do not wait for.

Each readback has a staging buffer of its own until it is read. So the adapter runs the next submit while the host maps
the words of the one before.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import wgpu

from intaglio.runtime import native
from intaglio.runtime.errors import DeviceLost
from intaglio.runtime.limits import READBACKS, STAGING, WORD

_AGAIN = 1e-4  # seconds between waits for a map that another thread is about to end


class Readback:
    """Words that a submit copied. They can be read until READBACKS later ones have begun."""

    def __init__(self, staging: _Staging, submit: int, size: int) -> None:
        self._staging, self._submit, self._size = staging, submit, size

    def words(self) -> np.ndarray:
        """Wait for the submit. Returns the words, as i32. Raises DeviceLost, and LookupError if it is too late."""
        return self._staging.read(self, self._submit, self._size)


class Readbacks:
    """The readbacks of a session, whose staging buffers take turns. lock: the device's."""

    def __init__(self, device: wgpu.GPUDevice, lock: AbstractContextManager[Any]) -> None:
        # Python can interrupt a wait for a thread, but not a driver.
        waiting = ThreadPoolExecutor(1, "readback")
        self._turns = [_Staging(device, lock, waiting) for _ in range(READBACKS)]

    @property
    def allocated(self) -> int:
        """Bytes on the adapter."""
        return STAGING * len(self._turns)

    def submit(self, encoder: wgpu.GPUCommandEncoder, source: wgpu.GPUBuffer, first: int, count: int) -> Readback:
        """Submit what was encoded and then a copy of `count` words of `source`. The caller holds the lock."""
        staging = self._turns.pop(0)
        self._turns.append(staging)
        return staging.submit(encoder, source, first * WORD, count * WORD)


class _Staging:
    """A buffer that the host can map. `_map`: the number of the map that has begun and was not ended, or 0."""

    def __init__(self, device: wgpu.GPUDevice, lock: AbstractContextManager[Any], waiting: ThreadPoolExecutor) -> None:
        self._device, self._lock, self._waiting = device, lock, waiting
        self._allocate()

    def _allocate(self) -> None:
        usage = wgpu.BufferUsage.MAP_READ | wgpu.BufferUsage.COPY_DST
        self._buffer = self._device.create_buffer(size=STAGING, usage=usage)
        self._map, self._readback = 0, None

    def submit(self, encoder: wgpu.GPUCommandEncoder, source: wgpu.GPUBuffer, first: int, size: int) -> Readback:
        try:
            self._end()
            encoder.copy_buffer_to_buffer(source, first, self._buffer, 0, size)
            readback = Readback(self, native.submit(self._device, encoder.finish()), size)
            self._map = native.begin_map(self._buffer, size)
        except BaseException:
            self._allocate()  # an interrupt leaves it open whether the buffer is mapped, or about to be
            raise
        self._readback = readback
        return readback

    def read(self, readback: Readback, submit: int, size: int) -> np.ndarray:
        with self._lock:
            if self._readback is not readback:
                raise LookupError("the words were read before, or later readbacks took their place")
            try:
                self._waiting.submit(self._wait, submit, self._map).result()
                words = native.mapped_words(self._buffer, self._map, size)
                if words is None:
                    raise DeviceLost("the adapter was lost while it ran; load the bundle again")
                self._end()
            except DeviceLost:
                self._readback = None
                raise
            except BaseException:
                self._allocate()
                raise
        return words

    def _wait(self, submit: int, map: int) -> None:
        native.wait_for(self._device, submit)
        while not native.has_ended(map):
            time.sleep(_AGAIN)
            native.wait_for(self._device, submit)

    def _end(self) -> None:
        self._readback = None
        if self._map:
            native.end_map(self._buffer, self._map)
            self._map = 0
