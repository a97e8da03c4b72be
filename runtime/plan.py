"""The plan: what a bundle tells the runtime. The runtime defines the format; a plan that it accepts is safe to run.

A bundle may come from strangers, so plan_file.py checks every index, size, name and hash before a buffer is made.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from intaglio.runtime.adapter_class import AdapterClass
from intaglio.runtime.limits import OFFSET, READ_ONLY_IMAGES, READBACKS, SLOTS, STAGING, TEXELS, WORD
from intaglio.runtime.sizes import Grid, Rule, Size, evaluate_size

KINDS = ("weight", "input", "output", "scratch", "state")
SEEN = ("input", "output", "state")  # the kinds that users access by name
DTYPES = ("f32", "f16", "f64", "bf16", "i64", "i32", "i16", "i8", "i4", "u64", "u32", "u16", "u8", "u4", "bool")


@dataclass(frozen=True)
class Access:
    """How a shader uses a binding: a buffer, or a texture of one of `formats`. image: it is a storage texture."""

    write: bool
    formats: tuple[str, ...] = ()
    image: bool = False


# The accesses of a kernel's bindings. A texture is a `texture_2d`, an image a `texture_storage_2d` of the given format.
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
    """A file of the bundle.

    sha256: the hash of the whole file. pieces: the SHA-256 of each PIECE bytes in turn, so that pieces can be checked
    as they arrive; only weight files have them.
    """

    sha256: str
    bytes: int
    pieces: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kernel:
    """A shader.

    access: the access of each binding, a key of ACCESS. uniform: the block of symbols is bound after them. needs: the
    tiers (see limits.TIERS) that a device must have.
    """

    file: str
    access: tuple[str, ...]
    uniform: bool
    needs: tuple[str, ...] = ()

    @property
    def language(self) -> tuple[str, ...]:
        """Return the WGSL language features that the shader uses."""
        return (READ_ONLY_IMAGES,) if any(ACCESS[a].image and not ACCESS[a].write for a in self.access) else ()


@dataclass(frozen=True)
class Buffer:
    """Memory on the adapter, a buffer or a texture.

    A weight is the tensors `name` of its files, one part after the other. Inputs, outputs and states have a `dtype` and
    a `shape`, which users see.

    A texture of vec4s has its (width, height) in `texture`, vec4 i at (i % width, i / width), and a texel `format`. A
    state that is a buffer has a format if its numbers are not words: rgba16float, two f16 a word.
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
    def rounded(self) -> bool:
        """Whether it holds numbers in f16 that are f32 for those who see it."""
        return self.dtype == "f32" and self.format == "rgba16float"

    @property
    def each(self) -> int:
        """Return the bytes of one number."""
        return TEXELS[self.format] // 4 if self.format else WORD


@dataclass(frozen=True)
class Dispatch:
    """A kernel, a buffer for each of its bindings, and the number of workgroups along x, y, z."""

    kernel: str
    buffers: tuple[int, ...]
    grid: Grid


@dataclass(frozen=True)
class Part:
    """A dispatch of a variant, for any step that computes the problem.

    bindings: for each of the kernel's, a buffer of the step by its place: 2; such a weight as a buffer where the step
    has it as a texture: "buffer 2"; or one of the plan's `scratch`: "scratch 0".
    """

    kernel: str
    bindings: tuple[int | str, ...]
    grid: Grid


@dataclass(frozen=True)
class Alternatives:
    """The other variants of a step, by name. A variant is one or several dispatches, one after the other.

    problem: what the step computes, a family and then sizes, such as "matvec_rmsnorm_q4 576x1536". variant: the name of
    the step's own dispatch.
    """

    problem: str
    variant: str
    others: dict[str, tuple[Part, ...]]


@dataclass(frozen=True)
class Choice:
    """Which variant runs: variants[i], where i is the number of those in `above` that the size `of` exceeds.

    `above` ascends. A choice of one variant for all sizes has none.
    """

    variants: tuple[str, ...]
    of: Size = 0
    above: tuple[int, ...] = ()

    def at(self, symbols: Mapping[str, int]) -> str:
        """Return the variant for these values of symbols."""
        return self.variants[bisect_left(self.above, evaluate_size(self.of, symbols)) if self.above else 0]


@dataclass(frozen=True)
class Step:
    """One dispatch, or another variant of it.

    kernel, buffers, grid: the dispatch in plan.json. variants: the dispatches of each variant in designs.json. choice:
    which of them runs on this adapter; None: the dispatch in plan.json.
    """

    kernel: str
    buffers: tuple[int, ...]
    grid: Grid
    alternatives: Alternatives | None = None
    variants: Mapping[str, tuple[Dispatch, ...]] = field(default_factory=dict)
    choice: Choice | None = None

    def dispatches(self, variant: str) -> tuple[Dispatch, ...]:
        """Return the dispatches of a variant; the step's own for any other name."""
        return self.variants.get(variant) or (Dispatch(self.kernel, self.buffers, self.grid),)

    def at(self, symbols: Mapping[str, int]) -> tuple[Dispatch, ...]:
        """Return what runs at these values of symbols."""
        return self.dispatches(self.choice.at(symbols) if self.choice else "")

    def name(self, symbols: Mapping[str, int]) -> str:
        """Return the names of the kernels that run at these values of symbols: "a", or "a + b"."""
        return " + ".join(dispatch.kernel for dispatch in self.at(symbols))

    @property
    def possible(self) -> tuple[Dispatch, ...]:
        """Return every dispatch that may run, at some values of symbols."""
        chosen = self.choice.variants if self.choice else ("",)
        return tuple(dispatch for variant in chosen for dispatch in self.dispatches(variant))


