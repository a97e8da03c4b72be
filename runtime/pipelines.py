"""Shaders become pipelines, in threads: wgpu and the driver compile outside of Python's global lock."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import wgpu

from intaglio.runtime.errors import BadBundle
from intaglio.runtime.plan import ACCESS, Access, Kernel

UNIFORM = {"buffer": {"type": "uniform", "has_dynamic_offset": True}}


@dataclass(frozen=True)
class Pipeline:
    """A kernel on a device. `code`: its WGSL. `completed`: the time.perf_counter at which it was compiled. `cpu`:
    seconds of the thread that compiled it."""

    pipeline: wgpu.GPUComputePipeline
    layout: wgpu.GPUBindGroupLayout
    code: bytes
    completed: float
    cpu: float

    def group(self, device: wgpu.GPUDevice, resources: Sequence[Any]) -> wgpu.GPUBindGroup:
        """Bind resources, one for each binding."""
        entries = [{"binding": i, "resource": r} for i, r in enumerate(resources)]
        return device.create_bind_group(layout=self.layout, entries=entries)


@contextmanager
def compiling(
    device: wgpu.GPUDevice, kernels: Mapping[str, Kernel], codes: Mapping[str, bytes]
) -> Iterator[dict[str, Future[Pipeline]]]:
    """Compile the pipelines of `kernels` while the block runs. A result raises BadBundle for a shader that is refused.

    When the block ends, by an interruption for example, no further shader is started.
    """
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield {name: pool.submit(compile, device, name, kernel, codes[name]) for name, kernel in kernels.items()}
    finally:
        pool.shutdown(cancel_futures=True)


def compile(device: wgpu.GPUDevice, name: str, kernel: Kernel, code: bytes) -> Pipeline:
    """Compile one pipeline. Raises BadBundle for a shader that is refused."""
    begin = time.thread_time()
    bindings = [_layout(ACCESS[access]) for access in kernel.access] + [UNIFORM] * kernel.uniform
    entries = [{"binding": i, "visibility": wgpu.ShaderStage.COMPUTE} | b for i, b in enumerate(bindings)]
    layout = device.create_bind_group_layout(entries=entries)
    try:
        module = device.create_shader_module(label=name, code=code.decode("utf-8", "replace"))
        pipeline = device.create_compute_pipeline(
            layout=device.create_pipeline_layout(bind_group_layouts=[layout]),
            compute={"module": module, "entry_point": "main"},
        )
    except wgpu.GPUError as e:
        raise BadBundle(f"this adapter's shader compiler refuses {kernel.file}: {_reason(e)}") from e
    return Pipeline(pipeline, layout, code, time.perf_counter(), time.thread_time() - begin)


def _layout(access: Access) -> dict[str, Any]:
    """A binding's part of a bind group layout."""
    if not access.formats:
        return {"buffer": {"type": "storage" if access.write else "read-only-storage"}}
    if access.image:
        (format,) = access.formats
        return {"storage_texture": {"access": "write-only" if access.write else "read-only", "format": format}}
    return {"texture": {"sample_type": "uint" if "rgba32uint" in access.formats else "unfilterable-float"}}


def _reason(error: wgpu.GPUError) -> str:
    """The reason in a compiler's message: the line with the error, or else the last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if " error: " in line), lines[-1] if lines else "")
