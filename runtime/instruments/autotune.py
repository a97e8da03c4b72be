"""Times every variant of every problem on this adapter, side by side, and compares what they compute."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from intaglio.runtime.adapter_class import adapter_class
from intaglio.runtime.contract import DRAWN
from intaglio.runtime.device import open_device, tiers
from intaglio.runtime.engine import Engine
from intaglio.runtime.instruments import measure
from intaglio.runtime.instruments.clock import FEATURE, Clock, Work, clock
from intaglio.runtime.instruments.golden import Check
from intaglio.runtime.limits import TIERS
from intaglio.runtime.plan import ACCESS, Alternatives, Choice, Plan, Program, Step
from intaglio.runtime.progress import Progress
from intaglio.runtime.session import Session
from intaglio.runtime.tuning import Measurements, adapter, as_stored

_ROUNDS = 5  # for the variants that took up to _FAR times as long as the best of their problem in one round
_FAR = 4
_FINAL_ROUNDS = 25  # for the variants that may be the best of their problem
_CLOSE = 1.4  # those that took up to this many times as long as the best one in the first rounds
_TOLERANCE = 1e-3  # the error of a variant, relative to the largest number that the first variant computes


@dataclass(frozen=True)
class Timings:
    """The measurements, and each (problem, variant) that computes something else than the variant that steps run."""

    measured: Measurements
    wrong: tuple[tuple[str, str], ...]


def autotune(folder: Path, plan: Plan, checks: Sequence[Check], progress: Progress) -> Timings:
    """Time the variants of a bundle on this adapter.

    A time is the sum of the times at the sizes of the golden runs and at half of the maximum sizes, so that long and
    short prompts both count. Wrong variants are left out. Raises the errors of opening the bundle.
    """
    device = open_device([FEATURE], TIERS)
    plan = as_stored(plan, adapter_class(plan.classes, device.adapter_info)[0])
    listed = {name: _listed(plan, name, tiers(device)) for name in plan.programs}
    added = {_trial(name): Program({}, {}, tuple(step for *_, step in of)) for name, of in listed.items()}
    whole = replace(plan, programs=plan.programs | added, profiles={}, tunings=())
    session = Engine(folder, whole, progress, device).session()
    timer, times, wrong = clock(device), defaultdict(lambda: defaultdict(list)), {}
    half = {name: (low + high) // 2 for name, (low, high) in plan.bound.items()}
    runs = [run for sizes in ({}, half) for run in measure.runs(plan, checks, sizes) if listed[run.program]]
    for done, run in enumerate(runs):
        progress("variants", done, len(runs))
        trial, sizes = _trial(run.program), session.feed(run.program, run.inputs, run.symbols)
        operands = {b for *_, step in listed[run.program] for b in step.buffers if plan.buffers[b].kind != "weight"}
        session.randomize(operands, np.random.default_rng(0))
        works = [partial(session.encode, trial, sizes, slice(i, i + 1)) for i in range(len(listed[run.program]))]
        session.begin(sizes)
        wrong |= dict.fromkeys(_wrong(session, trial, sizes, listed[run.program]))
        for (problem, variant, _), seconds in zip(
            listed[run.program], _times(timer, works, listed[run.program]), strict=True
        ):
            times[problem][variant].append(seconds)
    seconds = {
        problem: {d: max(sum(rounds), 1e-9) for d, rounds in of.items() if (problem, d) not in wrong}
        for problem, of in times.items()
    }
    return Timings(Measurements(*adapter(device.adapter_info), seconds), tuple(wrong))


def _times(timer: Clock, works: Sequence[Work], listed: Sequence[tuple[str, str, Step]]) -> list[float]:
    """Return the seconds of each of these steps. Those close to the best of their problem are measured more often."""
    times = list(timer.times(works))
    for factor, rounds in ((_FAR, _ROUNDS), (_CLOSE, _FINAL_ROUNDS)):
        best: dict[str, float] = {}
        for (problem, *_), seconds in zip(listed, times, strict=True):
            best[problem] = min(seconds, best.get(problem, math.inf))
        close = [i for i, (problem, *_) in enumerate(listed) if times[i] <= factor * best[problem]]
        again = measure.median(partial(timer.times, [works[i] for i in close]), rounds)
        for i, seconds in zip(close, again, strict=True):
            times[i] = seconds
    return times


def _trial(program: str) -> str:
    return f"{program}, every variant"


def _listed(plan: Plan, program: str, granted: set[str]) -> list[tuple[str, str, Step]]:
    """Return the problem, variant and step of every variant of a program's steps, those that steps run first.

    The variants of a problem are as far apart as possible. Otherwise all but the first would find their operands in the
    adapter's caches.
    """
    steps = ((step, step.alternatives) for step in plan.programs[program].steps)
    problems = {
        alternatives.problem: (step, alternatives)
        for step, alternatives in steps
        if alternatives and not _by_options(plan, alternatives.problem)
    }
    turns = [list(_variants(plan, step, alternatives, granted)) for step, alternatives in problems.values()]
    return [listed for turn in itertools.zip_longest(*turns) for listed in turn if listed]


def _by_options(plan: Plan, problem: str) -> bool:
    """Return whether the options of a text choose the variant, because its time depends on them, not only on sizes."""
    return any(of[problem].of == DRAWN for of in plan.profiles.values() if problem in of)


def _variants(plan: Plan, step: Step, alternatives: Alternatives, granted: set[str]) -> Iterator[tuple[str, str, Step]]:
    yield alternatives.problem, alternatives.variant, step
    for variant, dispatches in step.variants.items():
        if all(set(plan.kernels[d.kernel].needs) <= granted for d in dispatches):
            yield alternatives.problem, variant, replace(step, choice=Choice((variant,)))


def _wrong(
    session: Session, trial: str, sizes: Mapping[str, int], listed: Sequence[tuple[str, str, Step]]
) -> Iterator[tuple[str, str]]:
    """Yield the problem and variant of each step that writes something else than the first variant of its problem.

    The steps run one problem after another, because a problem may write what the variants of another one read.
    """
    right: dict[str, list[np.ndarray]] = {}
    for i in session.stepwise(trial, sizes, sorted(range(len(listed)), key=lambda i: listed[i][0])):
        problem, variant, step = listed[i]
        wrote = _written(session, step)
        if not all(agree(a, b) for a, b in zip(wrote, right.setdefault(problem, wrote), strict=True)):
            yield problem, variant


def _written(session: Session, step: Step) -> list[np.ndarray]:
    plan = session.plan
    bound = zip(step.buffers, plan.kernels[step.kernel].access, strict=True)
    written = [(b, plan.buffers[b]) for b, access in bound if ACCESS[access].write]
    return [session.content(b, 0, of.bytes // of.each, "f32") for b, of in written]


def agree(actual: np.ndarray, expected: np.ndarray) -> bool:
    """Return whether two variants agree. The operands are noise, which may give NaN; then both must give NaN."""
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    return bool(np.allclose(actual, expected, rtol=0, atol=_TOLERANCE * largest, equal_nan=True))
