"""Decides which tensors are textures and which are buffers.

Software adapters read a texture of vec4s about eight times faster than a buffer, because they run a buffer access as a
loop over lanes. But a kernel writes a texture a whole vec4 at a time, and cannot read a texture that it writes.

Desktop GPUs lay a texture out in tiles of several rows, so a run of memory is only a part of each cache line: half of
it on NVIDIA's, a quarter on Intel's and AMD's. There, products read weights as buffers, by variants of their own, and
caches are buffers; see stored.py.
Mobile GPUs read textures through a cache that buffers lack.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from intaglio.codegen.formats import FORMATS
from intaglio.codegen.kernel import Weight, most
from intaglio.codegen.lower import Dispatch
from intaglio.codegen.target import TEXTURE_HEIGHT, TEXTURE_ROW, TEXTURE_WIDTH
from intaglio.codegen.weights import kernel_layout_size, weight_identity
from intaglio.compiler.ir.packed import PackedMatrix
from intaglio.compiler.ir.values import Value
from intaglio.runtime.limits import TEXELS, WORD

Root = Value | Weight


@dataclass(frozen=True)
class Storage:
    """A buffer of `bytes`, or a texture of (width, height) texels of `format`. Each texel is a vec4.

    A buffer with a format holds the same bytes as the texture that other variants read.
    """

    bytes: int
    texture: tuple[int, int] | None = None
    format: str = ""


def texture(numbers: int, format: str = "rgba32float") -> Storage:
    """Return a texture that holds this many numbers. Vec4 i lies at (i % width, i / width)."""
    texels = -(-numbers // 4)
    width = min(TEXTURE_WIDTH, max(TEXTURE_ROW // TEXELS[format], 1 << (texels - 1).bit_length()))
    height = -(-texels // width)
    return Storage(width * height * TEXELS[format], (width, height), format)


def buffer(words: int) -> Storage:
    """Return a buffer that holds this many words, rounded up to whole vec4s."""
    return Storage(-(-max(words, 1) // 4) * 4 * WORD)


def texel_format(root: Root, shared: set[Value]) -> str:
    """Return the texel format of a tensor. f16 caches and packed weights have a smaller format than f32."""
    if isinstance(root, Weight):
        const = root.value.numbers
        wide_scales = root.layout == "scales" and isinstance(const, PackedMatrix) and const.wide
        return FORMATS["f32" if wide_scales else root.format].texture
    return FORMATS["f16" if root in shared and root.dtype == "f16" else "f32"].texture


def numbers(root: Root) -> int:
    """Return how many numbers are stored at the largest sizes."""
    return kernel_layout_size(root) if isinstance(root, Weight) else most(root.type)


def textures(programs: Iterable[list[Dispatch]], shared: set[Value]) -> set[object]:
    """Return the identities of the tensors that become textures. Some kernel reads each as vec4s, and every kernel that
    writes it writes vec4s.

    shared: the values whose names mean the same tensor in every program.
    """
    candidates: set[object] = set()
    refused: set[object] = set()
    for dispatches in programs:
        for d in dispatches:
            for name, place in d.places.items():
                tensor = identity(place.root, shared)
                vec4 = name in d.kernel.vec4
                if vec4 and name in d.kernel.reads:
                    candidates.add(tensor)
                if not _fits(place.root) or (name in d.kernel.writes and not vec4):
                    refused.add(tensor)
    return candidates - refused


def identity(root: Root, shared: set[Value]) -> object:
    """Return a key that identifies a tensor. Values of the same name are one tensor only if they are `shared`."""
    if isinstance(root, Weight):
        return weight_identity(root)
    return root.name if root in shared else root


def _fits(root: Root) -> bool:
    type = root.value.type if isinstance(root, Weight) else root.type
    return type.dtype in ("f32", "f16", "f64") and numbers(root) <= 4 * TEXTURE_WIDTH * TEXTURE_HEIGHT