@dataclass(frozen=True)
class Storage:
    """How some classes of adapters store states, where they differ from the plan.

    classes: their names. states: the buffer of each of these states, by index. steps: by program, the steps that access
    them, and None for the other steps.
    """

    classes: tuple[str, ...]
    states: dict[int, Buffer]
    steps: dict[str, tuple[Step | None, ...]]


@dataclass(frozen=True)
class Tuning:
    """The fastest variants of the problems that were measured, or are like those, on an adapter with this driver."""

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
    """Everything that the runtime needs to know about a bundle.

    `symbols` (name -> inclusive range) are the fields of a uniform block, u32 each, in order. A symbol with a rule
    (`rules`, by name) follows from symbols before it; the others are sizes of a run. `files` are the other files of the
    bundle.

    `designs_file.read` adds what plan.json leaves to designs.json: the variants of steps, their kernels, buffers and
    files, `scratch` (bytes of each), `classes` of adapters, `storages` of some of them, `profiles` (class -> problem ->
    choice), and `tunings` for the adapters on which the bundle was tuned.
    """

    kind: str
    symbols: dict[str, tuple[int, int]]
    kernels: dict[str, Kernel]
    buffers: tuple[Buffer, ...]
    programs: dict[str, Program]
    files: dict[str, File]
    rules: dict[str, Rule] = field(default_factory=dict)
    scratch: tuple[int, ...] = ()
    classes: dict[str, AdapterClass] = field(default_factory=dict)
    storages: tuple[Storage, ...] = ()
    profiles: dict[str, dict[str, Choice]] = field(default_factory=dict)
    tunings: tuple[Tuning, ...] = ()

    @property
    def bound(self) -> dict[str, tuple[int, int]]:
        """Return the symbols that follow from no others, which a run gives."""
        return {name: ends for name, ends in self.symbols.items() if name not in self.rules}

    @property
    def used(self) -> dict[str, Kernel]:
        """Return the kernels that steps run, without those of other variants."""
        return self.used_by(self.programs)

    def used_by(self, programs: Iterable[str]) -> dict[str, Kernel]:
        """Return the kernels that the steps of these programs run."""
        names = {d.kernel for name in programs for step in self.programs[name].steps for d in step.possible}
        return {name: kernel for name, kernel in self.kernels.items() if name in names}

    @property
    def possible(self) -> list[Dispatch]:
        """Return every dispatch of the steps, in the variants that were chosen."""
        return [d for program in self.programs.values() for step in program.steps for d in step.possible]

    @property
    def in_use(self) -> dict[int, Buffer]:
        """Return the buffers that users access or that steps bind, in the variants that were chosen, by index."""
        bound = {b for dispatch in self.possible for b in dispatch.buffers}
        return {i: b for i, b in enumerate(self.buffers) if i in bound or b.kind in SEEN}

    @property
    def alternatives(self) -> dict[str, Alternatives]:
        """Return the alternatives of steps, in every storage, by problem."""
        own = [program.steps for program in self.programs.values()]
        stored = [steps for storage in self.storages for steps in storage.steps.values()]
        every = (step.alternatives for steps in (*own, *stored) for step in steps if step is not None)
        return {of.problem: of for of in every if of is not None}

    def stored(self, storage: Storage) -> Plan:
        """Return the plan with the states and steps of a storage."""
        programs = {
            name: replace(p, steps=tuple(new or old for new, old in zip(storage.steps[name], p.steps, strict=True)))
            for name, p in self.programs.items()
        }
        buffers = tuple(storage.states.get(i, b) for i, b in enumerate(self.buffers))
        return replace(self, buffers=buffers, programs=programs, storages=())

    @property
    def rounded(self) -> bool:
        """Whether states of f32 are stored in f16."""
        return any(b.rounded for b in self.buffers)

    @property
    def needs(self) -> tuple[str, ...]:
        """Return the tiers that the kernels of the steps need."""
        return tuple(sorted({need for kernel in self.used.values() for need in kernel.needs}))

    @property
    def language(self) -> tuple[str, ...]:
        """Return the WGSL language features that the kernels of the steps use."""
        return tuple(sorted({name for kernel in self.used.values() for name in kernel.language}))

    def bytes_of(self, kind: str) -> int:
        """Return the bytes of all buffers of one kind."""
        return sum(b.bytes for b in self.in_use.values() if b.kind == kind)

    @property
    def engine_bytes(self) -> int:
        """Return the bytes that an engine allocates once for all its sessions: the weights."""
        return self.bytes_of("weight")

    @property
    def session_bytes(self) -> int:
        """Return the bytes that each session allocates: other buffers, uniform blocks, and buffers for readbacks."""
        buffers = sum(b.bytes for b in self.in_use.values() if b.kind != "weight")
        return buffers + self.uniform_bytes + self.staging_bytes

    @property
    def bytes(self) -> int:
        """Return the bytes of an engine with one session."""
        return self.engine_bytes + self.session_bytes

    @property
    def block(self) -> int:
        """Return the bytes from one uniform block to the next."""
        return OFFSET * max(1, -(-WORD * len(self.symbols) // OFFSET))

    @property
    def uniform_bytes(self) -> int:
        return SLOTS * self.block

    @property
    def staging_bytes(self) -> int:
        return READBACKS * STAGING
