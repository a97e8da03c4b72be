"""Every limit that kernels respect.

WebGPU's limits are those that the runtime requests of a device: the defaults, and the larger ones of a tier. The others
are what shader compilers and adapters were found to accept.
"""

from __future__ import annotations

from intaglio.runtime.limits import DEFAULT_LIMITS, LARGER_LIMITS, OFFSET

MAX_BINDING = DEFAULT_LIMITS["max-storage-buffer-binding-size"]  # bytes
MAX_BINDINGS = DEFAULT_LIMITS["max-storage-buffers-per-shader-stage"]
MAX_IMAGES = DEFAULT_LIMITS["max-storage-textures-per-shader-stage"]
MAX_WORKGROUPS = DEFAULT_LIMITS["max-compute-workgroups-per-dimension"]
MAX_INVOCATIONS = DEFAULT_LIMITS["max-compute-invocations-per-workgroup"]
WORKGROUP_MEMORY = DEFAULT_LIMITS["max-compute-workgroup-storage-size"]  # bytes
LARGER_INVOCATIONS = LARGER_LIMITS["max-compute-invocations-per-workgroup"]
LARGER_WORKGROUP_MEMORY = LARGER_LIMITS["max-compute-workgroup-storage-size"]
TEXTURE_HEIGHT = DEFAULT_LIMITS["max-texture-dimension-2d"]
TEXTURE_WIDTH = 2048  # texels; a power of two, because kernels divide by it
TEXTURE_BYTES = 16 * TEXTURE_WIDTH  # of a row
TEXTURE_ROW = OFFSET  # bytes; WebGPU copies texture rows to a buffer in multiples of it
GRID_ROW = 32_768  # workgroups in a row of a grid with several rows
MAX_TRIPS = 65_535  # loop iterations per invocation; software adapters stop silently after that many
