"""The warm-up of a session: drivers compile a pipeline, and clear memory, only at its first use.

Mesa's software adapter compiles in one thread for each device. If that takes long, further devices compile the last
kernels meanwhile. They leave them in Mesa's cache on disk, where the session's own device finds them.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace

import wgpu

from intaglio.runtime.memory import Memory
from intaglio.runtime.native import Bound, encode, submit, wait_for
from intaglio.runtime.pipelines import Pipeline, compile
from intaglio.runtime.plan import Buffer, Dispatch, Plan

_MESA = 0x10005  # the vendor of Mesa's software adapter
_LONG = 0.1  # seconds; a warm-up that finds every kernel in the cache takes less
_HELPERS = 3  # up to this many further devices
_BYTES = 1024  # of a buffer that no invocation accesses


def interruptible(work: Callable[[], object], device: wgpu.GPUDevice, plan: Plan, used: Mapping[str, Pipeline]) -> None:
    """Do `work`, the warm-up of a session, in a thread: Python can interrupt a wait for a thread, but not a driver.

    device, plan: the session's. used: its pipelines, by kernel.
    """
    helpers = _helpers(device)
    pool, remaining = ThreadPoolExecutor(1 + helpers), deque[Dispatch]()
    warm = pool.submit(work)
    try:
        if helpers and wait([warm], _LONG).not_done:
            possible = [dispatch for dispatch in plan.possible if dispatch.kernel in used]
            first = {dispatch.kernel: dispatch for dispatch in reversed(possible)}
            remaining.extend(first[name] for name in dict.fromkeys(dispatch.kernel for dispatch in possible))
            for _ in range(helpers):
                pool.submit(_help, device, plan, used, remaining)
        warm.result()
    finally:
        remaining.clear()
        pool.shutdown(wait=False, cancel_futures=True)


def put(device: wgpu.GPUDevice, dispatches: Iterable[Bound]) -> None:
    """Submit dispatches without workgroups, and wait for them.

    A second submit, such as a readback's, would wait inside of wgpu, and with it every thread that opens a device.
    """
    encoder = device.create_command_encoder()
    pass_ = encoder.begin_compute_pass()
    encode(pass_, [replace(bound, grid=(0, 1, 1), varies=False) for bound in dispatches], {}, 0)
    pass_.end()
    wait_for(device, submit(device, encoder.finish()))


def _helpers(device: wgpu.GPUDevice) -> int:
    """Return how many further devices can help: none on a GPU, which compiles otherwise."""
    info = device.adapter_info
    software = info["adapter_type"] == "CPU" and info["vendor_id"] == _MESA
    return min(_HELPERS, (os.cpu_count() or 1) - 1) if software else 0


def _help(near: wgpu.GPUDevice, plan: Plan, used: Mapping[str, Pipeline], remaining: deque[Dispatch]) -> None:
    """Compile the kernels of `remaining`, the last first, on a device like `near`, until none is left.

    An error ends it. Nobody waits for that error, because the session compiles every kernel itself.
    """
    device = near.adapter.request_device_sync(required_limits=near.limits, required_features=sorted(near.features))
    first = FirstDispatches(device, plan)
    with suppress(IndexError):
        while True:
            dispatch = remaining.pop()
            first.put(dispatch, used[dispatch.kernel].code)


class FirstDispatches:
    """Compiles kernels of a plan on a device that has no other memory of the plan."""

    def __init__(self, device: wgpu.GPUDevice, plan: Plan) -> None:
        self._device, self._plan = device, plan
        self._memory = Memory(device, {i: _small(buffer) for i, buffer in plan.in_use.items()})
        self._uniform = device.create_buffer(size=plan.block, usage=wgpu.BufferUsage.UNIFORM)

    def put(self, dispatch: Dispatch, code: bytes) -> None:
        """Compile the pipeline of a dispatch from its WGSL, and submit it without workgroups."""
        kernel = self._plan.kernels[dispatch.kernel]
        pipeline = compile(self._device, dispatch.kernel, kernel, code)
        uniform = {"buffer": self._uniform, "offset": 0, "size": self._plan.block}
        resources = [self._memory.resource(b) for b in dispatch.buffers] + [uniform] * kernel.uniform
        group = pipeline.group(self._device, resources)
        put(self._device, [Bound(pipeline.pipeline, group, kernel.uniform, dispatch.grid, False)])


def _small(buffer: Buffer) -> Buffer:
    """Return a buffer for which the driver compiles the same: it asks whether a texture's sizes are powers of two."""
    texture = tuple(4 if size & (size - 1) == 0 else 3 for size in buffer.texture)
    return replace(buffer, bytes=_BYTES, texture=texture)
