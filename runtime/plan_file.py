"""Writes plan.json so that a person can read it, and reads it with every index, size, name and hash checked."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from intaglio.runtime.adapter_class import AdapterClass
from intaglio.runtime.checked import items, named, typed
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.limits import DEFAULT_LIMITS, PIECE, TEXELS, TIERS, WORD
from intaglio.runtime.plan import ACCESS, DTYPES, KINDS, SEEN, Buffer, Dispatch, File, Kernel, Plan, Program, Step
from intaglio.runtime.sizes import Grid, Rule, largest, magnitude, symbols_of

FORMAT = "intaglio-2"
_EXACT = 1 << 53  # runtimes may compute rules in 64-bit floats
_NAME = r"(kernels/)?\w[\w.-]*"  # of files: in no other folder, and not hidden


def write(plan: Plan) -> str:
    """Return the text of plan.json, with a line for each file, kernel, buffer and step, so that diffs are readable.

    It leaves out the variants of steps, which designs_file writes.
    """
    programs = []
    for name, p in plan.programs.items():
        steps = block([line([s.kernel, s.buffers, s.grid]) for s in p.steps], "[]", "      ")
        head = f'"inputs": {line(p.inputs)},\n      "outputs": {line(p.outputs)}'
        programs.append(f'{line(name)}: {{\n      {head},\n      "steps": {steps}\n    }}')
    fields = [
        f'"format": {line(FORMAT)}',
        f'"kind": {line(plan.kind)}',
        f'"needs": {line({"features": plan.needs, "language": plan.language})}',
        f'"symbols": {line(_symbols(plan))}',
        f'"files": {block(entries(plan.files), "{}", "  ")}',
        f'"kernels": {block(entries(plan.used), "{}", "  ")}',
        f'"buffers": {block([line(nonempty(b)) for b in plan.buffers], "[]", "  ")}',
        f'"programs": {block(programs, "{}", "  ")}',
    ]
    return block(fields, "{}", "") + "\n"


def _symbols(plan: Plan) -> dict[str, list[Any]]:
    rules = {name: [asdict(rule)] for name, rule in plan.rules.items()}
    return {name: [*ends, *rules.get(name, [])] for name, ends in plan.symbols.items()}


def line(value: Any) -> str:
    return json.dumps(value, separators=(", ", ": "), ensure_ascii=False)


def block(items: list[str], brackets: str, indent: str) -> str:
    """Format a list or an object with a line for each item."""
    if not items:
        return brackets
    return f"{brackets[0]}\n{indent}  " + f",\n{indent}  ".join(items) + f"\n{indent}{brackets[1]}"


def entries(of: Mapping[str, File | Kernel]) -> list[str]:
    """Return a line for each file or kernel."""
    return [f"{line(name)}: {line(nonempty(item))}" for name, item in of.items()]


def nonempty(of: File | Kernel | Buffer | AdapterClass) -> dict[str, Any]:
    """Return the fields that are not empty."""
    return {k: v for k, v in asdict(of).items() if v not in ("", ())}


def read(folder: Path) -> Plan:
    """Read and check the plan of a bundle from plan.json, without variants of steps. Raises BadBundle."""
    path = folder / "plan.json"
    try:
        if path.is_symlink():
            raise BadBundle(f"{path} is a symbolic link; replace it with the file itself")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise BadBundle(f"{folder} is not a bundle: it has no plan.json; make one with `intaglio compile`") from None
    except BadBundle:
        raise
    except (OSError, ValueError, RecursionError) as e:
        raise BadBundle(f"{path} is broken: {e}; compile the model again") from e
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        written = data.get("format") if isinstance(data, dict) else None
        raise BadBundle(
            f"{folder} has the format {str(written)[:40]!r}, and this version of Intaglio reads {FORMAT}; "
            f"compile the model again: intaglio compile MODEL -o {folder}"
        )
    with refusing(path):
        plan = _parse(data)
        _check(plan)
        expect(
            data["needs"] == {"features": [*plan.needs], "language": [*plan.language]},
            "`needs` is not what its kernels need",
        )
    return plan


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn the errors of parsing an untrusted file into BadBundle."""
    try:
        yield
    except BadBundle:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError, RecursionError) as e:
        raise BadBundle(f"{path} is broken: {type(e).__name__} {e}; compile the model again") from e


def expect(condition: object, what: str) -> None:
    if not condition:
        raise BadBundle(f"the plan is broken: {what}; compile the model again")


