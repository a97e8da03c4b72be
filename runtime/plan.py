"""The plan: what a bundle tells the runtime. The reader owns the format; what it accepts is safe to run.

A bundle is data from strangers, so every index, size, name and hash is checked here, before a buffer is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from intaglio.runtime.limits import OFFSET, READ_ONLY_IMAGES, SLOTS, STAGING, TEXELS, WORD
from intaglio.runtime.sizes import Grid, Size

KINDS = ("weight", "input", "output", "scratch", "state")
SEEN = ("input", "output", "state")  # what users know by name
DTYPES = ("f32", "f16", "f64", "bf16", "i64", "i32", "i16", "i8", "i4", "u64", "u32", "u16", "u8", "u4", "bool")


@dataclass(frozen=True)
class Access:
    """How a shader uses a binding: a buffer, or a texture of one of `formats`. image: a storage texture."""

    write: bool
    formats: tuple[str, ...] = ()
    image: bool = False


# The words of a kernel's bindings. A texture is `texture_2d`, an image is `texture_storage_2d` of the format named.
ACCESS = {
    "read buffer": Access(False),
    "write buffer": Access(True),
    "read texture f32": Access(False, ("rgba32float", "rgba16float")),
    "read texture u32": Access(False, ("rgba32uint",)),
    "read image rgba32float": Access(False, ("rgba32float",), image=True),
    "read image rgba16float": Access(False, ("rgba16float",), image=True),
    "read image rgba32uint": Access(False, ("rgba32uint",), image=True),
    "write image rgba32float": Access(True, ("rgba32float",), image=True),
    "write image rgba16float": Access(True, ("rgba16float",), image=True),
}


@dataclass(frozen=True)
class File:
    """A file of the bundle: the SHA-256 of the whole, its size, and the SHA-256 of each of its PIECE bytes in turn,
    which only weight files have: their pieces are checked as they arrive."""

    sha256: str
    bytes: int
    pieces: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kernel:
    """A shader. `access` has words for each binding, see ACCESS; `uniform`: the block of symbols is bound after them.
    `needs`: the tiers (see limits.TIERS) that a device must have."""

    file: str
    access: tuple[str, ...]
    uniform: bool
    needs: tuple[str, ...] = ()

    @property
    def language(self) -> tuple[str, ...]:
        """The WGSL language features that the shader uses."""
        return (READ_ONLY_IMAGES,) if any(ACCESS[a].image and not ACCESS[a].write for a in self.access) else ()


@dataclass(frozen=True)
class Buffer:
    """Memory on the adapter. A weight is the tensor `name` of its files, one part after the other; `dtype` and `shape`
    say what users see in inputs, outputs and states.

    `texture` is (width, height) where the memory is a texture of vec4s, vec4 i at (i % width, i / width), and `format`
    is what they are made of.
    """

    kind: str
    bytes: int
    name: str = ""
    dtype: str = ""
    shape: tuple[Size, ...] = ()
    files: tuple[str, ...] = ()
    texture: tuple[int, int] | tuple[()] = ()
    format: str = ""

    @property
    def each(self) -> int:
        """Bytes of a number."""
        return TEXELS[self.format] // 4 if self.texture else WORD


@dataclass(frozen=True)
class Alternatives:
    """The other variants of a step: kernels for the same bindings, with their grids, by variant.

    `problem` names what is computed, its family and then its sizes, as "matvec_rmsnorm_q4 576x1536"; `variant`: the
    one that the step runs.
    """

    problem: str
    variant: str
    others: dict[str, tuple[str, Grid]]


@dataclass(frozen=True)
class Step:
    """One dispatch: a kernel, a buffer for each of its bindings, and the number of workgroups along x, y, z."""

    kernel: str
    buffers: tuple[int, ...]
    grid: Grid
    alternatives: Alternatives | None = None


@dataclass(frozen=True)
class Tuning:
    """The fastest variant of each problem on an adapter with this driver, where that is not the one that steps have."""

    device: str
    driver: str
    variants: dict[str, str]


@dataclass(frozen=True)
class Program:
    """Steps in order, between inputs and outputs (name -> buffer)."""

    inputs: dict[str, int]
    outputs: dict[str, int]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Plan:
    """Everything the runtime needs to know. `symbols` (name -> range, inclusive) are the fields of a uniform block,
    u32 each, in order; `files` are the other files of the bundle.

    What plan.json leaves to designs.json is missing until `designs_file.read`: the variants of steps, their kernels and
    files, `profiles` (class of adapters -> problem -> variant), and `tunings`, for adapters that the bundle was tuned
    on.
    """

    kind: str
    symbols: dict[str, tuple[int, int]]
    kernels: dict[str, Kernel]
    buffers: tuple[Buffer, ...]
    programs: dict[str, Program]
    files: dict[str, File]
    profiles: dict[str, dict[str, str]] = field(default_factory=dict)
    tunings: tuple[Tuning, ...] = ()

    @property
    def used(self) -> dict[str, Kernel]:
        """The kernels that steps have, without those of other variants."""
        names = {step.kernel for program in self.programs.values() for step in program.steps}
        return {name: kernel for name, kernel in self.kernels.items() if name in names}

    @property
    def alternatives(self) -> dict[str, Alternatives]:
        """The alternatives of steps by problem."""
        steps = (step for program in self.programs.values() for step in program.steps)
        return {step.alternatives.problem: step.alternatives for step in steps if step.alternatives}

    @property
    def needs(self) -> tuple[str, ...]:
        """The tiers that the kernels of its steps need."""
        return tuple(sorted({need for kernel in self.used.values() for need in kernel.needs}))

    @property
    def language(self) -> tuple[str, ...]:
        """The WGSL language features that the kernels of its steps use."""
        return tuple(sorted({name for kernel in self.used.values() for name in kernel.language}))

    def bytes_of(self, kind: str) -> int:
        """The memory that buffers of one kind take together."""
        return sum(b.bytes for b in self.buffers if b.kind == kind)

    @property
    def engine_bytes(self) -> int:
        """The memory that an engine allocates, once for all its sessions: the weights."""
        return self.bytes_of("weight")

    @property
    def session_bytes(self) -> int:
        """The memory that each session allocates: the other buffers, the uniform blocks, and a buffer for readbacks."""
        return sum(b.bytes for b in self.buffers if b.kind != "weight") + self.uniform_bytes + STAGING

    @property
    def bytes(self) -> int:
        """The memory of an engine with one session."""
        return self.engine_bytes + self.session_bytes

    @property
    def block(self) -> int:
        """Bytes from one uniform block to the next."""
        return OFFSET * max(1, -(-WORD * len(self.symbols) // OFFSET))

    @property
    def uniform_bytes(self) -> int:
        return SLOTS * self.block
