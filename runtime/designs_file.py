"""designs.json: the other variants of a plan's steps, profiles and tunings. Only what opens an engine reads it.

It is separate from plan.json so that the plan stays a page that a person can read. It comes from strangers too, and is
checked as the plan is: every variant must fit the bindings of its step.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from intaglio.runtime.checked import items, named, typed
from intaglio.runtime.files import verify_file
from intaglio.runtime.plan import Alternatives, Plan, Program, Step, Tuning
from intaglio.runtime.plan_file import (
    block,
    check_files,
    check_kernel,
    check_step,
    entries,
    expect,
    files,
    grid,
    kernels,
    line,
    refusing,
)

FILE = "designs.json"
FORMAT = "intaglio-designs-1"
FOLDER = "kernels/variants"
_NAME = rf"{FOLDER}/\w[\w.-]*"  # of files


def write(plan: Plan) -> str:
    """The text of designs.json: everything in the whole plan that plan.json leaves out."""
    steps = {name: [s.alternatives for s in p.steps] for name, p in plan.programs.items()}
    distinct = {_text(a): i for i, a in enumerate(_distinct(steps))}
    places = {name: [None if a is None else distinct[_text(a)] for a in of] for name, of in steps.items()}
    variants = {name: kernel for name, kernel in plan.kernels.items() if name not in plan.used}
    profiles = [f"{line(name)}: {line(variants)}" for name, variants in plan.profiles.items()]
    fields = [
        f'"format": {line(FORMAT)}',
        f'"files": {block(entries(variant_files(plan)), "{}", "  ")}',
        f'"kernels": {block(entries(variants), "{}", "  ")}',
        f'"alternatives": {block([*distinct], "[]", "  ")}',
        f'"steps": {block([f"{line(name)}: {line(of)}" for name, of in places.items()], "{}", "  ")}',
        f'"profiles": {block(profiles, "{}", "  ")}',
        f'"tunings": {block([_tuning_text(t) for t in plan.tunings], "[]", "  ")}',
    ]
    return block(fields, "{}", "") + "\n"


def variant_files(plan: Plan) -> dict[str, Any]:
    """The files of the whole plan that designs.json lists, and plan.json does not."""
    return {name: file for name, file in plan.files.items() if name.startswith(FOLDER)}


def _distinct(steps: dict[str, list[Alternatives | None]]) -> list[Alternatives]:
    """In the order in which steps have them, each once."""
    return [*{_text(a): a for of in steps.values() for a in of if a is not None}.values()]


def _text(alternatives: Alternatives) -> str:
    """Alternatives, with a line for each of the other variants."""
    others = [f"{line(variant)}: {line(other)}" for variant, other in alternatives.others.items()]
    head = f'"problem": {line(alternatives.problem)}, "variant": {line(alternatives.variant)}'
    return f'{{{head}, "others": {block(others, "{}", "    ")}}}'


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
    places = named(data["steps"], list)
    expect(places.keys() == plan.programs.keys(), f"{FILE} lists other programs than the plan")

    def step(of: Step, place: int | None) -> Step:
        expect(place is None or 0 <= place < len(distinct), f"{FILE}: a step of {of.kernel!r} has unknown alternatives")
        return of if place is None else replace(of, alternatives=distinct[place])

    return replace(
        plan,
        kernels=plan.kernels | kernels(data["kernels"]),
        files=plan.files | files(data["files"]),
        programs={
            name: Program(p.inputs, p.outputs, tuple(map(step, p.steps, _places(places[name], len(p.steps)))))
            for name, p in plan.programs.items()
        },
        profiles={name: named(variants, str) for name, variants in named(data["profiles"], dict).items()},
        tunings=tuple(_tuning(**t) for t in items(data["tunings"], dict)),
    )


def _places(data: Any, count: int) -> tuple[int | None, ...]:
    """Where the alternatives of each of a program's steps are listed."""
    expect(len(data) == count, f"{FILE} lists {len(data)} steps of a program that has {count}")
    return items(data, int, type(None))


def _alternatives(problem: str, variant: str, others: Any) -> Alternatives:
    variants = {name: (typed(kernel, str), grid(size)) for name, (kernel, size) in named(others, list).items()}
    return Alternatives(typed(problem, str), typed(variant, str), variants)


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
            for kernel, size in step.alternatives.others.values() if step.alternatives else ():
                check_step(whole, kernel, step.buffers, size)
