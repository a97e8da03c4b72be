"""Tuning: which of its designs a step has on which adapter. That is timed by `intaglio tune`, and looked up at load.

A tuning file may come from anywhere, so it is checked when it is read.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from intaglio.runtime.checked import named, typed
from intaglio.runtime.plan import Choice, Plan, Program, Step, Tuning

FORMAT = "intaglio-tuning-1"
_MARGIN = 0.97  # of the time of what a step does already: what gains less is noise


@dataclass(frozen=True)
class Measured:
    """Seconds that each design took on an adapter with this driver, by case."""

    device: str
    driver: str
    seconds: dict[str, dict[str, float]]

    def with_more(self, other: Measured) -> Measured:
        """Both, what `other` measured in the place of what this did. Raises ValueError if the adapters differ."""
        if (self.device, self.driver) != (other.device, other.driver):
            raise ValueError(f"the tuning file is for {self.device}, {self.driver}; name another one with -o")
        return Measured(self.device, self.driver, self.seconds | other.seconds)

    def tuning(self, choices: Iterable[Choice]) -> Tuning:
        """What these choices should be. One whose case was not measured goes by the others of its family."""
        families = self._families()
        found = {c.case: _fastest(self.seconds.get(c.case) or families.get(family(c.case), {}), c) for c in choices}
        best = {c.case: c.design for c in choices}
        return Tuning(self.device, self.driver, {k: v for k, v in sorted(found.items()) if v != best[k]})

    def _families(self) -> dict[str, dict[str, float]]:
        """Of each family the designs that all its cases have, with the mean of what they take beside the best."""
        cases: dict[str, list[dict[str, float]]] = defaultdict(list)
        for case, seconds in self.seconds.items():
            cases[family(case)].append({design: s / min(seconds.values()) for design, s in seconds.items()})
        return {
            name: {d: math.prod(s[d] for s in ratios) ** (1 / len(ratios)) for d in set.intersection(*map(set, ratios))}
            for name, ratios in cases.items()
        }


_Known = TypeVar("_Known", Tuning, Measured)


def family(case: str) -> str:
    """A case without its sizes."""
    return case.rpartition(" ")[0]


def _fastest(seconds: Mapping[str, float], choice: Choice) -> str:
    known = {d: s for d, s in sorted(seconds.items()) if d in choice.others}
    best = min(known, key=known.__getitem__, default=choice.design)
    return best if best in known and known[best] < _MARGIN * seconds.get(choice.design, math.inf) else choice.design


def read(path: Path) -> Measured:
    """The content of a tuning file. Raises ValueError if it is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(f"it is not of format {FORMAT}")
        seconds = {case: named(s, float) for case, s in named(data["seconds"], dict).items()}
        if not all(s and all(0 < x < math.inf for x in s.values()) for s in seconds.values()):
            raise ValueError("a time is not positive")
        return Measured(typed(data["device"], str), typed(data["driver"], str), seconds)
    except OSError as e:
        raise ValueError(f"{path} is unreadable: {e.strerror}") from e
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as e:
        raise ValueError(f"{path} is no tuning file, as `intaglio tune` writes them: {e}") from e


def write(measured: Measured) -> str:
    return json.dumps({"format": FORMAT, **asdict(measured)}, indent=1, sort_keys=True) + "\n"


def adapter(info: Mapping[str, str]) -> tuple[str, str]:
    """What tells adapters apart: the device and its driver."""
    return info["device"], info["description"]


def tuned(plan: Plan, info: Mapping[str, str], granted: Iterable[str]) -> Plan:
    """The plan with the designs for an adapter: those for it and its driver, else for it, else for one that differs in
    what drivers add to its name in brackets only. There, designs that need a feature are left alone: how many
    invocations a subgroup has may be such a difference.

    info: what wgpu tells of the adapter; granted: the features of the device.
    """
    best = closest(plan.tunings, info)
    if best is None:
        return plan
    return redesigned(plan, best.choices, granted if best.device == info["device"] else ())


def closest(known: Iterable[_Known], info: Mapping[str, str]) -> _Known | None:
    """That of the same device and driver, else of the same device, else of one whose name differs in brackets only."""
    device, driver = adapter(info)
    alike = [t for t in known if _name(t.device) == _name(device)]
    return min(alike, key=lambda t: (t.device != device, t.driver != driver), default=None)


def _name(device: str) -> str:
    return device.partition(" (")[0]


def redesigned(plan: Plan, designs: Mapping[str, str], granted: Iterable[str]) -> Plan:
    """The plan whose steps have these designs, by case, as far as there are such and the features allow them."""

    def usable(choice: Choice, design: str) -> bool:
        return design in choice.others and set(plan.kernels[choice.others[design][0]].needs) <= set(granted)

    def step(of: Step) -> Step:
        if of.choice is None or not usable(of.choice, design := designs.get(of.choice.case, "")):
            return of
        others = of.choice.others | {of.choice.design: (of.kernel, of.grid)}
        kernel, grid = others.pop(design)
        return Step(kernel, of.buffers, grid, replace(of.choice, design=design, others=others))

    return each_step(plan, lambda steps: tuple(map(step, steps)))


def each_step(plan: Plan, change: Callable[[tuple[Step, ...]], tuple[Step, ...]]) -> Plan:
    """The plan with other steps in every program."""
    programs = {name: Program(p.inputs, p.outputs, change(p.steps)) for name, p in plan.programs.items()}
    return replace(plan, programs=programs)
