"""plan.json: written so that a person can read it; read with every index, size, name and hash checked."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from intaglio.runtime.checked import items, named, typed
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.limits import DEFAULT_LIMITS, TEXELS, TIERS, WORD
from intaglio.runtime.plan import ACCESS, DTYPES, KINDS, SEEN, Buffer, Choice, Kernel, Plan, Program, Step, Tuning
from intaglio.runtime.sizes import Grid, largest

FORMAT = "intaglio-1"


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
        _expect(largest(b.shape, plan.symbols) * b.each <= b.bytes, f"the shape of buffer {i}")


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
        _expect(per > 0 and largest(of, plan.symbols) <= limit * per, f"the grid of {where}")
