"""designs.json: the other variants of a plan's steps, profiles and tunings. Only what opens an engine reads it.

It is separate from plan.json so that the plan stays a page that a person can read. It comes from strangers too, and is
checked as the plan is: every variant must fit the bindings of its step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from intaglio.runtime.adapter_class import AdapterClass
from intaglio.runtime.checked import items, named, typed
from intaglio.runtime.files import verify_file
from intaglio.runtime.plan import Alternatives, Buffer, Choice, Dispatch, Part, Plan, Program, Step, Storage, Tuning
from intaglio.runtime.plan_file import (
    block,
    check_buffer,
    check_files,
    check_kernel,
    check_step,
    entries,
    expect,
    files,
    grid,
    kernels,
    line,
    nonempty,
    refusing,
)
from intaglio.runtime.sizes import Size, largest

FILE = "designs.json"
FORMAT = "intaglio-designs-3"
FOLDER = "kernels/variants"
_NAME = rf"{FOLDER}/\w[\w.-]*"  # of files


def write(plan: Plan) -> str:
    """The text of designs.json: everything in the whole plan that plan.json leaves out."""
    steps: _Steps = {name: p.steps for name, p in plan.programs.items()}
    distinct = {_text(a): i for i, a in enumerate(_distinct([steps, *(s.steps for s in plan.storages)]))}
    places = _listed(steps, distinct)
    variants = {name: kernel for name, kernel in plan.kernels.items() if name not in plan.used}
    fields = [
        f'"format": {line(FORMAT)}',
        f'"files": {block(entries(variant_files(plan)), "{}", "  ")}',
        f'"kernels": {block(entries(variants), "{}", "  ")}',
        f'"scratch": {line(plan.scratch)}',
        f'"alternatives": {block([*distinct], "[]", "  ")}',
        f'"steps": {block([f"{line(name)}: {line(of)}" for name, of in places.items()], "{}", "  ")}',
        f'"storages": {block([_storage_text(plan, s, _listed(s.steps, distinct)) for s in plan.storages], "[]", "  ")}',
        f'"classes": {block([f"{line(name)}: {line(nonempty(of))}" for name, of in plan.classes.items()], "{}", "  ")}',
        f'"profiles": {block([_profile_text(name, of) for name, of in plan.profiles.items()], "{}", "  ")}',
        f'"tunings": {block([_tuning_text(t) for t in plan.tunings], "[]", "  ")}',
    ]
    return block(fields, "{}", "") + "\n"


def variant_files(plan: Plan) -> dict[str, Any]:
    """The files of the whole plan that designs.json lists, and plan.json does not."""
    return {name: file for name, file in plan.files.items() if name.startswith(FOLDER)}


_Steps = Mapping[str, tuple[Step | None, ...]]  # by program


def _distinct(steps: list[_Steps]) -> list[Alternatives]:
    """The alternatives in the order in which steps have them, each once."""
    of = (s.alternatives for each in steps for program in each.values() for s in program if s is not None)
    return [*{_text(a): a for a in of if a is not None}.values()]


def _listed(steps: _Steps, distinct: dict[str, int]) -> dict[str, list[int | None]]:
    """Where the alternatives of each step are listed, by program."""
    of = {name: [s.alternatives if s is not None else None for s in program] for name, program in steps.items()}
    return {name: [None if a is None else distinct[_text(a)] for a in each] for name, each in of.items()}


def _storage_text(plan: Plan, storage: Storage, steps: dict[str, list[int | None]]) -> str:
    """A storage, with a line for each program."""
    states = {
        plan.buffers[i].name: {k: v for k, v in nonempty(b).items() if k in ("bytes", "format")}
        for i, b in storage.states.items()
    }
    programs = block([f"{line(name)}: {line(of)}" for name, of in steps.items()], "{}", "    ")
    return f'{{"classes": {line(storage.classes)}, "states": {line(states)}, "steps": {programs}}}'


def _text(alternatives: Alternatives) -> str:
    """Alternatives, with a line for each of the other variants."""
    others = [
        f"{line(variant)}: {line([[p.kernel, p.bindings, p.grid] for p in parts])}"
        for variant, parts in alternatives.others.items()
    ]
    head = f'"problem": {line(alternatives.problem)}, "variant": {line(alternatives.variant)}'
    return f'{{{head}, "others": {block(others, "{}", "    ")}}}'


def _profile_text(name: str, choices: dict[str, Choice]) -> str:
    """A profile, with a line for each problem. A choice of one variant for all sizes is only its name."""
    lines = [
        f"{line(problem)}: {line({'variants': c.variants, 'of': c.of, 'above': c.above} if c.above else c.variants[0])}"
        for problem, c in choices.items()
    ]
    return f"{line(name)}: {block(lines, '{}', '    ')}"


def _tuning_text(tuning: Tuning) -> str:
    """A tuning, with a line for each problem."""
    variants = [f"{line(problem)}: {line(variant)}" for problem, variant in tuning.variants.items()]
    head = f'"device": {line(tuning.device)}, "driver": {line(tuning.driver)}'
    return f'{{{head}, "variants": {block(variants, "{}", "    ")}}}'


def read(folder: Path, plan: Plan) -> Plan:
    """The whole plan: `plan`, as plan.json has it, with the variants of its steps. Raises BadBundle."""
    content = verify_file(folder, plan, FILE)
    with refusing(folder / FILE):
        data = typed(json.loads(content), dict)
        expect(data["format"] == FORMAT, f"{FILE} does not have the format {FORMAT}")
        whole = _joined(plan, data)
        _check(plan, whole)
    return whole


def _joined(plan: Plan, data: dict[str, Any]) -> Plan:
    distinct = [_alternatives(**a) for a in items(data["alternatives"], dict)]
    scratch = items(data["scratch"], int)
    memory = _Memory(plan, scratch)

    def step(of: Step, place: int | None) -> Step | None:
        expect(place is None or 0 <= place < len(distinct), f"{FILE}: a step of {of.kernel!r} has unknown alternatives")
        if place is None:
            return None
        variants = {name: memory.dispatches(of, parts) for name, parts in distinct[place].others.items()}
        return replace(of, alternatives=distinct[place], variants=variants)

    def steps(of: Any) -> dict[str, tuple[Step | None, ...]]:
        places = named(of, list)
        expect(places.keys() == plan.programs.keys(), f"{FILE} lists other programs than the plan")
        return {
            name: tuple(map(step, p.steps, _places(places[name], len(p.steps)))) for name, p in plan.programs.items()
        }

    def storage(classes: Any, states: Any, steps_of: Any) -> Storage:
        buffers = dict(_stored(plan, name, **of) for name, of in named(states, dict).items())
        own = {name: tuple(s and _with_own(s) for s in each) for name, each in steps(steps_of).items()}
        return Storage(items(classes, str), buffers, own)

    own = steps(data["steps"])
    whole = replace(
        plan,
        kernels=plan.kernels | kernels(data["kernels"]),
        files=plan.files | files(data["files"]),
        programs={
            name: Program(p.inputs, p.outputs, tuple(new or old for new, old in zip(own[name], p.steps, strict=True)))
            for name, p in plan.programs.items()
        },
        scratch=scratch,
        classes={name: _adapter_class(**of) for name, of in named(data["classes"], dict).items()},
        storages=tuple(storage(of["classes"], of["states"], of["steps"]) for of in items(data["storages"], dict)),
        profiles={
            name: {problem: _choice(of) for problem, of in named(choices, str, dict).items()}
            for name, choices in named(data["profiles"], dict).items()
        },
        tunings=tuple(_tuning(**t) for t in items(data["tunings"], dict)),
    )
    return replace(whole, buffers=tuple(memory.buffers))


def _stored(plan: Plan, name: str, bytes: int, format: str = "") -> tuple[int, Buffer]:
    """The index of a state, and how a storage has it: as a buffer."""
    found = [i for i, b in enumerate(plan.buffers) if b.kind == "state" and b.name == name]
    expect(found, f"{FILE}: a storage has the state {name!r}, which the plan does not have")
    stored = replace(plan.buffers[found[0]], bytes=typed(bytes, int), texture=(), format=typed(format, str))
    return found[0], stored


def _with_own(step: Step) -> Step:
    """A step of a storage, whose default is one of its variants. Raises BadBundle unless that is a single dispatch."""
    variant = step.alternatives.variant if step.alternatives else ""
    dispatches = step.variants.get(variant, ())
    expect(len(dispatches) == 1, f"{FILE}: the default variant {variant!r} of a storage is not one dispatch")
    others = {name: of for name, of in step.variants.items() if name != variant}
    (own,) = dispatches
    return replace(step, kernel=own.kernel, buffers=own.buffers, grid=own.grid, variants=others)


class _Memory:
    """The plan's buffers, then the scratch of variants, then weights as buffers that the plan has as textures."""

    def __init__(self, plan: Plan, scratch: tuple[int, ...]) -> None:
        self.buffers = [*plan.buffers, *(Buffer("scratch", bytes) for bytes in scratch)]
        self._scratch = {f"scratch {i}": len(plan.buffers) + i for i in range(len(scratch))}
        self._copies: dict[int, int] = {}

    def dispatches(self, step: Step, parts: tuple[Part, ...]) -> tuple[Dispatch, ...]:
        """Return the dispatches of a variant of a step."""
        return tuple(Dispatch(p.kernel, tuple(self._buffer(step, b) for b in p.bindings), p.grid) for p in parts)

    def _buffer(self, step: Step, binding: int | str) -> int:
        if binding in self._scratch:
            return self._scratch[str(binding)]
        place = int(binding.removeprefix("buffer ")) if isinstance(binding, str) else binding
        expect(0 <= place < len(step.buffers), f"{FILE}: a variant of {step.kernel!r} has an unknown buffer")
        return step.buffers[place] if binding == place else self._copy(step.buffers[place])

    def _copy(self, index: int) -> int:
        """Return the index of a weight as a buffer."""
        if index not in self._copies:
            expect(self.buffers[index].kind == "weight", f"{FILE}: a buffer that is not a weight is stored otherwise")
            self._copies[index] = len(self.buffers)
            self.buffers.append(replace(self.buffers[index], texture=(), format=""))
        return self._copies[index]


