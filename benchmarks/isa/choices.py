"""Which kernels of a bundle run on which class of adapters, by the bundle's own data: its profiles and variants."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

from intaglio.runtime.limits import TIERS
from intaglio.runtime.plan import Plan
from intaglio.runtime.sizes import Grid, workgroups
from intaglio.runtime.tuning import with_variants

CPU = "cpu"  # the class that runs a plan as it was compiled
# A profile is judged without subgroups: on GPUs that have them in another size, these variants are not chosen.
GRANTED = tuple(tier for tier in TIERS if tier != "subgroups")
_SIZE = re.compile(r"@workgroup_size\(([^)]*)\)")


@dataclass(frozen=True)
class Chosen:
    """A kernel, and who runs it.

    problem, variant: what it computes, and how; both are "" where there is one way only. workgroup: invocations along
    x, y, z. buffers: those of the first dispatch, by binding. grids: those of all dispatches. classes: of adapters that
    run it. dispatches: program -> how often it runs, in the first of the classes.
    """

    kernel: str
    problem: str
    variant: str
    workgroup: tuple[int, ...]
    buffers: tuple[int, ...]
    grids: tuple[Grid, ...]
    classes: tuple[str, ...] = ()
    dispatches: dict[str, int] = field(default_factory=dict)

    def invocations(self, symbols: dict[str, int]) -> int:
        """The most that a dispatch has."""
        return max(prod(workgroups(grid, symbols)) for grid in self.grids) * prod(self.workgroup)


def classes(plan: Plan) -> tuple[str, ...]:
    """The classes of adapters that a bundle has choices for."""
    return (CPU, *(name for name in plan.profiles if name != CPU))


def chosen(plan: Plan, adapter_class: str) -> Plan:
    """The whole plan with the variants that a class runs."""
    return with_variants(plan, plan.profiles.get(adapter_class, {}), GRANTED)


def choices(bundle: Path, plan: Plan, names: Iterable[str], every: bool = False) -> list[Chosen]:
    """The kernels that these classes run, in the order of the steps, each once.

    every: the other variants follow, with no class and no dispatch.
    """
    result: dict[str, Chosen] = {}
    for name in names:
        of_class = chosen(plan, name)
        for kernel in of_class.used:
            choice = result.get(kernel) or _choice(bundle, of_class, kernel)
            result[kernel] = replace(choice, classes=(*choice.classes, name))
    if every:
        for choice in _others(bundle, plan):
            result.setdefault(choice.kernel, choice)
    return list(result.values())


def _choice(bundle: Path, plan: Plan, kernel: str) -> Chosen:
    steps = [(name, s) for name, program in plan.programs.items() for s in program.steps if s.kernel == kernel]
    alternatives = next((step.alternatives for _, step in steps if step.alternatives), None)
    return Chosen(
        kernel,
        alternatives.problem if alternatives else "",
        alternatives.variant if alternatives else "",
        workgroup(bundle, plan, kernel),
        steps[0][1].buffers,
        tuple(step.grid for _, step in steps),
        dispatches=dict(Counter(name for name, _ in steps)),
    )


def _others(bundle: Path, plan: Plan) -> Iterator[Chosen]:
    for program in plan.programs.values():
        for step in program.steps:
            if not step.alternatives:
                continue
            for variant, (kernel, grid) in step.alternatives.others.items():
                size = workgroup(bundle, plan, kernel)
                yield Chosen(kernel, step.alternatives.problem, variant, size, step.buffers, (grid,))


def workgroup(bundle: Path, plan: Plan, kernel: str) -> tuple[int, ...]:
    """Invocations of a workgroup along x, y, z, out of the shader's text."""
    text = (bundle / plan.kernels[kernel].file).read_text(encoding="utf-8")
    (sizes,) = _SIZE.findall(text)
    return tuple(int(size) for size in sizes.split(",") if size.strip())
