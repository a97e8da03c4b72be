"""Memory on an adapter: a buffer or a texture for each of a plan's buffers, allocated once, written and read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import wgpu

from intaglio.runtime.errors import BadBundle, DeviceLimit
from intaglio.runtime.limits import TEXELS, WORD
from intaglio.runtime.plan import Buffer
from intaglio.runtime.weights import row_bytes

_STORAGE = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_DST | wgpu.BufferUsage.COPY_SRC
_TEXTURE = (
    wgpu.TextureUsage.TEXTURE_BINDING
    | wgpu.TextureUsage.STORAGE_BINDING
    | wgpu.TextureUsage.COPY_DST
    | wgpu.TextureUsage.COPY_SRC
)
_WORDS = {"f": np.float32, "i": np.int32, "u": np.uint32, "b": np.uint32}
_TEXELS = {"rgba32float": np.float32, "rgba16float": np.float16, "rgba32uint": np.uint32}


def stored(buffer: Buffer) -> np.dtype:
    """The type of a buffer's or a texture's numbers on the adapter."""
    if buffer.format:
        return np.dtype(_TEXELS[buffer.format])
    return np.dtype(_WORDS[numpy(buffer.dtype).kind] if buffer.dtype else np.uint32)


def words(dtype: np.dtype) -> np.dtype:
    """The 32 bits that hold a number of this type in a buffer."""
    return np.dtype(_WORDS[dtype.kind])


def numpy(dtype: str) -> np.dtype:
    """numpy's type for one of the plan's: f32, i64, bool, ...; where numpy has none, the next larger."""
    missing = {"bool": "?", "bf16": "f4", "i4": "i1", "u4": "u1"}
    return np.dtype(missing.get(dtype) or f"{dtype[0]}{int(dtype[1:]) // 8}")


def array_of(read: Any, dtype: np.dtype) -> np.ndarray:
    """What wgpu read, as an array. wgpu's own type for it, ArrayLike, does not declare the buffer protocol."""
    return np.frombuffer(read, dtype)


class Memory:
    """Buffers of a plan on `device`, by index, and those of `shared`, which its owner allocated.

    Raises DeviceLimit if the adapter cannot allocate them.
    """

    def __init__(self, device: wgpu.GPUDevice, buffers: Mapping[int, Buffer], shared: Memory | None = None) -> None:
        self._device, self._shared = device, shared
        self._described = dict(buffers)
        self._buffers = {i: self._allocate(b) for i, b in buffers.items()}
        self._views: dict[int, Any] = {}

    def buffer(self, index: int) -> wgpu.GPUBuffer:
        """The GPU buffer of a buffer of the plan. Raises BadBundle if it is a texture."""
        memory = self._buffers[index]
        if not isinstance(memory, wgpu.GPUBuffer):
            raise BadBundle(f"the plan is broken: {self._described[index].name} is a texture; compile the model again")
        return memory

    @property
    def allocated(self) -> int:
        """Bytes, without those of `shared`."""
        return sum(
            b.size if isinstance(b, wgpu.GPUBuffer) else b.width * b.height * TEXELS[b.format]
            for b in self._buffers.values()
        )

    def resource(self, index: int) -> Any:
        """The resource for a bind group. A texture's view is made once, because that takes longer than the rest."""
        if self._shared is not None and index not in self._buffers:
            return self._shared.resource(index)
        if index not in self._views:
            memory = self._buffers[index]
            self._views[index] = {"buffer": memory} if isinstance(memory, wgpu.GPUBuffer) else memory.create_view()
        return self._views[index]

    def _allocate(self, buffer: Buffer) -> wgpu.GPUBuffer | wgpu.GPUTexture:
        try:
            if buffer.texture:
                return self._device.create_texture(size=(*buffer.texture, 1), format=buffer.format, usage=_TEXTURE)
            return self._device.create_buffer(size=buffer.bytes, usage=_STORAGE)
        except (wgpu.GPUOutOfMemoryError, wgpu.GPUValidationError) as e:
            raise DeviceLimit(
                f"the adapter cannot allocate {buffer.bytes} bytes: {e}; quantize, or use a shorter --max-length"
            ) from e

    def put(self, index: int, content: np.ndarray, offset: int = 0) -> None:
        """Copy words into a buffer from element `offset` on, or into a texture from its beginning."""
        data = content.reshape(-1).data.cast("B")
        row = row_bytes(self._described[index])
        whole = len(data) // row * row
        if whole:
            self.put_rows(index, offset * WORD, data[:whole])
        if whole < len(data):
            self.put_rows(index, whole, bytes(data[whole:]).ljust(row, b"\0"))

    def put_rows(self, index: int, first: int, data: memoryview | bytes) -> None:
        """Copy bytes to the place `first`: whole rows of a texture, words of a buffer."""
        memory = self._buffers[index]
        if isinstance(memory, wgpu.GPUBuffer):
            self._device.queue.write_buffer(memory, first, data)
            return
        row = row_bytes(self._described[index])
        target = {"texture": memory, "origin": (0, first // row, 0)}
        layout = {"bytes_per_row": row, "rows_per_image": memory.height}
        self._device.queue.write_texture(target, data, layout, (memory.width, len(data) // row, 1))

    def get(self, index: int, count: int) -> np.ndarray:
        """The first `count` numbers of a buffer or a texture, as they are stored."""
        if self._shared is not None and index not in self._buffers:
            return self._shared.get(index, count)
        memory, dtype = self._buffers[index], stored(self._described[index])
        size = -(-count * dtype.itemsize // WORD) * WORD
        if isinstance(memory, wgpu.GPUBuffer):
            return array_of(self._device.queue.read_buffer(memory, 0, size), dtype)[:count]
        row = row_bytes(self._described[index])
        rows = -(-size // row)
        layout = {"bytes_per_row": row, "rows_per_image": rows}
        read = self._device.queue.read_texture({"texture": memory}, layout, (memory.width, rows, 1))
        return array_of(read, dtype)[:count]
