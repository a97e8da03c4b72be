"""Small measurements of an adapter: `python -m benchmarks.gpu.micro [--smoke]` prints them as JSON.

What a dispatch costs, when each waits for the one before; and how fast a matrix is read as a buffer and as a texture.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import wgpu

from intaglio.runtime.device import open_device, wait
from intaglio.runtime.instruments.clock import FEATURE, Work, clock

DISPATCHES = 154  # of a token of SmolLM2
RUNS = 5
WIDTH = 2048  # texels in a row
LANES, GROUPS = 256, 1024

EMPTY = """
@group(0) @binding(0) var<storage, read_write> out: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) { out[i] += 1u; }
"""
_READ = """
@group(0) @binding(0) var<storage, read_write> out: array<vec4u>;
@group(0) @binding(1) var $BINDING;
@compute @workgroup_size($LANES) fn main(@builtin(global_invocation_id) id: vec3u) {
  var sum = vec4u();
  for (var i = id.x; i < $COUNTu; i += $STRIDEu) { sum ^= $LOAD; }
  out[id.x] = sum;
}
"""


def dispatches(device: wgpu.GPUDevice) -> float:
    """Seconds from one dispatch to the next in a pass, where each reads what the one before wrote; the least of a few
    runs, by the difference of twice as many.
    """
    out = device.create_buffer(size=256, usage=wgpu.BufferUsage.STORAGE)
    work = _work(device, EMPTY, [{"buffer": out}], 1)
    twice, once = (min(_seconds(device, work, n * DISPATCHES) for _ in range(RUNS)) for n in (2, 1))
    return max(twice - once, 0.0) / DISPATCHES


def encoding(device: wgpu.GPUDevice) -> float:
    """The host's seconds to record a dispatch."""
    out = device.create_buffer(size=256, usage=wgpu.BufferUsage.STORAGE)
    work = _work(device, EMPTY, [{"buffer": out}], 1)
    begin = time.perf_counter()
    _commands(device, work, DISPATCHES)
    return (time.perf_counter() - begin) / DISPATCHES


def reading(device: wgpu.GPUDevice, count: int) -> dict[str, float]:
    """Bytes a second at which `count` vec4s of u32 are read, as a buffer and as a texture."""
    buffer = device.create_buffer(size=16 * count, usage=wgpu.BufferUsage.STORAGE)
    usage = wgpu.TextureUsage.TEXTURE_BINDING | wgpu.TextureUsage.COPY_DST
    texture = device.create_texture(size=(WIDTH, count // WIDTH, 1), format="rgba32uint", usage=usage)
    bindings = {
        "buffer": ("<storage, read> w: array<vec4u>", "w[i]", {"buffer": buffer}),
        "texture": (
            " w: texture_2d<u32>",
            f"textureLoad(w, vec2u(i % {WIDTH}u, i / {WIDTH}u), 0)",
            texture.create_view(),
        ),
    }
    out = device.create_buffer(size=16 * LANES * GROUPS, usage=wgpu.BufferUsage.STORAGE)
    result = {}
    for name, (binding, load, resource) in bindings.items():
        text = _READ.replace("var $BINDING", f"var{binding}").replace("$LOAD", load)
        numbers = {"$LANES": LANES, "$COUNT": count, "$STRIDE": LANES * GROUPS}
        for placeholder, number in numbers.items():
            text = text.replace(placeholder, str(number))
        times = clock(device).times([_work(device, text, [{"buffer": out}, resource], GROUPS)] * (1 + RUNS))
        result[name] = 16 * count / max(min(times[1:]), 1e-9)
    return result


def _work(device: wgpu.GPUDevice, wgsl: str, resources: Sequence[Any], groups: int) -> Work:
    compute = {"module": device.create_shader_module(code=wgsl), "entry_point": "main"}
    pipeline = device.create_compute_pipeline(layout="auto", compute=compute)
    entries = [{"binding": i, "resource": resource} for i, resource in enumerate(resources)]
    group = device.create_bind_group(layout=pipeline.get_bind_group_layout(0), entries=entries)

    def work(pass_: wgpu.GPUComputePassEncoder) -> None:
        pass_.set_pipeline(pipeline)
        pass_.set_bind_group(0, group)
        pass_.dispatch_workgroups(groups)

    return work


def _commands(device: wgpu.GPUDevice, work: Work, count: int) -> wgpu.GPUCommandBuffer:
    encoder = device.create_command_encoder()
    pass_ = encoder.begin_compute_pass()
    for _ in range(count):
        work(pass_)
    pass_.end()
    return encoder.finish()


def _seconds(device: wgpu.GPUDevice, work: Work, count: int) -> float:
    """Of `count` dispatches in a pass, without recording them."""
    commands = _commands(device, work, count)
    wait(device)
    begin = time.perf_counter()
    device.queue.submit([commands])
    wait(device)
    return time.perf_counter() - begin


def main() -> None:
    device = open_device({FEATURE})
    info = device.adapter_info
    reads = reading(device, (1 << 20 if "--smoke" in sys.argv else 64 << 20) // 16)
    result = {
        "adapter": f"{info['device']}, {info['description']}, {info['backend_type']}",
        "dispatch": dispatches(device),
        "encoding": encoding(device),
        **{f"read {name}": rate for name, rate in reads.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
