"""Measures how long programs and their steps take on this adapter, at any sizes.

A program runs with the inputs of its golden check, or with zeros, because the time of a kernel does not depend on the
numbers.
"""

from __future__ import annotations

import math
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import wgpu

from intaglio.runtime import plan as plans
from intaglio.runtime.adapter_class import adapter_class
from intaglio.runtime.contract import PAST
from intaglio.runtime.instruments.clock import Clock, clock
from intaglio.runtime.instruments.golden import Check
from intaglio.runtime.instruments.profile import Ceilings, Profile, Timing
from intaglio.runtime.instruments.provenance import Graph
from intaglio.runtime.plan import Plan
from intaglio.runtime.progress import Progress
from intaglio.runtime.session import Session
from intaglio.runtime.sizes import evaluate_size

BUDGET = 3.0  # seconds after which a measurement is not repeated again
FEWEST = 3  # every measurement is repeated at least this many times
SHORTEST = 1e-5  # seconds; the rates of a shorter step are not reliable


@dataclass(frozen=True)
class Run:
    """A program, its sizes and its inputs."""

    program: str
    symbols: dict[str, int]
    inputs: dict[str, np.ndarray]


def runs(plan: Plan, checks: Sequence[Check], sizes: Mapping[str, int]) -> list[Run]:
    """Return a run of every program, at the sizes of its last check, or those in `sizes`.

    Raises ValueError if the bundle does not have a size in `sizes`.
    """
    if unknown := sorted(sizes.keys() - plan.bound.keys()):
        raise ValueError(f"unknown size {', '.join(unknown)}; this bundle has {', '.join(plan.bound) or 'none'}")
    last = {check.program: check for check in checks}
    return [_run(plan, name, last.get(name), sizes) for name in plan.programs]


def _run(plan: Plan, name: str, check: Check | None, sizes: Mapping[str, int]) -> Run:
    symbols = {symbol: low for symbol, (low, _) in plan.bound.items()}
    symbols |= {**(check.symbols if check else {}), **sizes}
    inputs = {}
    for tensor in {**dict.fromkeys(plan.programs[name].inputs), **(dict(check.inputs) if check else {})}:
        buffer = next(b for b in plan.buffers if b.kind in plans.SEEN and b.name == tensor)
        shape = tuple(evaluate_size(d, symbols) for d in buffer.shape)
        array = check.inputs[tensor] if check and tensor in check.inputs else np.zeros(1, np.int8)
        inputs[tensor] = np.resize(array, shape)
    return Run(name, symbols, inputs)


def median(measure: Callable[[], float | Sequence[float]], most: int) -> Any:
    """Return the median of `measure()`, element by element, over up to `most` calls within the time budget."""
    results, begin = [], time.perf_counter()
    while len(results) < most and (len(results) < FEWEST or time.perf_counter() - begin < BUDGET):
        results.append(measure())
    if isinstance(results[0], float):
        return statistics.median(results)
    return [statistics.median(times) for times in zip(*results, strict=True)]


def once(session: Session, run: Run) -> float:
    """Return the seconds of a run by the host's clock, from its submit to its end."""
    begin = time.perf_counter()
    session.submit(run.program, run.symbols)
    session.wait()
    return time.perf_counter() - begin


def per_token(session: Session, run: Run, count: int) -> float:
    """Return the seconds per token with `count` steps in a submit: between the ends of two submits in flight."""
    first = min(run.symbols[PAST], session.plan.symbols[PAST][1] - count + 1)
    steps = [{**run.symbols, PAST: first + i} for i in range(count)]
    flights = [session.launch(run.program, steps, ("tokens", first + count, 1)) for _ in range(2)]
    ends = []
    for flight in flights:
        flight.words()
        ends.append(time.perf_counter())
    return (ends[1] - ends[0]) / count


def peak_memory() -> int:
    """Return the peak memory of this process in bytes, or 0 if the system does not report it."""
    with suppress(OSError):  # Linux: getrusage would include the process that started this one
        peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        if peak:
            return int(peak[1]) << 10
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


