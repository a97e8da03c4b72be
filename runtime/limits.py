"""WebGPU's limits and features, and the sizes that the runtime allocates by."""

from __future__ import annotations

TEXELS = {"rgba32float": 16, "rgba16float": 8, "rgba32uint": 16}  # formats of textures, and bytes of a vec4 in them
STAGING = 4096  # bytes of a buffer that small readbacks go through
READBACKS = 2  # small readbacks that may be in flight, each with its own buffer
SLOTS = 64  # runs that one submit may replay, each with its own uniform block
OFFSET = 256  # bytes: dynamic offsets of uniform blocks are multiples of this, by WebGPU's default limits
PIECE = 4 << 20  # bytes of a weight file that are hashed and uploaded together; more than a row of any texture
WORD = 4  # bytes of every element on the adapter: f32, i32 or u32
# WebGPU's default limits, which every implementation grants.
DEFAULT_LIMITS = {
    "max-storage-buffer-binding-size": 128 << 20,
    "max-buffer-size": 256 << 20,
    "max-storage-buffers-per-shader-stage": 8,
    "max-compute-invocations-per-workgroup": 256,
    "max-compute-workgroup-size-x": 256,
    "max-compute-workgroup-storage-size": 16_384,
    "max-compute-workgroups-per-dimension": 65_535,
    "max-sampled-textures-per-shader-stage": 16,
    "max-storage-textures-per-shader-stage": 4,
    "max-texture-dimension-2d": 8192,
    "max-uniform-buffer-binding-size": 65_536,
}
# More than that, which most adapters grant when asked.
LARGER_LIMITS = {
    "max-compute-invocations-per-workgroup": 1024,
    "max-compute-workgroup-size-x": 1024,
    "max-compute-workgroup-storage-size": 32_768,
}
# What kernels may need beyond the defaults: features, with wgpu's names for them, and those limits.
FEATURES = {"shader-f16": "shader-f16", "subgroups": "subgroup"}
TIERS = (*FEATURES, "larger-limits")
# The line of WGSL that enables a tier on some implementations: Tint refuses subgroup operations without the line, naga
# refuses the line. A runtime on Tint puts the line on top of the text.
ENABLES = {"subgroups": "enable subgroups;"}
# The WGSL language feature of storage textures that are read: every implementation that bundles run on has it.
READ_ONLY_IMAGES = "readonly_and_readwrite_storage_textures"
