"""Every call into private parts of wgpu-py and cffi, so that one test fails when an upgrade changes them.

wgpu-py's own methods copy their arguments and check for errors after each call. That takes three to four times as long,
which matters for a token of hundreds of dispatches; and parsing the names of C types took half of a start.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import numpy as np
import wgpu
from wgpu.backends.wgpu_native import ffi, lib
from wgpu.backends.wgpu_native._api import libf
from wgpu.backends.wgpu_native.extras import set_instance_extras

from intaglio.runtime.sizes import Grid, workgroups

WGPU = "0.32"  # the version of wgpu-py that the code below was tested with

_wgpu: Any = lib  # cffi makes its functions when it opens the library
_checked: Any = libf  # the same functions, which raise errors of the call
_set_pipeline = _wgpu.wgpuComputePassEncoderSetPipeline
_set_bind_group = _wgpu.wgpuComputePassEncoderSetBindGroup
_dispatch = _wgpu.wgpuComputePassEncoderDispatchWorkgroups


@cache
def prepare() -> None:
    """Set up wgpu and the drivers. This must run before the process asks for its first adapter.

    It sets two environment variables unless the user has set them; drivers read them when wgpu loads them.
    XDG_RUNTIME_DIR: Mesa prints a warning if it is not set. No file is ever written there.
    LP_NUM_THREADS: Mesa's software adapter divides every dispatch into equal parts, one per thread. With one thread per
    core, all wait for the slowest core; with two, the other cores take over its second part.

    Warnings of wgpu and its native library go to the logger "wgpu", and nowhere unless the program sets up logging.

    wgpu then skips OpenGL and the validation of indirect dispatches, which bundles do not use: both take longer than
    the rest of a start. A process that has used wgpu before keeps its settings.
    """
    os.environ.setdefault("XDG_RUNTIME_DIR", os.environ.get("TMPDIR", "/tmp"))
    os.environ.setdefault("LP_NUM_THREADS", str(2 * (os.cpu_count() or 1)))
    logging.getLogger("wgpu").addHandler(logging.NullHandler())
    with suppress(AttributeError):
        quicken(ffi)
    with suppress(RuntimeError):
        set_instance_extras(backends=["Primary"], flags=["Empty"])


def quicken(ffi: Any) -> None:
    """Make cffi parse the name of a C type with only the declarations that the name mentions.

    cffi puts all of its 430 declarations before such a name. Each name then takes 12 ms to parse, and wgpu-py uses 50.
    Raises AttributeError if cffi's private attributes have changed.
    """
    parser = ffi._parser
    parse, declarations = parser._parse, parser._declarations

    def parse_quickly(source: str) -> Any:  # cffi holds its lock
        words = set(re.findall(r"\w+", source))
        parser._declarations = {n: type for n, type in declarations.items() if n.removeprefix("typedef ") in words}
        try:
            return parse(source)
        finally:
            parser._declarations = declarations

    parser._parse = parse_quickly


@dataclass(frozen=True)
class Bound:
    """A dispatch with its pipeline and its bind group. uniform: whether the group ends with the uniform block; varies:
    whether the grid depends on symbols."""

    pipeline: wgpu.GPUComputePipeline
    group: wgpu.GPUBindGroup
    uniform: bool
    grid: Grid
    varies: bool


def encode(
    pass_: wgpu.GPUComputePassEncoder, dispatches: Sequence[Bound], symbols: Mapping[str, int], offset: int
) -> None:
    """Encode the dispatches of one run into a pass, with its uniform block at `offset`.

    wgpu raises errors of a pass when the pass ends.
    """
    native, offsets, pipeline = pass_._internal, ffi.new("uint32_t []", [offset]), None
    for dispatch in dispatches:
        if dispatch.pipeline is not pipeline:
            pipeline = dispatch.pipeline
            _set_pipeline(native, pipeline._internal)
        _set_bind_group(native, 0, dispatch.group._internal, dispatch.uniform, offsets)
        _dispatch(native, *(workgroups(dispatch.grid, symbols) if dispatch.varies else dispatch.grid))


def timestamp_period(device: wgpu.GPUDevice) -> float:
    """Seconds per tick of the adapter's timestamps: wgpu returns ticks, not nanoseconds."""
    return _wgpu.wgpuQueueGetTimestampPeriod(device.queue._internal) * 1e-9


def submit(device: wgpu.GPUDevice, commands: wgpu.GPUCommandBuffer) -> int:
    """Submit a command buffer. Returns the number of the submit, for `wait_for`."""
    return _checked.wgpuQueueSubmitForIndex(
        device.queue._internal, 1, ffi.new("WGPUCommandBuffer []", [commands._internal])
    )


def wait_for(device: wgpu.GPUDevice, number: int) -> None:
    """Wait until the adapter has done this submit. Maps of buffers that it used end then, or soon: another thread that
    waits may be about to say so.

    wgpu-py's own wait is for every submit, and other threads cannot submit meanwhile.
    """
    _wgpu.wgpuDevicePoll(device._internal, True, ffi.new("WGPUSubmissionIndex *", number))


_results: dict[int, bool] = {}  # by number of a map: whether it succeeded; of maps that ended and were not read
_numbers = count(1)


@cache
def _ended() -> Any:
    """The callback of every map. It is never freed, because wgpu may call it at any time."""

    def ended(status: int, message: Any, number: Any, _: Any) -> None:
        _results[int(ffi.cast("uintptr_t", number))] = status == _wgpu.WGPUMapAsyncStatus_Success

    return ffi.callback("void(WGPUMapAsyncStatus, WGPUStringView, void *, void *)", ended)


def begin_map(buffer: wgpu.GPUBuffer, size: int) -> int:
    """Begin to map the first `size` bytes of a buffer for reading. Returns the number of the map.

    The map ends when the adapter has done what was submitted with the buffer, and someone waits for that.
    """
    number = next(_numbers)
    how: Any = ffi.new("WGPUBufferMapCallbackInfo *")
    how.mode, how.callback = _wgpu.WGPUCallbackMode_AllowProcessEvents, _ended()
    how.userdata1 = ffi.cast("void *", number)
    _checked.wgpuBufferMapAsync(buffer._internal, wgpu.MapMode.READ, 0, size, how[0])
    return number


def has_ended(number: int) -> bool:
    """Whether a map has succeeded or failed."""
    return number in _results


def mapped_words(buffer: wgpu.GPUBuffer, number: int, size: int) -> np.ndarray | None:
    """A copy of the first `size` bytes of a mapped buffer, as i32, or None if the map failed."""
    if not _results.get(number):
        return None
    content = _wgpu.wgpuBufferGetConstMappedRange(buffer._internal, 0, size)
    return np.frombuffer(bytes(ffi.buffer(content, size)), np.int32).copy()


def end_map(buffer: wgpu.GPUBuffer, number: int) -> None:
    """Unmap a buffer that is mapped or about to be."""
    _checked.wgpuBufferUnmap(buffer._internal)
    _results.pop(number, None)
