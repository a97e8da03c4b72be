"""Tuning: which variant of each kernel runs on which adapter. `intaglio tune` times them; loading only looks them up.

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

from intaglio.runtime.adapter_class import adapter_class, forced
from intaglio.runtime.checked import named, typed
from intaglio.runtime.plan import Alternatives, Choice, Plan, Program, Step, Tuning

FORMAT = "intaglio-tuning-2"
_MARGIN = 0.97  # of the time of the present variant: a smaller gain is noise


@dataclass(frozen=True)
class Measurements:
    """Seconds that each variant took on an adapter with this driver, by problem."""

    device: str
    driver: str
    seconds: dict[str, dict[str, float]]

    def with_more(self, other: Measurements) -> Measurements:
        """Both; the times of `other` replace those here. Raises ValueError if the adapters differ."""
        if (self.device, self.driver) != (other.device, other.driver):
            raise ValueError(f"the tuning file is for {self.device}, {self.driver}; write to another file with -o")
        return Measurements(self.device, self.driver, self.seconds | other.seconds)

    def tuning(self, alternatives: Iterable[Alternatives]) -> Tuning:
        """The variants to use. A problem that was not measured uses the times of others of its family, if any."""
        families = self._families()
        fastest = {
            c.problem: _fastest(self.seconds.get(c.problem) or families.get(family(c.problem), {}), c)
            for c in alternatives
        }
        return Tuning(self.device, self.driver, {k: v for k, v in sorted(fastest.items()) if v})

    def _families(self) -> dict[str, dict[str, float]]:
        """For each family, the variants that all of its problems have, with their mean time relative to the best."""
        problems: dict[str, list[dict[str, float]]] = defaultdict(list)
        for problem, seconds in self.seconds.items():
            problems[family(problem)].append({variant: s / min(seconds.values()) for variant, s in seconds.items()})
        return {
            name: {d: math.prod(s[d] for s in ratios) ** (1 / len(ratios)) for d in set.intersection(*map(set, ratios))}
            for name, ratios in problems.items()
        }


_Known = TypeVar("_Known", Tuning, Measurements)


def family(problem: str) -> str:
    """A problem without its sizes."""
    return problem.rpartition(" ")[0]


def _fastest(seconds: Mapping[str, float], each: Alternatives) -> str:
    """The fastest of a problem's variants; "" if none was measured."""
    times = {d: s for d, s in sorted(seconds.items()) if d in each.others}
    best = min(times, key=times.__getitem__, default="")
    if each.variant not in seconds:
        return best
    return best if best and times[best] < _MARGIN * seconds[each.variant] else each.variant


def read(path: Path) -> Measurements:
    """The content of a tuning file. Raises ValueError if it is not one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {data['format']!r}")
        seconds = {problem: named(s, float) for problem, s in named(data["seconds"], dict).items()}
        if not all(s and all(0 < x < math.inf for x in s.values()) for s in seconds.values()):
            raise ValueError("a time is not positive")
        return Measurements(typed(data["device"], str), typed(data["driver"], str), seconds)
    except OSError as e:
        raise ValueError(f"{path} cannot be read: {e.strerror}") from e
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as e:
        raise ValueError(f"{path} is not a tuning file that `intaglio tune` wrote: {e}") from e


def write(measured: Measurements) -> str:
    return json.dumps({"format": FORMAT, **asdict(measured)}, indent=1, sort_keys=True) + "\n"


def adapter(info: Mapping[str, str]) -> tuple[str, str]:
    """What identifies an adapter: the device and its driver."""
    return info["device"], info["description"]


def tuned(plan: Plan, info: Mapping[str, str], granted: Iterable[str]) -> Plan:
    """The plan with the variants for an adapter: those that were measured on it, and else those for its class.

    A class that INTAGLIO_ADAPTER_CLASS forces goes before measurements.

    info: wgpu's description of the adapter. granted: the tiers that the device has. Raises ValueError if the class that
    is forced does not exist.
    """
    suited = of_class(plan, adapter_class(plan.classes, info)[0], granted)
    return suited if forced() else as_measured(suited, info, granted)


def as_measured(plan: Plan, info: Mapping[str, str], granted: Iterable[str]) -> Plan:
    """The plan with the variants of its tuning for this adapter, if it has one.

    A tuning counts if it was measured on the same device and driver, else on the same device, else on a device whose
    name differs only in brackets. In the last case, its variants that need a feature are left out, because the size of
    a subgroup may be the difference.
    """
    best = closest(plan.tunings, info)
    if best is None:
        return plan
    choices = {problem: Choice((variant,)) for problem, variant in best.variants.items()}
    return with_choices(plan, choices, granted if best.device == info["device"] else ())


def of_class(plan: Plan, name: str, granted: Iterable[str] = ()) -> Plan:
    """The plan as a class of adapters stores states, with its profile's variants; those of plan.json if it has none."""
    return with_choices(as_stored(plan, name), plan.profiles.get(name, {}), granted)


def as_stored(plan: Plan, name: str) -> Plan:
    """The plan as a class of adapters stores states. Nothing that is measured is of two storages."""
    storage = next((s for s in plan.storages if name in s.classes), None)
    return plan.stored(storage) if storage else plan


def closest(entries: Iterable[_Known], info: Mapping[str, str]) -> _Known | None:
    """The entry of the same device and driver, else of the device, else of one whose name differs only in brackets."""
    device, driver = adapter(info)
    alike = [t for t in entries if _name(t.device) == _name(device)]
    return min(alike, key=lambda t: (t.device != device, t.driver != driver), default=None)


def _name(device: str) -> str:
    return device.partition(" (")[0]


def with_choices(plan: Plan, choices: Mapping[str, Choice], granted: Iterable[str]) -> Plan:
    """The plan with these choices, by problem, where a step has the variants and the tiers allow them."""
    tiers = set(granted)

    def usable(of: Step, variant: str) -> bool:
        own = of.alternatives is not None and variant == of.alternatives.variant
        return own or (
            variant in of.variants and all(set(plan.kernels[d.kernel].needs) <= tiers for d in of.variants[variant])
        )

    def step(of: Step) -> Step:
        choice = choices.get(of.alternatives.problem) if of.alternatives else None
        return replace(of, choice=choice) if choice and all(usable(of, v) for v in choice.variants) else of

    return each_step(plan, lambda steps: tuple(map(step, steps)))


def each_step(plan: Plan, change: Callable[[tuple[Step, ...]], tuple[Step, ...]]) -> Plan:
    """The plan with other steps in every program."""
    programs = {name: Program(p.inputs, p.outputs, change(p.steps)) for name, p in plan.programs.items()}
    return replace(plan, programs=programs)
