"""Profiles: how long every step of every program took on an adapter, beside what that adapter can do at most.

A profile is a file that may come from anywhere, so it is checked against the plan when it is read.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from intaglio.runtime.checked import items, named, typed
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.plan import Plan

FORMAT = "intaglio-profile-1"


@dataclass(frozen=True)
class Ceilings:
    """What an adapter was seen to do at best: floating-point operations and bytes of memory a second."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Timing:
    """A program at these sizes: seconds of a whole replay, by the host's clock, and of each step, by `method`."""

    symbols: dict[str, int]
    seconds: float
    steps: tuple[float, ...]


@dataclass(frozen=True)
class Profile:
    """Medians. `plan`: the hash of the plan that was measured."""

    adapter: str
    method: str
    plan: str
    ceilings: Ceilings
    programs: dict[str, Timing]


def write(profile: Profile) -> str:
    return json.dumps({"format": FORMAT, **asdict(profile)}, indent=1) + "\n"


def read(path: Path, plan: Plan) -> Profile:
    """The profile in a file, which fits the plan. Raises BadBundle."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {data['format']!r}")
        profile = Profile(
            typed(data["adapter"], str),
            typed(data["method"], str),
            typed(data["plan"], str),
            Ceilings(_positive(data["ceilings"]["flops"]), _positive(data["ceilings"]["bytes"])),
            {name: _timing(**t) for name, t in named(data["programs"], dict).items()},
        )
        if {name: len(t.steps) for name, t in profile.programs.items()} != {
            name: len(p.steps) for name, p in plan.programs.items()
        }:
            raise ValueError("it was recorded with another bundle")
        for timing in profile.programs.values():
            if timing.symbols.keys() != plan.symbols.keys():
                raise ValueError("it was recorded with another bundle")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadBundle(f"{path} is broken: {error}; record it again with `intaglio bench --profile --save`") from error
    return profile


def _timing(symbols: Any, seconds: Any, steps: Any) -> Timing:
    return Timing(named(symbols, int), _positive(seconds), tuple(map(_positive, items(steps, int, float))))


def _positive(number: Any) -> float:
    if not typed(number, int, float) >= 0 or not math.isfinite(number):
        raise ValueError(f"expected a positive time, got {number}")
    return float(number)
