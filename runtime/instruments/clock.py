"""Clocks, which measure how long work takes on the adapter.

They use timestamps if the adapter has them. Otherwise they run the same work once and three times and take the
difference, because the overhead is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import wgpu

from intaglio.runtime.device import wait
from intaglio.runtime.memory import array_of
from intaglio.runtime.native import timestamp_period

FEATURE = "timestamp-query"
MOST = 2048  # passes whose timestamps fit a query set
LEAST = 2e-3  # seconds; without timestamps, shorter work is repeated until it is longer than the host's noise
_REPEATS = 1 << 14

Work = Callable[[wgpu.GPUComputePassEncoder], None]


class Clock(Protocol):
    """A clock. `times(works)` runs the works one after the other and returns the seconds of each."""

    name: str

    def times(self, works: Sequence[Work]) -> list[float]: ...


def clock(device: wgpu.GPUDevice) -> Clock:
    """Return the best clock that the device supports."""
    return Timestamps(device) if FEATURE in device.features else Replays(device)


class Timestamps:
    """Measures each work in a pass of its own, with the adapter's timestamps at its beginning and end."""

    name = "timestamps"

    def __init__(self, device: wgpu.GPUDevice) -> None:
        self._device = device
        self._period = timestamp_period(device)
        self._queries = device.create_query_set(type="timestamp", count=2 * MOST)
        usage = wgpu.BufferUsage.QUERY_RESOLVE | wgpu.BufferUsage.COPY_SRC
        self._ticks = device.create_buffer(size=2 * MOST * 8, usage=usage)

    def times(self, works: Sequence[Work]) -> list[float]:
        result: list[float] = []
        for first in range(0, len(works), MOST):
            result += self._chunk(works[first : first + MOST])
        return result

    def _chunk(self, works: Sequence[Work]) -> list[float]:
        encoder = self._device.create_command_encoder()
        for i, work in enumerate(works):
            at = {"beginning_of_pass_write_index": 2 * i, "end_of_pass_write_index": 2 * i + 1}
            pass_ = encoder.begin_compute_pass(timestamp_writes={"query_set": self._queries, **at})
            work(pass_)
            pass_.end()
        encoder.resolve_query_set(self._queries, 0, 2 * len(works), self._ticks, 0)
        self._device.queue.submit([encoder.finish()])
        ticks = array_of(self._device.queue.read_buffer(self._ticks, 0, 16 * len(works)), np.dtype(np.int64))
        return [max(0.0, float(end - begin) * self._period) for begin, end in ticks.reshape(-1, 2)]


class Replays:
    """Measures each work alone with the host's clock, and repeats it until it takes long enough."""

    name = "replays"

    def __init__(self, device: wgpu.GPUDevice) -> None:
        self._device = device

    def times(self, works: Sequence[Work]) -> list[float]:
        return [self._time(work) for work in works]

    def _time(self, work: Work) -> float:
        count = 1
        while self._wall(work, count) < LEAST and count < _REPEATS:
            count *= 4
        once, thrice = (min(self._wall(work, n * count) for _ in range(3)) for n in (1, 3))
        return max(0.0, thrice - once) / (2 * count)

    def _wall(self, work: Work, count: int) -> float:
        encoder = self._device.create_command_encoder()
        pass_ = encoder.begin_compute_pass()
        for _ in range(count):
            work(pass_)
        pass_.end()
        commands = encoder.finish()
        begin = time.perf_counter()
        self._device.queue.submit([commands])
        wait(self._device)
        return time.perf_counter() - begin