def _parse(data: dict[str, Any]) -> Plan:
    symbols = named(data["symbols"], list)
    return Plan(
        kind=typed(data["kind"], str),
        symbols={name: _range(*ends[:2]) for name, ends in symbols.items()},
        rules={name: _rule(*rest) for name, (_, _, *rest) in symbols.items() if rest},
        kernels=kernels(data["kernels"]),
        buffers=tuple(_buffer(**b) for b in items(data["buffers"], dict)),
        programs={name: _program(**p) for name, p in named(data["programs"], dict).items()},
        files=files(data["files"]),
    )


def _range(low: Any, high: Any) -> tuple[int, int]:
    return typed(low, int), typed(high, int)


def _rule(rule: Any) -> Rule:
    expect(rule.keys() == {"of", "per"}, "a symbol: expected a rule of `of` and `per`")
    return Rule(items(rule["of"], int, str), typed(rule["per"], int))


def files(data: Any) -> dict[str, File]:
    return {name: _file(**f) for name, f in named(data, dict).items()}


def kernels(data: Any) -> dict[str, Kernel]:
    return {name: _kernel(**k) for name, k in named(data, dict).items()}


def _file(sha256: str, bytes: int, pieces: Any = ()) -> File:
    return File(typed(sha256, str), typed(bytes, int), items(pieces or [], str))


def _kernel(file: str, access: Any, uniform: bool, needs: Any = ()) -> Kernel:
    return Kernel(typed(file, str), items(access, str), typed(uniform, bool), items(needs or [], str))


def _buffer(
    kind: str,
    bytes: int,
    name: str = "",
    dtype: str = "",
    shape: Any = (),
    files: Any = (),
    texture: Any = (),
    format: str = "",
) -> Buffer:
    kind, name, dtype, format = (typed(text, str) for text in (kind, name, dtype, format))
    shape, files, texture = items(shape or [], int, str), items(files or [], str), items(texture or [], int)
    return Buffer(kind, typed(bytes, int), name, dtype, shape, files, texture, format)


def _program(inputs: Any, outputs: Any, steps: Any) -> Program:
    return Program(named(inputs, int), named(outputs, int), tuple(_step(*step) for step in items(steps, list)))


def _step(kernel: str, buffers: Any, size: Any) -> Step:
    return Step(typed(kernel, str), items(buffers, int), grid(size))


def grid(data: Any) -> Grid:
    return tuple(_groups(d) for d in items(data, int, dict))


def _groups(d: Any) -> int | dict[str, Any]:
    if isinstance(d, int):
        return d
    expect(d.keys() == {"of", "per"}, "a grid: expected numbers, or objects of `of` and `per`")
    return {"of": items(d["of"], int, str), "per": typed(d["per"], int)}


def _check(plan: Plan) -> None:
    expect(WORD * len(plan.symbols) <= DEFAULT_LIMITS["max-uniform-buffer-binding-size"], "too many symbols")
    _check_symbols(plan)
    check_files(plan.files, _NAME)
    for name, kernel in plan.kernels.items():
        check_kernel(name, kernel, plan.files)
    for i in range(len(plan.buffers)):
        check_buffer(plan, i)
    names = Counter(b.name for b in plan.buffers if b.kind in SEEN)
    for name, program in plan.programs.items():
        for seen, i in (*program.inputs.items(), *program.outputs.items()):
            expect(0 <= i < len(plan.buffers), f"program {name!r}: {seen!r} has no buffer")
            expect(
                plan.buffers[i].kind in SEEN and plan.buffers[i].name == seen,
                f"program {name!r}: the buffer of {seen!r} is another tensor",
            )
        for step in program.steps:
            expect(not plan.kernels[step.kernel].needs, f"a step runs {step.kernel!r}, which needs features")
            check_step(plan, Dispatch(step.kernel, step.buffers, step.grid))
    expect(all(count == 1 for count in names.values()), "two inputs, outputs or states have the same name")


def _check_symbols(plan: Plan) -> None:
    earlier: dict[str, tuple[int, int]] = {}
    for name, (low, high) in plan.symbols.items():
        expect(
            name.isidentifier() and name.isascii() and 0 <= low <= high < 1 << 31,
            f"symbol {name!r}: expected a name and a range within 0 to 2147483647",
        )
        if rule := plan.rules.get(name):
            names = {symbol for size in rule.of for symbol in symbols_of(size)}
            expect(names <= earlier.keys(), f"symbol {name!r}: its rule names a symbol that does not come before it")
            fits = rule.per > 0 and magnitude(rule.of, earlier) < _EXACT
            expect(fits, f"symbol {name!r}: expected `per` above 0, and a product of `of` below {_EXACT}")
        earlier[name] = low, high


