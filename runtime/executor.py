"""Load, bind, replay. Everything is made once, at load: runs write their uniform blocks, submit, and read what is
asked.

The executor knows buffers and steps and no operator; what a program means is the business of the module that drives it.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import wgpu
from safetensors import SafetensorError, safe_open

from intaglio.runtime import plan as plans
from intaglio.runtime.device import DeviceLimit, open_device
from intaglio.runtime.plan import ACCESS, SLOTS, STAGING, TEXELS, WORD, BadBundle, Buffer, Plan, Program

_STORAGE = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_DST | wgpu.BufferUsage.COPY_SRC
_WORDS = {"f": np.float32, "i": np.int32, "u": np.uint32, "b": np.uint32}
_TEXELS = {"rgba32float": np.float32, "rgba16float": np.float16, "rgba32uint": np.uint32}
_TEXTURE = (
    wgpu.TextureUsage.TEXTURE_BINDING
    | wgpu.TextureUsage.STORAGE_BINDING
    | wgpu.TextureUsage.COPY_DST
    | wgpu.TextureUsage.COPY_SRC
)
_UNIFORM = {"buffer": {"type": "uniform", "has_dynamic_offset": True}}


def _layout(access: plans.Access) -> dict[str, Any]:
    """A binding's part of a bind group layout."""
    if not access.formats:
        return {"buffer": {"type": "storage" if access.write else "read-only-storage"}}
    if access.image:
        (format,) = access.formats
        return {"storage_texture": {"access": "write-only" if access.write else "read-only", "format": format}}
    return {"texture": {"sample_type": "uint" if "rgba32uint" in access.formats else "unfilterable-float"}}


Memory = wgpu.GPUBuffer | wgpu.GPUTexture
Say = Callable[[str, int, int], None]  # what is being done, how much of how much


@dataclass(frozen=True)
class _Bound:
    """A dispatch. `varies`: its grid depends on symbols."""

    pipeline: wgpu.GPUComputePipeline
    group: wgpu.GPUBindGroup
    uniform: bool
    grid: plans.Grid
    varies: bool