def _places(data: Any, count: int) -> tuple[int | None, ...]:
    """Where the alternatives of each of a program's steps are listed."""
    expect(len(data) == count, f"{FILE} lists {len(data)} steps of a program that has {count}")
    return items(data, int, type(None))


def _alternatives(problem: str, variant: str, others: Any) -> Alternatives:
    variants = {name: tuple(_part(*part) for part in items(parts, list)) for name, parts in named(others, list).items()}
    expect(all(variants.values()), f"{FILE}: a variant without dispatches")
    return Alternatives(typed(problem, str), typed(variant, str), variants)


def _part(kernel: str, bindings: Any, size: Any) -> Part:
    return Part(typed(kernel, str), items(bindings, int, str), grid(size))


def _adapter_class(types: Any = (), vendors: Any = (), names: Any = ()) -> AdapterClass:
    return AdapterClass(items(types or [], str), items(vendors or [], int), items(names or [], str))


def _choice(of: str | dict[str, Any]) -> Choice:
    return Choice((of,)) if isinstance(of, str) else _sized(**of)


def _sized(variants: Any, of: Size, above: Any) -> Choice:
    choice = Choice(items(variants, str), typed(of, int, str), items(above, int))
    ascending = all(a < b for a, b in pairwise(choice.above))
    expect(ascending and len(choice.variants) == len(choice.above) + 1, f"{FILE}: a choice is not by ascending sizes")
    return choice


