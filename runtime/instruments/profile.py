"""Profiles: how long every step of every program took on an adapter, and that adapter's peak rates.

A profile may come from an untrusted source, so it is checked against the plan when it is read.
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

FORMAT = "intaglio-profile-2"


@dataclass(frozen=True)
class Ceilings:
    """The peak rates measured on an adapter: floating-point operations and bytes of memory per second."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Timing:
    """The times of a program at these sizes: seconds of a whole run by the host's clock, and of each step by the
    profile's `method`."""

    symbols: dict[str, int]
    seconds: float
    steps: tuple[float, ...]


@dataclass(frozen=True)
class Profile:
    """The median times of a bundle's programs. `plan`: the hash of the plan that was measured."""

    adapter: str
    adapter_class: str
    method: str
    plan: str
    ceilings: Ceilings
    programs: dict[str, Timing]


def write(profile: Profile) -> str:
    return json.dumps({"format": FORMAT, **asdict(profile)}, indent=1) + "\n"


def read(path: Path, plan: Plan) -> Profile:
    """Read a profile from a file. Raises BadBundle if it does not fit the plan."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {data['format']!r}")
        profile = Profile(
            typed(data["adapter"], str),
            typed(data["adapter_class"], str),
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
