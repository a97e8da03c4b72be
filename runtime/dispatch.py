"""Dispatches, put into a pass by the functions that wgpu-py's own methods call.

The methods copy their arguments, and look for an error after each call: that takes three to four times as long, which
a token of hundreds of dispatches feels. Errors inside of a pass are told when it is finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import wgpu
from wgpu.backends.wgpu_native import ffi, lib

from intaglio.runtime.sizes import Grid, workgroups

_set_pipeline = lib.wgpuComputePassEncoderSetPipeline
_set_bind_group = lib.wgpuComputePassEncoderSetBindGroup
_dispatch = lib.wgpuComputePassEncoderDispatchWorkgroups


@dataclass(frozen=True)
class Dispatch:
    """A step with what it is bound to. uniform: whether its group ends with the uniform block; varies: whether its grid
    depends on symbols."""

    pipeline: wgpu.GPUComputePipeline
    group: wgpu.GPUBindGroup
    uniform: bool
    grid: Grid
    varies: bool


def encode(
    pass_: wgpu.GPUComputePassEncoder, dispatches: Sequence[Dispatch], symbols: Mapping[str, int], offset: int
) -> None:
    """The dispatches of one run, whose uniform block lies at `offset`."""
    native, offsets, pipeline = pass_._internal, ffi.new("uint32_t []", [offset]), None
    for dispatch in dispatches:
        if dispatch.pipeline is not pipeline:
            pipeline = dispatch.pipeline
            _set_pipeline(native, pipeline._internal)
        _set_bind_group(native, 0, dispatch.group._internal, dispatch.uniform, offsets)
        _dispatch(native, *(workgroups(dispatch.grid, symbols) if dispatch.varies else dispatch.grid))
