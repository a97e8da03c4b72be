"""The plan: what a bundle tells the runtime. The reader owns the format; what it accepts is safe to run.

A bundle is data from strangers, so every index, size, name and hash is checked here, before a buffer is made.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from intaglio.runtime.checked import items, named, typed

FORMAT = "intaglio-1"
TEXELS = {"rgba32float": 16, "rgba16float": 8, "rgba32uint": 16}  # formats of textures, and bytes of a vec4 in them
STAGING = 4096  # bytes of the buffer that small readbacks go through
SLOTS = 16  # runs that one submit may replay, each with a uniform block of its own
OFFSET = 256  # bytes: dynamic offsets of uniform blocks are multiples of this, by WebGPU's default limits
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
Size = int | str  # a number, or a linear expression over symbols such as "P+T"
Grid = tuple[int | Mapping[str, Any], ...]


class BadBundle(ValueError):
    """The bundle is broken, incomplete, or not made for this version."""


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
    def bytes(self) -> int:
        """All the memory that the runtime allocates: the buffers, the uniform blocks, and a buffer for readbacks."""
        return sum(b.bytes for b in self.buffers) + self.uniform_bytes + STAGING

    @property
    def block(self) -> int:
        """Bytes from one uniform block to the next."""
        return OFFSET * max(1, -(-WORD * len(self.symbols) // OFFSET))

    @property
    def uniform_bytes(self) -> int:
        return SLOTS * self.block


_TERM = re.compile(r"([+-]?)(?:(\d+)\*)?(?:([A-Za-z_]\w*)|(\d+))", re.ASCII)


@cache
def _terms(size: str) -> tuple[tuple[int, str], ...]:
    """(factor, symbol) of each term, the symbol "" for numbers; raises BadBundle if the size is malformed."""
    terms, end = [], 0
    for term in _TERM.finditer(size):
        sign, factor, symbol, number = term.groups()
        if term.start() != end or (end and not sign):
            break
        terms.append(((-1 if sign == "-" else 1) * int(factor or 1) * int(number or 1), symbol or ""))
        end = term.end()
    if end != len(size) or not size:
        raise BadBundle(f"the plan has the malformed size {size!r}")
    return tuple(terms)


def symbols(size: Size) -> set[str]:
    """The symbols in a size; raises BadBundle if it is malformed."""
    return set() if isinstance(size, int) else {symbol for _, symbol in _terms(size)} - {""}


def evaluate(size: Size, symbols: Mapping[str, int]) -> int:
    """The value of a size; raises BadBundle if it is malformed or names an unknown symbol."""
    if isinstance(size, int):
        return size
    try:
        return sum(factor * (symbols[symbol] if symbol else 1) for factor, symbol in _terms(size))
    except KeyError as e:
        raise BadBundle(f"the plan uses the unknown symbol {e.args[0]}") from None


def workgroups(grid: Grid, symbols: Mapping[str, int]) -> tuple[int, ...]:
    """The number of workgroups: a number, or ceil(product(of) / per)."""
    return tuple(
        d if isinstance(d, int) else -(-math.prod(evaluate(s, symbols) for s in d["of"]) // d["per"]) for d in grid
    )


# the file


def write(plan: Plan) -> str:
    """The text of plan.json: a line for each kernel, buffer and step, so that differences read well."""

    def line(value: Any) -> str:
        return json.dumps(value, separators=(", ", ": "), ensure_ascii=False)

    def block(items: list[str], brackets: str, indent: str) -> str:
        if not items:
            return brackets
        return f"{brackets[0]}\n{indent}  " + f",\n{indent}  ".join(items) + f"\n{indent}{brackets[1]}"

    buffers = [line(_told(b)) for b in plan.buffers]
    kernels = [f"{line(name)}: {line(_told(k))}" for name, k in plan.kernels.items()]
    programs = []
    for name, p in plan.programs.items():
        steps = block([_listed(s, line) for s in p.steps], "[]", "      ")
        head = f'"inputs": {line(p.inputs)},\n      "outputs": {line(p.outputs)}'
        programs.append(f'{line(name)}: {{\n      {head},\n      "steps": {steps}\n    }}')
    fields = [
        f'"format": {line(FORMAT)}',
        f'"kind": {line(plan.kind)}',
        f'"symbols": {line(plan.symbols)}',
        f'"files": {block([f"{line(k)}: {line(v)}" for k, v in plan.files.items()], "{}", "  ")}',
        f'"kernels": {block(kernels, "{}", "  ")}',
        f'"buffers": {block(buffers, "[]", "  ")}',
        f'"programs": {block(programs, "{}", "  ")}',
        f'"tunings": {block([_tuned(t, line) for t in plan.tunings], "[]", "  ")}',
    ]
    return block(fields, "{}", "") + "\n"


def _told(of: Kernel | Buffer) -> dict[str, Any]:
    return {k: v for k, v in asdict(of).items() if v not in ("", ())}


def _listed(step: Step, line: Callable[[Any], str]) -> str:
    """A step, with a line more for each of its other designs."""
    text = line([step.kernel, step.buffers, step.grid])
    if step.choice is None:
        return text
    others = [f"{line(design)}: {line(other)}" for design, other in step.choice.others.items()]
    head = f'"case": {line(step.choice.case)}, "design": {line(step.choice.design)}, "others": {{'
    return f"{text[:-1]}, {{{head}\n          " + ",\n          ".join(others) + "}}]"


def _tuned(tuning: Tuning, line: Callable[[Any], str]) -> str:
    """A tuning, with a line for each choice."""
    head = f'"device": {line(tuning.device)}, "driver": {line(tuning.driver)}'
    choices = ",\n      ".join(f"{line(case)}: {line(design)}" for case, design in tuning.choices.items())
    return f'{{{head}, "choices": {{\n      {choices}}}}}'


def read(folder: Path) -> Plan:
    """The checked plan of a bundle. Raises BadBundle."""
    path = folder / "plan.json"
    try:
        if path.is_symlink():
            raise BadBundle(f"{path} is a link; a bundle holds its files itself")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise BadBundle(f"{folder} is no bundle: it has no plan.json; make one with `intaglio compile`") from None
    except BadBundle:
        raise
    except (OSError, ValueError, RecursionError) as e:
        raise BadBundle(f"{path} is broken: {e}") from e
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise BadBundle(f"{path} is not of format {FORMAT}; compile the model again")
    try:
        plan = _parse(data)
        _check(plan)
    except BadBundle:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as e:
        raise BadBundle(f"{path} is broken: {type(e).__name__} {e}") from e
    return plan


def _expect(condition: object, what: str) -> None:
    if not condition:
        raise BadBundle(f"the plan is broken: {what}")


def _parse(data: dict[str, Any]) -> Plan:
    return Plan(
        kind=typed(data["kind"], str),
        symbols={name: items(ends, int) for name, ends in named(data["symbols"], list).items()},
        kernels={name: _kernel(**k) for name, k in named(data["kernels"], dict).items()},
        buffers=tuple(_buffer(**b) for b in items(data["buffers"], dict)),
        programs={name: _program(**p) for name, p in named(data["programs"], dict).items()},
        files=named(data["files"], str),
        tunings=tuple(_tuning(**t) for t in items(data.get("tunings", []), dict)),
    )


def _kernel(file: str, sha256: str, access: str, uniform: bool, needs: Any = ()) -> Kernel:
    needs = items(needs or [], str)
    return Kernel(typed(file, str), typed(sha256, str), typed(access, str), typed(uniform, bool), needs)


def _buffer(
    kind: str,
    bytes: int,
    name: str = "",
    dtype: str = "",
    shape: Any = (),
    file: str = "",
    texture: Any = (),
    format: str = "",
) -> Buffer:
    kind, name, dtype, file, format = (typed(text, str) for text in (kind, name, dtype, file, format))
    shape, texture = items(shape or [], int, str), items(texture or [], int)
    return Buffer(kind, typed(bytes, int), name, dtype, shape, file, texture, format)


def _program(inputs: Any, outputs: Any, steps: Any) -> Program:
    return Program(named(inputs, int), named(outputs, int), tuple(_step(*step) for step in items(steps, list)))


def _step(kernel: str, buffers: Any, grid: Any, choice: Any = None) -> Step:
    return Step(typed(kernel, str), items(buffers, int), _grid(grid), None if choice is None else _choice(**choice))


def _choice(case: str, design: str, others: Any) -> Choice:
    found = {name: (typed(kernel, str), _grid(grid)) for name, (kernel, grid) in named(others, list).items()}
    return Choice(typed(case, str), typed(design, str), found)


def _tuning(device: str, driver: str, choices: Any) -> Tuning:
    return Tuning(typed(device, str), typed(driver, str), named(choices, str))


def _grid(grid: Any) -> Grid:
    return tuple(_groups(d) for d in items(grid, int, dict))


def _groups(d: Any) -> int | dict[str, Any]:
    if isinstance(d, int):
        return d
    _expect(d.keys() == {"of", "per"}, "a grid")
    return {"of": items(d["of"], int, str), "per": typed(d["per"], int)}


def _check(plan: Plan) -> None:
    _expect(WORD * len(plan.symbols) <= DEFAULT_LIMITS["max-uniform-buffer-binding-size"], "too many symbols")
    for name, (low, high) in plan.symbols.items():
        _expect(name.isidentifier() and name.isascii() and 0 <= low <= high < 1 << 31, f"symbol {name}")
    for name, digest in plan.files.items():
        _expect(re.fullmatch(r"(kernels/)?\w[\w.-]*", name), f"the file name {name!r}")
        _expect(re.fullmatch(r"[0-9a-f]{64}", digest), f"the hash of {name}")
    for name, kernel in plan.kernels.items():
        _expect(set(kernel.access) <= ACCESS.keys(), f"the access of kernel {name}")
        _expect(set(kernel.needs) <= set(TIERS), f"what kernel {name} needs")
        kinds = Counter((bool(a.formats), a.image) for a in map(ACCESS.__getitem__, kernel.access))
        within = kinds[False, False] <= 8 and kinds[True, False] <= 16 and kinds[True, True] <= 4
        _expect(within, f"the bindings of kernel {name}")
        _expect(kernel.file in plan.files and plan.files[kernel.file] == kernel.sha256, f"the file of kernel {name}")
    for i, b in enumerate(plan.buffers):
        _check_buffer(plan, b, i)
    names = Counter(b.name for b in plan.buffers if b.kind in SEEN)
    for name, program in plan.programs.items():
        for seen, i in (*program.inputs.items(), *program.outputs.items()):
            _expect(0 <= i < len(plan.buffers), f"program {name}")
            _expect(plan.buffers[i].kind in SEEN and plan.buffers[i].name == seen, f"{seen} of program {name}")
        for step in program.steps:
            _expect(not plan.kernels[step.kernel].needs, f"what a step of {step.kernel} needs")
            for kernel, grid in ((step.kernel, step.grid), *(step.choice.others.values() if step.choice else ())):
                _check_step(plan, kernel, step.buffers, grid)
    _expect(all(count == 1 for count in names.values()), "two tensors have one name")


def _check_buffer(plan: Plan, b: Buffer, i: int) -> None:
    _expect(b.kind in KINDS, f"the kind of buffer {i}")
    _expect(b.bytes > 0 and b.bytes % WORD == 0, f"the size of buffer {i}")
    if b.texture:
        width, height = b.texture
        side = DEFAULT_LIMITS["max-texture-dimension-2d"]
        _expect(0 < width <= side and 0 < height <= side, f"the texture of buffer {i}")
        _expect(b.format in TEXELS and b.bytes == TEXELS[b.format] * width * height, f"the size of buffer {i}")
    else:
        _expect(b.bytes <= DEFAULT_LIMITS["max-storage-buffer-binding-size"], f"the size of buffer {i}")
        _expect(not b.format, f"the format of buffer {i}")
    _expect(b.kind != "weight" or b.file in plan.files, f"the file of buffer {i}")
    if b.kind in SEEN:
        _expect(b.dtype in DTYPES and b.name, f"the type of buffer {i}")
        _expect(most(b.shape, plan) * b.each <= b.bytes, f"the shape of buffer {i}")


def _check_step(plan: Plan, name: str, buffers: tuple[int, ...], grid: Grid) -> None:
    kernel = plan.kernels[name]
    where = f"a step of {name}"
    _expect(len(buffers) == len(kernel.access), where)
    _expect(all(0 <= b < len(plan.buffers) for b in buffers), where)
    bound = [(b, ACCESS[letter]) for b, letter in zip(buffers, kernel.access, strict=True)]
    _expect(all(plan.buffers[b].format in (access.formats or ("",)) for b, access in bound), where)
    written = [b for b, access in bound if access.write]
    _expect(
        all(buffers.count(b) == 1 and plan.buffers[b].kind != "weight" for b in written),
        f"{where} writes what it reads",
    )
    _expect(len(grid) == 3, where)
    for d in grid:
        of, per = ((d,), 1) if isinstance(d, int) else (d["of"], d["per"])
        limit = DEFAULT_LIMITS["max-compute-workgroups-per-dimension"]
        _expect(per > 0 and most(of, plan) <= limit * per, f"the grid of {where}")


def most(sizes: tuple[Size, ...], plan: Plan) -> int:
    """The largest product of sizes that can occur; raises BadBundle if one of them may be negative."""
    highs = []
    for size in sizes:
        terms = ((size, ""),) if isinstance(size, int) else _terms(size)
        ranges = [sorted(f * n for n in (plan.symbols[s] if s else (1, 1))) for f, s in terms]
        _expect(sum(low for low, _ in ranges) >= 0, f"the size {size} may be negative")
        highs.append(sum(high for _, high in ranges))
    return math.prod(highs)


def verify_file(folder: Path, plan: Plan, name: str, edited: list[str] | None = None) -> bytes:
    """The content of a file of the bundle. Raises BadBundle if it is missing, or is not what the plan says: `edited`,
    where it is given, gets the name of such a file instead.
    """
    with open_file(folder, name) as file:
        content = file.read()
    if hashlib.sha256(content).hexdigest() != plan.files.get(name):
        if edited is None:
            raise changed(folder / name)
        edited.append(name)
    return content


def open_file(folder: Path, name: str) -> BinaryIO:
    """A file of the bundle, which is a file and lies in the folder. Raises BadBundle."""
    path = folder / name
    if any(
        folder.joinpath(*path.relative_to(folder).parts[: i + 1]).is_symlink() for i in range(len(Path(name).parts))
    ):
        raise BadBundle(f"{path} is a link; a bundle holds its files itself")
    if not path.is_file():
        raise BadBundle(f"{path} is missing; compile the model again")
    try:
        return path.open("rb")
    except OSError as e:
        raise BadBundle(f"{path} is unreadable: {e.strerror}") from e


def changed(path: Path) -> BadBundle:
    edited = ", or verify it with --allow-edited" if path.suffix == ".wgsl" else ""
    return BadBundle(f"{path} is not the file that was compiled: its hash differs; compile the model again{edited}")