def profile(
    session: Session, graph: Graph, programs: Sequence[Run], digest: str, most: int, progress: Progress
) -> Profile:
    """Measure every step of the programs, which must have run before. `digest`: the hash of the plan."""
    timer = clock(session.device)
    timings = {}
    for i, run in enumerate(programs):
        progress("profile", i, len(programs))
        symbols = session.feed(run.program, run.inputs, run.symbols)
        session.begin(symbols)
        count = len(session.plan.programs[run.program].steps)
        works = [partial(session.encode, run.program, symbols, slice(k, k + 1)) for k in range(count)]
        steps = median(partial(timer.times, works), most) if works else []
        timings[run.program] = Timing(symbols, median(partial(once, session, run), most), tuple(steps))
    info = session.device.adapter_info
    name, (of_class, _) = info["device"] or "unnamed", adapter_class(session.plan.classes, info)
    reached = [
        _rates(graph.cost(session.plan, program, i, timing.symbols), seconds)
        for program, timing in timings.items()
        for i, seconds in enumerate(timing.steps)
    ]
    plain = ceilings(session.device, timer)
    best = Ceilings(*(max(getattr(r, what) for r in (plain, *reached)) for what in ("flops", "bytes")))
    return Profile(name, of_class, timer.name, digest, best, timings)


def _rates(cost: tuple[int, int], seconds: float) -> Ceilings:
    """Return the rates that a step reached, or 0 if they say nothing: those of caches, or of very short steps."""
    flops, moved = cost
    if seconds < SHORTEST:
        return Ceilings(0.0, 0.0)
    return Ceilings(flops / seconds, moved / seconds if moved >= _CACHED else 0.0)


# what the adapter can do

_FLOPS = """
@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;

// Sixteen independent chains, so that none has to wait for its last result.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let x = vec4f(f32(id.x) * 1e-9);
  var a = x; var b = x + 0.1; var c = x + 0.2; var d = x + 0.3;
  for (var i = 0u; i < 1024u; i++) {
    a = fma(a, a, x); b = fma(b, b, x); c = fma(c, c, x); d = fma(d, d, x);
    a = fma(a, a, x); b = fma(b, b, x); c = fma(c, c, x); d = fma(d, d, x);
  }
  y[id.x] = a + b + c + d;
}
"""
_BYTES = """
@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  for (var i = id.x; i < arrayLength(&y); i += arrayLength(&y) / 16u) {
    y[i] = x[i];
  }
}
"""
_INVOCATIONS = 1 << 16
_COPIED = 64 << 20  # bytes, more than caches hold
_CACHED = 16 << 20  # bytes that caches may hold
_TRIES = 12
_CHAINS = 1024 * 8 * 4 * 2  # floating-point operations of an invocation


def ceilings(device: wgpu.GPUDevice, timer: Clock) -> Ceilings:
    """Measure the adapter's peak rates with a kernel of fused multiply-adds and a kernel that copies."""
    arithmetic = _work(device, _FLOPS, [16 * _INVOCATIONS], _INVOCATIONS // 64)
    copying = _work(device, _BYTES, [_COPIED, _COPIED], _COPIED // 16 // 16 // 64)
    best = [min(times) for times in zip(*(timer.times([arithmetic, copying]) for _ in range(_TRIES)), strict=True)]
    flops, seconds = max(best[0], 1e-9), max(best[1], 1e-9)
    return Ceilings(_CHAINS * _INVOCATIONS / flops, 2 * _COPIED / seconds)


def _work(device: wgpu.GPUDevice, code: str, sizes: Sequence[int], groups: int) -> Callable[[Any], None]:
    module = device.create_shader_module(code=code)
    pipeline = device.create_compute_pipeline(layout="auto", compute={"module": module, "entry_point": "main"})
    buffers = [device.create_buffer(size=size, usage=wgpu.BufferUsage.STORAGE) for size in sizes]
    entries = [{"binding": i, "resource": {"buffer": buffer}} for i, buffer in enumerate(buffers)]
    group = device.create_bind_group(layout=pipeline.get_bind_group_layout(0), entries=entries)
    rows = math.ceil(groups / 65_535)

    def work(pass_: wgpu.GPUComputePassEncoder) -> None:
        pass_.set_pipeline(pipeline)
        pass_.set_bind_group(0, group)
        pass_.dispatch_workgroups(groups // rows, rows)

    return work
