"""Every call into what wgpu-py and cffi do not promise to keep, so that one test fails when an upgrade changes it.

wgpu-py's own methods copy their arguments and look for an error after each call. That takes three to four times as
long, which a token of hundreds of dispatches feels; and half of a start went into parsing the names of C types.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import wgpu
from wgpu.backends.wgpu_native import ffi, lib
from wgpu.backends.wgpu_native.extras import set_instance_extras

from intaglio.runtime.sizes import Grid, workgroups

WGPU = "0.32"  # the version of wgpu-py that all below was tried with

_wgpu: Any = lib  # cffi makes its functions when it opens the library
_set_pipeline = _wgpu.wgpuComputePassEncoderSetPipeline
_set_bind_group = _wgpu.wgpuComputePassEncoderSetBindGroup
_dispatch = _wgpu.wgpuComputePassEncoderDispatchWorkgroups


@cache
def prepare() -> None:
    """Set up wgpu and the drivers. This must run before the process asks for its first adapter.

    It sets two environment variables unless the user has: drivers read them when wgpu loads them.
    XDG_RUNTIME_DIR: Mesa complains on standard error where it is not set; no file is ever put there.
    LP_NUM_THREADS: Mesa's software adapter cuts every dispatch into as many equal parts as it has threads. With one
    thread for each core, all wait for the core that is late; with two, the others take what it leaves.

    wgpu then looks for no OpenGL, and for nothing that validates indirect dispatches, of which there are none: that
    takes longer than the rest of a start. A process that used wgpu before keeps what it has.
    """
    os.environ.setdefault("XDG_RUNTIME_DIR", os.environ.get("TMPDIR", "/tmp"))
    os.environ.setdefault("LP_NUM_THREADS", str(2 * (os.cpu_count() or 1)))
    with suppress(AttributeError):
        quicken(ffi)
    with suppress(RuntimeError):
        set_instance_extras(backends=["Primary"], flags=["Empty"])


def quicken(ffi: Any) -> None:
    """Have cffi parse the name of a C type with only those declarations that the name mentions.

    cffi puts a declaration of every type that it knows before such a name, 430 of them. Each name then takes 12 ms to
    parse, and wgpu-py uses fifty. Raises AttributeError where cffi is not as it was when this was written.
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
class Dispatch:
    """A step with its pipeline and its bind group. uniform: whether the group ends with the uniform block; varies:
    whether the grid depends on symbols."""

    pipeline: wgpu.GPUComputePipeline
    group: wgpu.GPUBindGroup
    uniform: bool
    grid: Grid
    varies: bool


def encode(
    pass_: wgpu.GPUComputePassEncoder, dispatches: Sequence[Dispatch], symbols: Mapping[str, int], offset: int
) -> None:
    """Put the dispatches of one run into a pass. Its uniform block lies at `offset`.

    wgpu raises errors inside of a pass when the pass is finished.
    """
    native, offsets, pipeline = pass_._internal, ffi.new("uint32_t []", [offset]), None
    for dispatch in dispatches:
        if dispatch.pipeline is not pipeline:
            pipeline = dispatch.pipeline
            _set_pipeline(native, pipeline._internal)
        _set_bind_group(native, 0, dispatch.group._internal, dispatch.uniform, offsets)
        _dispatch(native, *(workgroups(dispatch.grid, symbols) if dispatch.varies else dispatch.grid))


def timestamp_period(device: wgpu.GPUDevice) -> float:
    """Seconds of a tick of the adapter's timestamps: wgpu gives ticks, not nanoseconds."""
    return _wgpu.wgpuQueueGetTimestampPeriod(device.queue._internal) * 1e-9