def _tuning(device: str, driver: str, variants: Any) -> Tuning:
    return Tuning(typed(device, str), typed(driver, str), named(variants, str))


def _check(plan: Plan, whole: Plan) -> None:
    listed = {name: file for name, file in whole.files.items() if name not in plan.files}
    check_files(listed, _NAME)
    expect(
        all(whole.files[name] == file for name, file in plan.files.items()),
        f"{FILE} lists a file that the plan lists otherwise",
    )
    for name, kernel in whole.kernels.items():
        if name in plan.kernels:
            expect(kernel == plan.kernels[name], f"{FILE} lists kernel {name!r}, which the plan has")
        else:
            check_kernel(name, kernel, listed)
    for program in whole.programs.values():
        for step in program.steps:
            for dispatch in (d for variant in step.variants.values() for d in variant):
                check_step(whole, dispatch)
    for i in range(len(plan.buffers), len(whole.buffers)):
        check_buffer(whole, i)
    for storage in whole.storages:
        _check_storage(whole, storage)
    for choice in (choice for choices in whole.profiles.values() for choice in choices.values()):
        largest((choice.of,), whole.symbols)


def _check_storage(whole: Plan, storage: Storage) -> None:
    """Raise BadBundle unless every step of the plan with this storage fits what it binds."""
    stored = whole.stored(storage)
    for i in storage.states:
        check_buffer(stored, i)
    for name, program in stored.programs.items():
        for own, step in zip(whole.programs[name].steps, program.steps, strict=True):
            expect(len(own.buffers) == len(step.buffers), f"{FILE}: a storage binds other buffers than {own.kernel!r}")
            for dispatch in (step.dispatches("")[0], *(d for variant in step.variants.values() for d in variant)):
                check_step(stored, dispatch)