class Executor:
    """A bundle's programs on a device.

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
        self.plan = plan
        self.edited: list[str] = []
        self.device = device or open_device()
        self._uniform = self.device.create_buffer(
            size=plan.uniform_bytes, usage=wgpu.BufferUsage.UNIFORM | wgpu.BufferUsage.COPY_DST
        )
        self._staging = self._readback()
        self._buffers = [self._allocate(b) for b in plan.buffers]
        self._names = {b.name: i for i, b in enumerate(plan.buffers) if b.kind in ("input", "output", "state")}
        begin = time.perf_counter()
        self._upload(folder, say)
        uploaded = time.perf_counter()
        self._pipelines = self._compile(folder, say, self.edited if allow_edited else None)
        self.seconds = {"upload": uploaded - begin, "pipelines": time.perf_counter() - uploaded}
        self._programs = {name: self._bind(p) for name, p in plan.programs.items()}

    @property
    def allocated(self) -> int:
        """Bytes allocated on the adapter for the plan."""
        held = (
            b.size if isinstance(b, wgpu.GPUBuffer) else b.width * b.height * TEXELS[b.format] for b in self._buffers
        )
        return sum(held) + self._uniform.size + self._staging.size

    def _readback(self) -> wgpu.GPUBuffer:
        return self.device.create_buffer(size=STAGING, usage=wgpu.BufferUsage.MAP_READ | wgpu.BufferUsage.COPY_DST)

    def _allocate(self, buffer: Buffer) -> Memory:
        try:
            if buffer.texture:
                return self.device.create_texture(size=(*buffer.texture, 1), format=buffer.format, usage=_TEXTURE)
            return self.device.create_buffer(size=buffer.bytes, usage=_STORAGE)
        except (wgpu.GPUOutOfMemoryError, wgpu.GPUValidationError) as e:
            raise DeviceLimit(f"the adapter has no room for {buffer.bytes} bytes: {e}") from e

    def _upload(self, folder: Path, say: Say) -> None:
        weights = [(i, b) for i, b in enumerate(self.plan.buffers) if b.kind == "weight"]
        total, done = sum(b.bytes for _, b in weights), 0
        for name in sorted({b.file for _, b in weights}):
            path = folder / name
            with plans.open_file(folder, name) as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != self.plan.files[name]:
                    raise plans.changed(path)
            try:
                with safe_open(path, framework="numpy") as tensors:
                    for i, b in [(i, b) for i, b in weights if b.file == name]:
                        array = tensors.get_tensor(b.name)
                        if array.nbytes > b.bytes or array.dtype.itemsize != _stored(b).itemsize:
                            raise BadBundle(f"{path}: {b.name} has {array.nbytes} bytes, the plan says {b.bytes}")
                        self._put(i, array)
                        done += b.bytes
                        say("weights", done, total)
            except BadBundle:
                raise
            except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as e:
                raise BadBundle(f"{path} is broken: {e}") from e

    def _compile(
        self, folder: Path, say: Say, edited: list[str] | None
    ) -> dict[str, tuple[wgpu.GPUComputePipeline, wgpu.GPUBindGroupLayout]]:
        result = {}
        for count, (name, kernel) in enumerate(self.plan.kernels.items(), 1):
            code = plans.verify_file(folder, self.plan, kernel.file, edited).decode("utf-8", "replace")
            bindings = [_layout(ACCESS[letter]) for letter in kernel.access] + [_UNIFORM] * kernel.uniform
            layout = self.device.create_bind_group_layout(
                entries=[{"binding": i, "visibility": wgpu.ShaderStage.COMPUTE} | b for i, b in enumerate(bindings)]
            )
            try:
                pipeline = self.device.create_compute_pipeline(
                    layout=self.device.create_pipeline_layout(bind_group_layouts=[layout]),
                    compute={"module": self.device.create_shader_module(label=name, code=code), "entry_point": "main"},
                )
            except wgpu.GPUError as e:
                raise BadBundle(f"{kernel.file} is refused by this adapter's compiler: {_reason(e)}") from e
            result[name] = (pipeline, layout)
            say("pipelines", count, len(self.plan.kernels))
        return result

    def _bind(self, program: Program) -> list[_Bound]:
        groups: dict[tuple[Any, ...], wgpu.GPUBindGroup] = {}
        bound = []
        for step in program.steps:
            pipeline, layout = self._pipelines[step.kernel]
            uniform = self.plan.kernels[step.kernel].uniform
            key = (step.kernel, step.buffers)
            if key not in groups:
                resources = [self._resource(b) for b in step.buffers]
                resources += [{"buffer": self._uniform, "offset": 0, "size": self.plan.block}] * uniform
                entries = [{"binding": i, "resource": r} for i, r in enumerate(resources)]
                groups[key] = self.device.create_bind_group(layout=layout, entries=entries)
            varies = not all(isinstance(d, int) for d in step.grid)
            bound.append(_Bound(pipeline, groups[key], uniform, step.grid, varies))
        return bound

    def _resource(self, index: int) -> Any:
        memory = self._buffers[index]
        return {"buffer": memory} if isinstance(memory, wgpu.GPUBuffer) else memory.create_view()

    def _put(self, index: int, words: np.ndarray, offset: int = 0) -> None:
        """Copy words into a buffer from element `offset` on, or into a texture from its beginning."""
        memory = self._buffers[index]
        if not words.size:
            return
        if isinstance(memory, wgpu.GPUBuffer):
            self.device.queue.write_buffer(memory, offset * WORD, words)
            return
        row = memory.width * TEXELS[memory.format]
        data = memoryview(words.reshape(-1)).cast("B")
        whole, rest = divmod(len(data), row)
        layout = {"bytes_per_row": row, "rows_per_image": memory.height}
        if whole:
            self.device.queue.write_texture({"texture": memory}, data[: whole * row], layout, (memory.width, whole, 1))
        if rest:
            last = bytes(data[whole * row :]).ljust(row, b"\0")
            target = {"texture": memory, "origin": (0, whole, 0)}
            self.device.queue.write_texture(target, last, layout, (memory.width, 1, 1))

    def _get(self, index: int, count: int) -> np.ndarray:
        """The first `count` numbers of a buffer or a texture, as they are stored."""
        memory, dtype = self._buffers[index], _stored(self.plan.buffers[index])
        size = count * dtype.itemsize
        if isinstance(memory, wgpu.GPUBuffer):
            return np.frombuffer(self.device.queue.read_buffer(memory, 0, size), dtype)
        row = memory.width * TEXELS[memory.format]
        rows = -(-size // row)
        layout = {"bytes_per_row": row, "rows_per_image": rows}
        read = self.device.queue.read_texture({"texture": memory}, layout, (memory.width, rows, 1))
        return np.frombuffer(read[:size], dtype)

    # running

    def write(self, name: str, array: np.ndarray, offset: int = 0) -> None:
        """Put `array` into an input or a state, starting at element `offset` (0 for those that are textures)."""
        index = self._names[name]
        self._put(index, np.ascontiguousarray(array, _stored(self.plan.buffers[index])), offset)

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
            self._encode(pass_, self._programs[program], symbols, i * self.plan.block)
        pass_.end()
        if read is None:
            self.device.queue.submit([encoder.finish()])
            return None
        name, first, count = read
        encoder.copy_buffer_to_buffer(self._buffers[self._names[name]], first * WORD, self._staging, 0, count * WORD)
        self.device.queue.submit([encoder.finish()])
        return self._wait(count)

    def stepwise(self, program: str, symbols: Mapping[str, int]) -> Iterator[int]:
        """Replay a program a step at a time; after each, what it wrote can be read before another takes its place."""
        known = self.begin(symbols)
        for i in range(len(self._programs[program])):
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
        self._encode(pass_, self._programs[program][steps], symbols, 0)

    def _begin(self, runs: Sequence[Mapping[str, int]]) -> list[dict[str, int]]:
        """Write a uniform block for each run; returns a value for every symbol of each."""
        if len(runs) > SLOTS:
            raise ValueError(f"{len(runs)} runs in a submit; there is room for {SLOTS}")
        known = [self._known(symbols) for symbols in runs]
        blocks = np.zeros((len(runs), self.plan.block // WORD), np.uint32)
        blocks[:, : len(self.plan.symbols)] = [[*symbols.values()] for symbols in known]
        self.device.queue.write_buffer(self._uniform, 0, blocks)
        return known

    def _encode(
        self, pass_: wgpu.GPUComputePassEncoder, dispatches: list[_Bound], symbols: Mapping[str, int], offset: int
    ) -> None:
        """The dispatches of one run, whose uniform block lies at `offset`."""
        pipeline = None
        for bound in dispatches:
            if bound.pipeline is not pipeline:
                pipeline = bound.pipeline
                pass_.set_pipeline(pipeline)
            pass_.set_bind_group(0, bound.group, (offset,) if bound.uniform else ())
            pass_.dispatch_workgroups(*(plans.workgroups(bound.grid, symbols) if bound.varies else bound.grid))

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
        shape = tuple(plans.evaluate(d, symbols) for d in buffer.shape)
        return self.content(self._names[name], 0, math.prod(shape), buffer.dtype).reshape(shape)

    def content(self, index: int, first: int, count: int, dtype: str) -> np.ndarray:
        """`count` elements of a buffer from `first` on, flat. Raises BadBundle where it does not hold as many."""
        buffer, type = self.plan.buffers[index], _numpy(dtype)
        if not 0 <= first <= first + count <= buffer.bytes // buffer.each:
            raise BadBundle(f"buffer {index} of the plan does not hold the elements {first} to {first + count}")
        if not count:
            return np.empty(0, type)
        stored = self._get(index, first + count)[first:]
        return (stored if buffer.texture else stored.view(_WORDS[type.kind])).astype(type)

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
        if array.shape != tuple(plans.evaluate(d, known) for d in buffer.shape):
            raise ValueError(f"input {name} has shape {list(array.shape)}; {list(buffer.shape)} is wanted")
        wanted = _numpy(buffer.dtype)
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


def _reason(error: wgpu.GPUError) -> str:
    """What a compiler complains of: the line that says so, or the last one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if " error: " in line), lines[-1] if lines else "")


def _stored(buffer: Buffer) -> np.dtype:
    """The type of a buffer's numbers on the adapter."""
    if buffer.format:
        return np.dtype(_TEXELS[buffer.format])
    return np.dtype(_WORDS[_numpy(buffer.dtype).kind] if buffer.dtype else np.uint32)


def _numpy(dtype: str) -> np.dtype:
    """numpy's type for one of the plan's: f32, i64, bool, ...; where numpy has none, the next larger."""
    missing = {"bool": "?", "bf16": "f4", "i4": "i1", "u4": "u1"}
    return np.dtype(missing.get(dtype) or f"{dtype[0]}{int(dtype[1:]) // 8}")


def _range(dtype: str) -> tuple[int, int]:
    """The integers that a type has, and that fit 32 bits."""
    bits = min(int(dtype[1:]), 8 * WORD)
    return (0, (1 << bits) - 1) if dtype[0] == "u" else (-1 << (bits - 1), (1 << (bits - 1)) - 1)
