"""Which kernels of a bundle run on which class of adapters, by the bundle's own data: its profiles and variants."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

from intaglio.runtime.plan import Plan, Step
from intaglio.runtime.sizes import Grid, workgroups
from intaglio.runtime.tuning import of_class

CPU = "cpu"  # the class that runs a plan as it was compiled
_SIZE = re.compile(r"@workgroup_size\(([^)]*)\)")


@dataclass(frozen=True)
class Chosen:
    """A kernel, and who runs it.

    problem, variant: what it computes, and how; both are "" where there is one way only. workgroup: invocations along
    x, y, z. buffers: those of the first dispatch, by binding. grids: those of all dispatches. classes: of adapters that
    run it. dispatches: program -> in how many of its steps it runs, or may run, in the first of the classes.
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
    return (CPU, *(name for name in plan.classes if name != CPU))


def choices(bundle: Path, plan: Plan, names: Iterable[str], every: bool = False) -> list[Chosen]:
    """The kernels that these classes run, in the order of the steps, each once.

    every: the other variants follow, with no class.
    """
    result: dict[str, Chosen] = {}
    for name in names:
        for own in _chosen(bundle, of_class(plan, name), _running):
            before = result.get(own.kernel, own)
            result[own.kernel] = replace(before, classes=(*before.classes, name))
    if every:
        for other in _chosen(bundle, plan, lambda step: step.variants):
            result.setdefault(other.kernel, other)
    return list(result.values())


def _running(step: Step) -> Iterable[str]:
    """The variants that a step runs, at some sizes."""
    if step.choice:
        return step.choice.variants
    return (step.alternatives.variant if step.alternatives else "",)


def _chosen(bundle: Path, plan: Plan, variants: Callable[[Step], Iterable[str]]) -> list[Chosen]:
    """The kernels of these variants of each step."""
    result: dict[str, Chosen] = {}
    for program, of in plan.programs.items():
        for step in of.steps:
            problem = step.alternatives.problem if step.alternatives else ""
            for variant in variants(step):
                for d in step.dispatches(variant):
                    size = workgroup(bundle, plan, d.kernel)
                    own = result.setdefault(d.kernel, Chosen(d.kernel, problem, variant, size, d.buffers, (), (), {}))
                    counts = own.dispatches | {program: own.dispatches.get(program, 0) + 1}
                    result[d.kernel] = replace(own, grids=(*own.grids, d.grid), dispatches=counts)
    return list(result.values())


def workgroup(bundle: Path, plan: Plan, kernel: str) -> tuple[int, ...]:
    """Invocations of a workgroup along x, y, z, out of the shader's text."""
    text = (bundle / plan.kernels[kernel].file).read_text(encoding="utf-8")
    (sizes,) = _SIZE.findall(text)
    return tuple(int(size) for size in sizes.split(",") if size.strip())
