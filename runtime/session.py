"""A session: one run of an engine's programs, with its own inputs, outputs, states and scratch memory.

All memory is allocated when the session is made. A run writes a uniform block, submits, and reads what is asked for. A
session knows buffers and steps, but no operators; what a program means is known to the task that drives it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, overload

import numpy as np
import wgpu

from intaglio.runtime.bound_steps import BoundSteps
from intaglio.runtime.contract import ON_DEMAND
from intaglio.runtime.device import wait
from intaglio.runtime.errors import BadBundle, Cancelled
from intaglio.runtime.inputs import check, complete
from intaglio.runtime.limits import SLOTS, WORD
from intaglio.runtime.memory import Memory, numpy, stored, words
from intaglio.runtime.native import Bound, encode
from intaglio.runtime.pipelines import Pipeline
from intaglio.runtime.plan import Dispatch, Plan, Program
from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.readback import Readback, Readbacks
from intaglio.runtime.sizes import evaluate_size
from intaglio.runtime.warm_up import interruptible, put


class Opened(Protocol):
    """What all sessions of a bundle share: the engine (see runtime/engine.py)."""

    plan: Plan
    device: wgpu.GPUDevice
    lock: threading.RLock
    weights: Memory
    pipelines: dict[str, Pipeline]
    edited: list[str]

    def session(self, progress: Progress = silent) -> Session: ...
    def complete(self, program: str) -> None: ...


class Session:
    """One run of an engine's bundle. Sessions of one engine share its weights and pipelines, and nothing else.

    Any thread may call a session. Each method holds the device for one upload, write or submit. A caller holds `lock`
    around several calls that belong together, and takes it before the engine's lock, never after.
    `writes` counts writes and runs, so that a caller can tell whether its states are still what it left.
    `cancel`: what `Watch` set: it is asked before each submit, which raises Cancelled if it says so.
    `seconds`: the time of "session" (memory and bind groups) and of "warm-up". `cpu`: the CPU seconds of the
    warm-up, in which some drivers compile. Raises DeviceLimit.
    """

    def __init__(self, engine: Opened, progress: Progress = silent) -> None:
        self.engine, self.plan, self.device = engine, engine.plan, engine.device
        self.lock = threading.RLock()
        self.writes = 0
        self.cancel: Callable[[], bool] | None = None
        begin = time.perf_counter()
        self._names = {b.name: i for i, b in enumerate(self.plan.buffers) if b.kind in ("input", "output", "state")}
        with engine.lock:
            own = {i: b for i, b in self.plan.in_use.items() if b.kind != "weight"}
            self._memory = Memory(self.device, own, engine.weights)
            usage = wgpu.BufferUsage.UNIFORM | wgpu.BufferUsage.COPY_DST
            self._uniform = self.device.create_buffer(size=self.plan.uniform_bytes, usage=usage)
            self._readbacks = Readbacks(self.device, engine.lock)
            programs = self.plan.programs.items()
            self._programs = {name: self._bind(program) for name, program in programs if name not in ON_DEMAND}
        bound, cpu = time.perf_counter(), time.process_time()
        progress("warm-up", 0, 0)
        interruptible(self._put_every_step, self.device, self.plan, engine.pipelines)
        self.cpu = time.process_time() - cpu
        self.seconds = {"session": bound - begin, "warm-up": time.perf_counter() - bound}

    @property
    def allocated(self) -> int:
        """Bytes on the adapter for this session alone."""
        return self._memory.allocated + self._uniform.size + self._readbacks.allocated

    def _bind(self, program: Program) -> BoundSteps:
        groups: dict[tuple[Any, ...], wgpu.GPUBindGroup] = {}

        def bind(dispatch: Dispatch) -> Bound:
            pipeline = self.engine.pipelines[dispatch.kernel]
            uniform = self.plan.kernels[dispatch.kernel].uniform
            key = (dispatch.kernel, dispatch.buffers)
            if key not in groups:
                resources = [self._memory.resource(b) for b in dispatch.buffers]
                resources += [{"buffer": self._uniform, "offset": 0, "size": self.plan.block}] * uniform
                groups[key] = pipeline.group(self.device, resources)
            varies = not all(isinstance(d, int) for d in dispatch.grid)
            return Bound(pipeline.pipeline, groups[key], uniform, dispatch.grid, varies)

        return BoundSteps(program, bind)

    def _steps(self, program: str) -> BoundSteps:
        """The bound steps of a program. Those of ON_DEMAND are compiled and bound at their first run."""
        if program not in self._programs:
            self.engine.complete(program)
            self._programs[program] = self._bind(self.plan.programs[program])
        return self._programs[program]

    def _put_every_step(self) -> None:
        with self.engine.lock:
            put(self.device, [bound for steps in self._programs.values() for bound in steps.all])

    # running

    def write(self, name: str, array: np.ndarray, offset: int = 0) -> None:
        """Write `array` into an input or a state, from element `offset` on (0 for textures)."""
        index = self._names[name]
        content = np.ascontiguousarray(array, stored(self.plan.buffers[index]))
        with self.lock, self.engine.lock:
            self.writes += 1
            self._memory.put(index, content, offset)

    def randomize(self, buffers: Iterable[int], random: np.random.Generator) -> None:
        """Fill these buffers with normally distributed numbers."""
        with self.lock, self.engine.lock:
            self.writes += 1
            for index in buffers:
                buffer = self.plan.buffers[index]
                numbers = random.standard_normal(buffer.bytes // buffer.each, np.float32)
                self._memory.put(index, numbers.astype(np.float16) if buffer.each == 2 else numbers)

    @overload
    def submit(self, program: str, symbols: Mapping[str, int]) -> None: ...
    @overload
    def submit(self, program: str, symbols: Mapping[str, int], read: tuple[str, int, int]) -> np.ndarray: ...
    def submit(
        self, program: str, symbols: Mapping[str, int], read: tuple[str, int, int] | None = None
    ) -> np.ndarray | None:
        """Replay a program once: see `replay`."""
        return self.replay(program, [symbols], read)

    @overload
    def replay(self, program: str, runs: Sequence[Mapping[str, int]], read: None = None) -> None: ...
    @overload
    def replay(self, program: str, runs: Sequence[Mapping[str, int]], read: tuple[str, int, int]) -> np.ndarray: ...
    def replay(
        self, program: str, runs: Sequence[Mapping[str, int]], read: tuple[str, int, int] | None = None
    ) -> np.ndarray | None:
        """Replay a program once for each of `runs`, up to SLOTS, in one submit.

        runs: the symbols of each run; a missing symbol has its lowest value. read: (name, first element, count) returns
        a few words, as i32, after the last run. Raises ValueError for a symbol out of its range, Cancelled.
        """
        with self.lock:
            if read is not None:
                return self.launch(program, runs, read).words()
            self._look()
            with self.engine.lock:
                self.device.queue.submit([self._encoded(program, runs).finish()])
            return None

    def launch(self, program: str, runs: Sequence[Mapping[str, int]], read: tuple[str, int, int]) -> Readback:
        """Replay a program as `replay` does, without waiting for the words.

        The next launch may follow before they are read: its runs find what these leave. Writes and submits reach the
        adapter in their order, so it overwrites the uniform blocks only when these runs have ended. Raises Cancelled.
        """
        name, first, count = read
        self._look()
        with self.lock, self.engine.lock:
            source = self._memory.buffer(self._names[name])
            return self._readbacks.submit(self._encoded(program, runs), source, first, count)

    def _look(self) -> None:
        """Ask whether to go on. The caller does not hold the device, because the answer may wait for others."""
        if self.cancel is not None and self.cancel():
            raise Cancelled("the call was cancelled")

    def _encoded(self, program: str, runs: Sequence[Mapping[str, int]]) -> wgpu.GPUCommandEncoder:
        """Encode the runs and write their uniform blocks."""
        values = self._begin(runs)
        encoder = self.device.create_command_encoder()
        pass_ = encoder.begin_compute_pass()
        for i, symbols in enumerate(values):
            encode(pass_, self._steps(program).at(symbols), symbols, i * self.plan.block)
        pass_.end()
        return encoder

    def stepwise(self, program: str, symbols: Mapping[str, int], order: Iterable[int] | None = None) -> Iterator[int]:
        """Replay a program step by step. What a step wrote can be read before the next one runs.

        order: of the steps, if it differs from the plan's. Nothing else may use the session meanwhile.
        """
        values = self.begin(symbols)
        for i in range(len(self.plan.programs[program].steps)) if order is None else order:
            with self.lock, self.engine.lock:
                encoder = self.device.create_command_encoder()
                pass_ = encoder.begin_compute_pass()
                self.encode(program, values, slice(i, i + 1), pass_)
                pass_.end()
                self.device.queue.submit([encoder.finish()])
            yield i

    def begin(self, symbols: Mapping[str, int]) -> dict[str, int]:
        """Prepare a run whose steps the caller encodes one by one; returns a value for every symbol."""
        with self.lock, self.engine.lock:
            return self._begin([symbols])[0]

    def encode(self, program: str, symbols: Mapping[str, int], steps: slice, pass_: wgpu.GPUComputePassEncoder) -> None:
        """Put steps of the run that `begin` prepared into the caller's pass. The caller submits it."""
        self.writes += 1
        encode(pass_, self._steps(program).part(symbols, steps), symbols, 0)

    def wait(self) -> None:
        """Wait until the adapter has done everything that was submitted."""
        wait(self.device)

    def read(self, name: str, symbols: Mapping[str, int]) -> np.ndarray:
        """The content of an output or a state, in its declared type and shape; of bf16 as f32, of 4 bits as of 8.

        wgpu allocates a buffer of the same size for the transfer.
        """
        buffer = self.plan.buffers[self._names[name]]
        shape = tuple(evaluate_size(d, symbols) for d in buffer.shape)
        return self.content(self._names[name], 0, math.prod(shape), buffer.dtype).reshape(shape)

    def content(self, index: int, first: int, count: int, dtype: str) -> np.ndarray:
        """`count` elements of a buffer from `first` on, flat. Raises BadBundle if the buffer is too short."""
        buffer, type = self.plan.buffers[index], numpy(dtype)
        if not 0 <= first <= first + count <= buffer.bytes // buffer.each:
            raise BadBundle(f"the plan is broken: buffer {index} is too short for elements {first} to {first + count}")
        if not count:
            return np.empty(0, type)
        with self.lock, self.engine.lock:
            content = self._memory.get(index, first + count)[first:]
        return (content if buffer.format else content.view(words(type))).astype(type)

    def run(
        self, program: str, inputs: Mapping[str, Any], symbols: Mapping[str, int] | None = None
    ) -> dict[str, np.ndarray]:
        """Run a program on named inputs (states may be named too); returns its outputs.

        Symbols follow from the shapes of the inputs; others are in `symbols`, or have their lowest value. Raises
        ValueError for inputs that are missing, unknown, of the wrong shape or type, or too large.
        """
        with self.lock:
            values = self.feed(program, inputs, symbols)
            self.submit(program, values)
            return {name: self.read(name, values) for name in self.plan.programs[program].outputs}

    def feed(self, program: str, inputs: Mapping[str, Any], symbols: Mapping[str, int] | None = None) -> dict[str, int]:
        """Write the inputs of a program as `run` does; returns a value for every symbol. Raises ValueError."""
        arrays, values = check(self.plan, program, inputs, symbols or {})
        with self.lock:
            for name, array in arrays.items():
                self.write(name, array)
        return values

    def _begin(self, runs: Sequence[Mapping[str, int]]) -> list[dict[str, int]]:
        """Write a uniform block for each run; returns a value for every symbol of each."""
        if len(runs) > SLOTS:
            raise ValueError(f"expected up to {SLOTS} runs in a submit, got {len(runs)}")
        values = [complete(self.plan, symbols) for symbols in runs]
        blocks = np.zeros((len(runs), self.plan.block // WORD), np.uint32)
        blocks[:, : len(self.plan.symbols)] = [[*symbols.values()] for symbols in values]
        self.writes += 1
        self.device.queue.write_buffer(self._uniform, 0, blocks)
        return values
