"""The plan: what a bundle tells the runtime. The reader owns the format; what it accepts is safe to run.

A bundle is data from strangers, so every index, size, name and hash is checked here, before a buffer is made.
"""

from __future__ import annotations

from dataclasses import dataclass

from intaglio.runtime.limits import OFFSET, SLOTS, STAGING, TEXELS, WORD
from intaglio.runtime.sizes import Grid, Size

KINDS = ("weight", "input", "output", "scratch", "state")
SEEN = ("input", "output", "state")  # what users know by name
DTYPES = ("f32", "f16", "f64", "bf16", "i64", "i32", "i16", "i8", "i4", "u64", "u32", "u16", "u8", "u4", "bool")


@dataclass(frozen=True)
class Access:
    """How a shader uses a binding: a buffer, or a texture of one of `formats`; image: without a sampler in the way."""

    write: bool
    formats: tuple[str, ...] = ()
    image: bool = False


ACCESS = {
    "r": Access(False),
    "w": Access(True),
    "t": Access(False, ("rgba32float", "rgba16float")),
    "m": Access(False, ("rgba32uint",)),
    "i": Access(False, ("rgba32float",), image=True),
    "h": Access(False, ("rgba16float",), image=True),
    "n": Access(False, ("rgba32uint",), image=True),
    "s": Access(True, ("rgba32float",), image=True),
    "g": Access(True, ("rgba16float",), image=True),
}


@dataclass(frozen=True)
class Kernel:
    """A shader. `access` has a letter per binding, see ACCESS; `uniform`: the block of symbols is bound after them;
    `needs`: those of TIERS that an adapter must have."""

    file: str
    sha256: str
    access: str
    uniform: bool
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Buffer:
    """Memory on the adapter. A weight names its tensor in a file; `dtype` and `shape` say what users see in the others.

    `texture` is (width, height) where the memory is a texture of vec4s, vec4 i at (i % width, i / width), and `format`
    is what they are made of.
    """

    kind: str
    bytes: int
    name: str = ""
    dtype: str = ""
    shape: tuple[Size, ...] = ()
    file: str = ""
    texture: tuple[int, int] | tuple[()] = ()
    format: str = ""

    @property
    def each(self) -> int:
        """Bytes of a number."""
        return TEXELS[self.format] // 4 if self.texture else WORD


@dataclass(frozen=True)
class Choice:
    """What a step could do instead: `others` has kernels for the same bindings, with their grids, by design.

    `case` names what is computed, its family and then its sizes, as "matvec_rmsnorm_q4 576x1536"; `design`: what the
    step does.
    """

    case: str
    design: str
    others: dict[str, tuple[str, Grid]]


@dataclass(frozen=True)
class Step:
    """One dispatch: a kernel, a buffer for each of its bindings, and the number of workgroups along x, y, z."""

    kernel: str
    buffers: tuple[int, ...]
    grid: Grid
    choice: Choice | None = None


@dataclass(frozen=True)
class Tuning:
    """The fastest design for each case on an adapter with this driver, where that is not the one that steps have."""

    device: str
    driver: str
    choices: dict[str, str]


@dataclass(frozen=True)
class Program:
    """Steps in order, between inputs and outputs (name -> buffer)."""

    inputs: dict[str, int]
    outputs: dict[str, int]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Plan:
    """Everything the runtime needs to know. `symbols` (name -> range, inclusive) are the fields of a uniform block,
    u32 each, in order; `files` are the other files of the bundle with their hashes; `tunings` are for adapters that it
    was tuned on."""

    kind: str
    symbols: dict[str, tuple[int, int]]
    kernels: dict[str, Kernel]
    buffers: tuple[Buffer, ...]
    programs: dict[str, Program]
    files: dict[str, str]
    tunings: tuple[Tuning, ...] = ()

    @property
    def used(self) -> dict[str, Kernel]:
        """The kernels that steps have, without those of other designs."""
        names = {step.kernel for program in self.programs.values() for step in program.steps}
        return {name: kernel for name, kernel in self.kernels.items() if name in names}

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