def check_files(files: Mapping[str, File], name: str) -> None:
    """Raise BadBundle unless the names, hashes and sizes of the files are valid. `name`: the pattern of names."""
    for path, file in files.items():
        expect(re.fullmatch(name, path), f"file name {path!r}: expected a name without other folders")
        for digest in (file.sha256, *file.pieces):
            expect(
                re.fullmatch(r"[0-9a-f]{64}", digest), f"file {path}: expected SHA-256 hashes of 64 hexadecimal digits"
            )
        expect(0 <= file.bytes < 1 << 53, f"file {path}: its size is negative or too large")
        expect(
            not file.pieces or len(file.pieces) == -(-file.bytes // PIECE),
            f"file {path}: expected a hash for each piece of {PIECE} bytes",
        )


def check_kernel(name: str, kernel: Kernel, files: Mapping[str, File]) -> None:
    """Raise BadBundle unless a kernel is valid and its shader is one of `files`."""
    expect(set(kernel.access) <= ACCESS.keys(), f"kernel {name!r}: unknown access")
    expect(set(kernel.needs) <= set(TIERS), f"kernel {name!r}: unknown feature; known are {', '.join(TIERS)}")
    kinds = Counter((bool(a.formats), a.image) for a in map(ACCESS.__getitem__, kernel.access))
    within = kinds[False, False] <= 8 and kinds[True, False] <= 16 and kinds[True, True] <= 4
    expect(within, f"kernel {name!r}: more bindings than WebGPU's default limits allow")
    expect(
        kernel.file in files and kernel.file.endswith(".wgsl"), f"kernel {name!r}: its file is not a listed .wgsl file"
    )


def check_buffer(plan: Plan, i: int) -> None:
    """Raise BadBundle unless buffer `i` is valid."""
    b = plan.buffers[i]
    expect(b.kind in KINDS, f"buffer {i}: expected the kind {', '.join(KINDS)}")
    expect(b.bytes > 0 and b.bytes % WORD == 0, f"buffer {i}: expected a size in whole words of {WORD} bytes")
    if b.texture:
        width, height = b.texture
        side = DEFAULT_LIMITS["max-texture-dimension-2d"]
        expect(0 < width <= side and 0 < height <= side, f"buffer {i}: expected a texture of 1 to {side} texels a side")
        expect(b.format in TEXELS, f"buffer {i}: unknown texture format")
        expect(b.bytes == TEXELS[b.format] * width * height, f"buffer {i}: its size is not that of its texture")
    else:
        most = DEFAULT_LIMITS["max-storage-buffer-binding-size"]
        expect(b.bytes <= most, f"buffer {i}: expected a size up to {most} bytes")
        packed = b.kind == "state" and b.format == "rgba16float"
        expect(not b.format or packed, f"buffer {i}: a texture format, but no texture")
    if b.kind == "weight":
        expect(b.files and [*b.files] == sorted(set(b.files)), f"buffer {i}: expected weight files in order")
        expect(
            all(file in plan.files and plan.files[file].pieces for file in b.files),
            f"buffer {i}: a file is not a listed weight file",
        )
    if b.kind in SEEN:
        expect(b.dtype in DTYPES and b.name, f"buffer {i}: expected a name and an element type")
        expect(
            largest(b.shape, plan.symbols) * b.each <= b.bytes, f"buffer {i}: its shape needs more bytes than it has"
        )


def check_step(plan: Plan, dispatch: Dispatch) -> None:
    """Raise BadBundle unless the kernel can run on these buffers with this grid."""
    kernel, buffers, where = plan.kernels[dispatch.kernel], dispatch.buffers, f"a step of {dispatch.kernel!r}"
    expect(len(buffers) == len(kernel.access), f"{where}: expected {len(kernel.access)} buffers, got {len(buffers)}")
    expect(all(0 <= b < len(plan.buffers) for b in buffers), f"{where}: unknown buffer")
    bound = [(plan.buffers[b], ACCESS[access]) for b, access in zip(buffers, kernel.access, strict=True)]
    fits = all((b.format if b.texture else "") in (access.formats or ("",)) for b, access in bound)
    expect(fits, f"{where}: a buffer is not what its access says")
    written = [b for b, (_, access) in zip(buffers, bound, strict=True) if access.write]
    expect(all(buffers.count(b) == 1 for b in written), f"{where} writes what it reads")
    expect(all(plan.buffers[b].kind != "weight" for b in written), f"{where} writes a weight")
    expect(len(dispatch.grid) == 3, f"{where}: expected a grid of 3 numbers, got {len(dispatch.grid)}")
    most = DEFAULT_LIMITS["max-compute-workgroups-per-dimension"]
    for d in dispatch.grid:
        of, per = ((d,), 1) if isinstance(d, int) else (d["of"], d["per"])
        fits = per > 0 and largest(of, plan.symbols) <= most * per
        expect(fits, f"{where}: expected up to {most} workgroups along each axis")
