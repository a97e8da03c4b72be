"""The adapter's speed of arithmetic and of copying, by programs that do nothing else.

`python -m benchmarks.ceilings` prints both.

Arithmetic: chains of multiply-adds in f32 that depend on nothing but themselves. Memory: a buffer copied to
another by a kernel, and by the driver; the faster one counts, with the bytes that it reads and those that it writes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import wgpu

from benchmarks.adapter import ROOT
from intaglio.runtime.device import open_device
from intaglio.runtime.instruments.clock import FEATURE, clock, wait

INVOCATIONS = 64  # of a workgroup
# Software adapters stop loops after 65,535 iterations, and count on bodies that are large enough.
ITERATIONS, CHAINS = 1024, 8
BYTES = 128 << 20  # WebGPU's least limit of a binding, and more than caches hold
ENOUGH, RUNS = 0.05, 5  # seconds of a dispatch, and how often it runs
MOST_GROUPS = 65535

ARITHMETIC = f"""
@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size({INVOCATIONS})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
    let a = vec4(1.0 - f32(id.x) * 1e-9);
    let b = vec4(f32(id.x) * 1e-9);
    {" ".join(f"var x{i} = vec4(f32({i}));" for i in range(CHAINS))}
    for (var i = 0u; i < {ITERATIONS // 4}u; i++) {{
        {" ".join(f"x{i} = fma(x{i}, a, b);" for _ in range(4) for i in range(CHAINS))}
    }}
    out[id.x % arrayLength(&out)] = {" + ".join(f"x{i}" for i in range(CHAINS))};
}}
"""
COPY = f"""
@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> source: array<vec4<f32>>;

@compute @workgroup_size({INVOCATIONS})
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {{
    let i = id.y * groups.x * {INVOCATIONS}u + id.x;
    out[i] = source[i];
}}
"""


@dataclass(frozen=True)
class Ceilings:
    """flops: f32 operations a second, a multiply-add being two. bandwidth: bytes a second, read and written."""

    flops: float
    bandwidth: float

    def __or__(self, other: Ceilings) -> Ceilings:
        """The higher ones: whatever else the machine did when these were measured, it can do that."""
        return Ceilings(max(self.flops, other.flops), max(self.bandwidth, other.bandwidth))


def measured() -> Ceilings:
    """In a process of its own."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.ceilings"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return Ceilings(**json.loads(done.stdout))


def main() -> None:
    device = open_device({FEATURE})
    bandwidth = max(_kernel_copies(device), _driver_copies(device))
    print(json.dumps(asdict(Ceilings(_flops(device), bandwidth))))


def _flops(device: wgpu.GPUDevice) -> float:
    out = device.create_buffer(size=INVOCATIONS * 16, usage=wgpu.BufferUsage.STORAGE)
    groups, best = 256, 0.0
    while True:
        seconds = _least(device, ARITHMETIC, [out], groups, 1)
        best = max(best, groups * INVOCATIONS * ITERATIONS * CHAINS * 4 * 2 / seconds)
        if seconds > ENOUGH or groups == MOST_GROUPS:
            return best
        groups = min(groups * 4, MOST_GROUPS)


def _kernel_copies(device: wgpu.GPUDevice) -> float:
    buffers = [device.create_buffer(size=BYTES, usage=wgpu.BufferUsage.STORAGE) for _ in range(2)]
    rows = 64
    return 2 * BYTES / _least(device, COPY, buffers, BYTES // 16 // INVOCATIONS // rows, rows)


def _driver_copies(device: wgpu.GPUDevice) -> float:
    usage = wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
    out, source = (device.create_buffer(size=BYTES, usage=usage) for _ in range(2))

    def seconds(count: int) -> float:
        encoder = device.create_command_encoder()
        for _ in range(count):
            encoder.copy_buffer_to_buffer(source, 0, out, 0, BYTES)
        commands = encoder.finish()
        begin = time.perf_counter()
        device.queue.submit([commands])
        wait(device)
        return time.perf_counter() - begin

    seconds(1)  # the first use of memory costs more
    once, more = (min(seconds(count) for _ in range(RUNS)) for count in (1, 9))
    return 2 * BYTES * 8 / max(more - once, 1e-9)


def _least(device: wgpu.GPUDevice, wgsl: str, buffers: list[wgpu.GPUBuffer], x: int, y: int) -> float:
    """Seconds of the fastest of a few dispatches, the first one aside, which compiles."""
    compute = {"module": device.create_shader_module(code=wgsl), "entry_point": "main"}
    pipeline = device.create_compute_pipeline(layout="auto", compute=compute)
    entries = [{"binding": i, "resource": {"buffer": buffer}} for i, buffer in enumerate(buffers)]
    group = device.create_bind_group(layout=pipeline.get_bind_group_layout(0), entries=entries)

    def work(pass_: wgpu.GPUComputePassEncoder) -> None:
        pass_.set_pipeline(pipeline)
        pass_.set_bind_group(0, group)
        pass_.dispatch_workgroups(x, y)

    times = clock(device).times([work] * (1 + RUNS))
    return max(min(times[1:]), 1e-9)


if __name__ == "__main__":
    main()
