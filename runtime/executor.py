"""Load, bind, replay. Everything is made once, at load: runs write their uniform blocks, submit, and read what is
asked.

The executor knows buffers and steps and no operator; what a program means is the business of the module that drives it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import wgpu

from intaglio.runtime import files, tuning, weights
from intaglio.runtime.background import in_background
from intaglio.runtime.device import needs, open_device, tiers
from intaglio.runtime.dispatch import Dispatch, encode
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.limits import SLOTS, STAGING, WORD
from intaglio.runtime.memory import Memory, numpy, stored, words
from intaglio.runtime.pipelines import Pipeline, compiling
from intaglio.runtime.plan import Plan, Program
from intaglio.runtime.sizes import evaluate_size

Say = Callable[[str, int, int], None]  # what is being done, how much of how much


class Executor:
    """A bundle's programs on a device, with the kernels that it was tuned to have there: see `plan`.

    device: one that is open already, to be shared. allow_edited: take shaders that are not what was compiled, and list
    them in `edited`. Raises BadBundle where files are not what the plan says, NoAdapter and DeviceLimit where the
    adapter will not do.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        say: Say = lambda what, done, total: None,
        device: wgpu.GPUDevice | None = None,
        allow_edited: bool = False,
    ) -> None:
        self.edited: list[str] = []
        self.device = device or open_device(needs=needs(plan))
        self.plan = plan = tuning.tuned(plan, self.device.adapter_info, tiers(self.device))
        begin = time.perf_counter()
        shaders = {
            name: files.verify_file(folder, plan, kernel.file, self.edited if allow_edited else None)
            for name, kernel in plan.used.items()
        }
        with compiling(self.device, plan.used, shaders) as pipelines:
            self._uniform = self.device.create_buffer(
                size=plan.uniform_bytes, usage=wgpu.BufferUsage.UNIFORM | wgpu.BufferUsage.COPY_DST
            )
            self._staging = self._readback()
            self._memory = Memory(self.device, plan)
            self._names = {b.name: i for i, b in enumerate(plan.buffers) if b.kind in ("input", "output", "state")}
            self._upload(folder, say)
            uploaded = time.perf_counter()
            self._pipelines = dict(_made(pipelines, say))
        self._programs = {name: self._bind(p) for name, p in plan.programs.items()}
        compiled = max((p.made for p in self._pipelines.values()), default=begin)
        bound = time.perf_counter()
        say("warm-up", 0, 0)
        in_background(self._warm).result()  # so that it can be interrupted, while wgpu and drivers cannot
        warm = time.perf_counter()
        # The first two go on at the same time, and are over in "load".
        self.seconds = {
            "upload": uploaded - begin,
            "pipelines": compiled - begin,
            "load": bound - begin,
            "warm-up": warm - bound,
        }

    @property
    def allocated(self) -> int:
        """Bytes allocated on the adapter for the plan."""
        return self._memory.allocated + self._uniform.size + self._staging.size

    def _readback(self) -> wgpu.GPUBuffer:
        return self.device.create_buffer(size=STAGING, usage=wgpu.BufferUsage.MAP_READ | wgpu.BufferUsage.COPY_DST)

    def _upload(self, folder: Path, say: Say) -> None:
        """wgpu copies what is written and keeps the copies until the adapter has taken them: wait for that often."""
        waiting = 0
        for index, first, data in weights.stream(folder, self.plan, say):
            self._memory.put_rows(index, first, data)
            waiting += len(data)
            if waiting >= weights.PIECE:
                self._settle()
                waiting = 0
        self._settle()

    def _settle(self) -> None:
        """Wait until the adapter has done all that it was told."""
        encoder = self.device.create_command_encoder()
        encoder.clear_buffer(self._staging, 0, WORD)
        self.device.queue.submit([encoder.finish()])
        self._wait(1)

    def _bind(self, program: Program) -> list[Dispatch]:
        groups: dict[tuple[Any, ...], wgpu.GPUBindGroup] = {}
        bound = []
        for step in program.steps:
            made = self._pipelines[step.kernel]
            uniform = self.plan.kernels[step.kernel].uniform
            key = (step.kernel, step.buffers)
            if key not in groups:
                resources = [self._memory.resource(b) for b in step.buffers]
                resources += [{"buffer": self._uniform, "offset": 0, "size": self.plan.block}] * uniform
                entries = [{"binding": i, "resource": r} for i, r in enumerate(resources)]
                groups[key] = self.device.create_bind_group(layout=made.layout, entries=entries)
            varies = not all(isinstance(d, int) for d in step.grid)
            bound.append(Dispatch(made.pipeline, groups[key], uniform, step.grid, varies))
        return bound

    def _warm(self) -> None:
        """Put every step before the adapter, without any workgroups, so that what drivers leave for a pipeline's first
        use is done now, such as compiling it, and so are the zeros that memory begins with.
        """
        encoder = self.device.create_command_encoder()
        pass_ = encoder.begin_compute_pass()
        for dispatches in self._programs.values():
            encode(pass_, [replace(bound, grid=(0, 1, 1), varies=False) for bound in dispatches], {}, 0)
        pass_.end()
        self.device.queue.submit([encoder.finish()])
        self._settle()

    # running

    def write(self, name: str, array: np.ndarray, offset: int = 0) -> None:
        """Put `array` into an input or a state, starting at element `offset` (0 for those that are textures)."""
        index = self._names[name]
        self._memory.put(index, np.ascontiguousarray(array, stored(self.plan.buffers[index])), offset)

    def randomize(self, buffers: Iterable[int], random: np.random.Generator) -> None:
        """Fill these buffers with normally distributed numbers."""
        for index in buffers:
            buffer = self.plan.buffers[index]
            numbers = random.standard_normal(buffer.bytes // buffer.each, np.float32)
            self._memory.put(index, numbers.astype(np.float16) if buffer.each == 2 else numbers)

    def submit(
        self, program: str, symbols: Mapping[str, int], read: tuple[str, int, int] | None = None
    ) -> np.ndarray | None:
        """Replay a program once: see `replay`."""
        return self.replay(program, [symbols], read)

    def replay(
        self, program: str, runs: Sequence[Mapping[str, int]], read: tuple[str, int, int] | None = None
    ) -> np.ndarray | None:
        """Replay a program once for each of `runs`, at most SLOTS, in one submit.

        runs: the symbols of each; those that are not given are at their lowest. read: (name, first element, count)
        brings a few words back, as i32, after the last run. Raises ValueError for a symbol that is out of its range.
        """
        known = self._begin(runs)
        encoder = self.device.create_command_encoder()
        pass_ = encoder.begin_compute_pass()
        for i, symbols in enumerate(known):
            encode(pass_, self._programs[program], symbols, i * self.plan.block)
        pass_.end()
        if read is None:
            self.device.queue.submit([encoder.finish()])
            return None
        name, first, count = read
        encoder.copy_buffer_to_buffer(self._memory[self._names[name]], first * WORD, self._staging, 0, count * WORD)
        self.device.queue.submit([encoder.finish()])
        return self._wait(count)

    def stepwise(self, program: str, symbols: Mapping[str, int], order: Iterable[int] | None = None) -> Iterator[int]:
        """Replay a program a step at a time; after each, what it wrote can be read before another takes its place.

        order: of the steps, where it is another one than theirs.
        """
        known = self.begin(symbols)
        for i in range(len(self._programs[program])) if order is None else order:
            encoder = self.device.create_command_encoder()
            pass_ = encoder.begin_compute_pass()
            self.encode(program, known, slice(i, i + 1), pass_)
            pass_.end()
            self.device.queue.submit([encoder.finish()])
            yield i

    def begin(self, symbols: Mapping[str, int]) -> dict[str, int]:
        """Prepare a run whose steps are encoded one by one; returns a value for every symbol."""
        return self._begin([symbols])[0]

    def encode(self, program: str, symbols: Mapping[str, int], steps: slice, pass_: wgpu.GPUComputePassEncoder) -> None:
        """Steps of the run that was begun."""
        encode(pass_, self._programs[program][steps], symbols, 0)

    def _begin(self, runs: Sequence[Mapping[str, int]]) -> list[dict[str, int]]:
        """Write a uniform block for each run; returns a value for every symbol of each."""
        if len(runs) > SLOTS:
            raise ValueError(f"{len(runs)} runs in a submit; there is room for {SLOTS}")
        known = [self._known(symbols) for symbols in runs]
        blocks = np.zeros((len(runs), self.plan.block // WORD), np.uint32)
        blocks[:, : len(self.plan.symbols)] = [[*symbols.values()] for symbols in known]
        self.device.queue.write_buffer(self._uniform, 0, blocks)
        return known

    def _wait(self, count: int) -> np.ndarray:
        """`count` words of what the last submit copied, once it is through."""
        try:
            self._staging.map_sync(wgpu.MapMode.READ, 0, count * WORD)
            result = np.frombuffer(self._staging.read_mapped(0, count * WORD), np.int32)
            self._staging.unmap()
        except BaseException:  # interrupted, it stays mapped or is about to be
            self._staging = self._readback()
            raise
        return result

    def _known(self, symbols: Mapping[str, int]) -> dict[str, int]:
        """A value for every symbol, in order."""
        known = {name: symbols.get(name, low) for name, (low, _) in self.plan.symbols.items()}
        for name, value in known.items():
            low, high = self.plan.symbols[name]
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; this bundle was compiled for {low} to {high}")
        return known

    def read(self, name: str, symbols: Mapping[str, int]) -> np.ndarray:
        """The content of an output or a state, in its declared type and shape; of bf16 as f32, of 4 bits as of 8."""
        buffer = self.plan.buffers[self._names[name]]
        shape = tuple(evaluate_size(d, symbols) for d in buffer.shape)
        return self.content(self._names[name], 0, math.prod(shape), buffer.dtype).reshape(shape)

    def content(self, index: int, first: int, count: int, dtype: str) -> np.ndarray:
        """`count` elements of a buffer from `first` on, flat. Raises BadBundle where it does not hold as many."""
        buffer, type = self.plan.buffers[index], numpy(dtype)
        if not 0 <= first <= first + count <= buffer.bytes // buffer.each:
            raise BadBundle(f"buffer {index} of the plan does not hold the elements {first} to {first + count}")
        if not count:
            return np.empty(0, type)
        found = self._memory.get(index, first + count)[first:]
        return (found if buffer.texture else found.view(words(type))).astype(type)

    def run(
        self, program: str, inputs: Mapping[str, Any], symbols: Mapping[str, int] | None = None
    ) -> dict[str, np.ndarray]:
        """Run a program on named inputs (states may be named too); returns its outputs.

        Symbolic sizes follow from the shapes of the inputs; `symbols` gives those that do not, else they are at their
        lowest. Raises ValueError for inputs that are missing, unknown, of the wrong shape or type, or too large.
        """
        known = self.feed(program, inputs, symbols)
        self.submit(program, known)
        return {name: self.read(name, known) for name in self.plan.programs[program].outputs}

    def feed(self, program: str, inputs: Mapping[str, Any], symbols: Mapping[str, int] | None = None) -> dict[str, int]:
        """Write the inputs of a program as `run` does; returns a value for every symbol."""
        described = self.plan.programs[program]
        if missing := sorted(described.inputs.keys() - inputs.keys()):
            raise ValueError(f"program {program} needs the inputs {', '.join(missing)}")
        if unknown := sorted(inputs.keys() - self._names.keys()):
            raise ValueError(
                f"program {program} has no inputs {', '.join(unknown)}; it takes {', '.join(described.inputs)}"
            )
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        sizes = {symbol: size for name, array in arrays.items() for symbol, size in self._sizes(name, array).items()}
        known = self._known(sizes | dict(symbols or {}))
        for name, array in arrays.items():
            self._check_input(name, array, known)
        for name, array in arrays.items():
            self.write(name, array)
        return known

    def _check_input(self, name: str, array: np.ndarray, known: Mapping[str, int]) -> None:
        buffer = self.plan.buffers[self._names[name]]
        if array.shape != tuple(evaluate_size(d, known) for d in buffer.shape):
            raise ValueError(f"input {name} has shape {list(array.shape)}; {list(buffer.shape)} is wanted")
        wanted = numpy(buffer.dtype)
        if array.dtype.kind not in {"f": "fiub", "i": "iub", "u": "iub", "b": "b"}[wanted.kind]:
            raise ValueError(f"input {name} holds {array.dtype}; {buffer.dtype} is wanted")
        if wanted.kind in "iu" and array.size:
            low, high = _range(buffer.dtype)
            if array.min() < low or array.max() > high:
                raise ValueError(f"input {name} holds numbers outside of {low} to {high}")

    def _sizes(self, name: str, array: np.ndarray) -> dict[str, int]:
        shape = self.plan.buffers[self._names[name]].shape
        return {
            d: size
            for d, size in zip(shape, array.shape, strict=False)
            if isinstance(d, str) and d in self.plan.symbols
        }


def _made(pipelines: Mapping[str, Future[Pipeline]], say: Say) -> Iterator[tuple[str, Pipeline]]:
    """Each as soon as it and those before it are made, so that the first one that is wrong is told of."""
    for count, (name, pipeline) in enumerate(pipelines.items(), 1):
        yield name, pipeline.result()
        say("pipelines", count, len(pipelines))


def _range(dtype: str) -> tuple[int, int]:
    """The integers that a type has, and that fit 32 bits."""
    bits = min(int(dtype[1:]), 8 * WORD)
    return (0, (1 << bits) - 1) if dtype[0] == "u" else (-1 << (bits - 1), (1 << (bits - 1)) - 1)
