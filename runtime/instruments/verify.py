"""Golden values: what the programs of a bundle, and their steps, must give, against what they give on this adapter.

A check may rest on the states that the ones before it left (a step on the prefill's cache), so all run, in order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from intaglio.runtime import files
from intaglio.runtime.checked import items, named, typed
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.plan import ACCESS, SEEN, Plan, Program
from intaglio.runtime.sizes import evaluate_size

if TYPE_CHECKING:
    from intaglio.runtime.instruments.provenance import Graph, Operand
    from intaglio.runtime.session import Session

FILE = "golden.safetensors"

# The largest absolute error of a program's outputs. Elsewhere, and of what is written on the way to them: of values up
# to 1, and in proportion above.
TOLERANCES = {"mel": 1e-4, "encode": 1e-3, "prefill": 2e-3, "step": 2e-3}
TOLERANCE = 1e-4
NEGLIGIBLE = 100


@dataclass(frozen=True)
class Slice:
    """What a tensor must hold: `values` at the flat indices `at`, or everywhere in order."""

    values: np.ndarray
    at: np.ndarray | None = None


@dataclass(frozen=True)
class Check:
    """A run of a program, and what it must give: `outputs` (and states) by name, `steps` by step and binding."""

    program: str
    symbols: dict[str, int]
    inputs: dict[str, np.ndarray]
    outputs: Mapping[str, Slice]
    steps: Mapping[tuple[int, int], Slice]


@dataclass(frozen=True)
class Result:
    """One tensor of one check: the largest error of `count` compared elements, where it is, and what stands there."""

    check: int
    program: str
    output: str
    count: int
    error: float
    tolerance: float
    index: tuple[int, ...]
    value: float
    expected: float

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance

    @property
    def excess(self) -> float:
        """The error in units of the tolerance."""
        return self.error / max(self.tolerance, 1e-30)


@dataclass(frozen=True)
class Range:
    """The least and the largest of some numbers, and how many of them are infinite or none (NaN)."""

    low: float
    high: float
    odd: int

    @classmethod
    def of(cls, array: np.ndarray) -> Range:
        numbers = array.astype(np.float64)
        finite = numbers[np.isfinite(numbers)]
        ends = (float(finite.min()), float(finite.max())) if finite.size else (math.nan, math.nan)
        return cls(*ends, numbers.size - finite.size)


@dataclass(frozen=True)
class Input:
    """What a step read: the operand `name` in its shader, its `range`, and that of the part in the place of the worst
    element: an element, where the operand is broadcast to what is written, or a row."""

    name: str
    value: str
    type: str
    range: Range
    near: Range | None


@dataclass(frozen=True)
class StepResult:
    """A step: the worst of the tensors that it writes, and the range of what was compared there and of what is right.

    verdict: "ok", "wrong", or "rough", which is out of tolerance without doing harm: logarithms of almost nothing, say.
    doubtful: steps out of tolerance, or with nothing to be compared with, on which this one rests. inputs: what
    the first wrong step read.
    """

    step: int
    kernel: str
    nodes: tuple[str, ...]
    worst: Result
    wrote: Range
    right: Range
    verdict: str = "ok"
    doubtful: tuple[int, ...] = ()
    inputs: tuple[Input, ...] = ()


# golden.safetensors


def golden(folder: Path, plan: Plan) -> list[Check]:
    """The golden checks of a bundle; none where the compiler did not know the model's sizes. Raises BadBundle."""
    if FILE not in plan.files:
        return []
    files.verify_file(folder, plan, FILE)
    try:
        with safe_open(folder / FILE, framework="numpy") as file:
            checks = items(json.loads((file.metadata() or {})["checks"]), dict)
            shapes = {b.name: b.shape for b in plan.buffers if all(isinstance(d, int) for d in b.shape)}
            return [_check(file, shapes, i, **check) for i, check in enumerate(checks)]
    except (SafetensorError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise _broken(folder / FILE, error) from error


def _broken(path: Path | str, error: Exception | str) -> BadBundle:
    return BadBundle(f"{path} is broken: {error}; compile the model again")


def _check(
    file: Any,
    shapes: Mapping[str, tuple[int, ...]],
    i: int,
    program: Any,
    symbols: Any,
    inputs: Any,
    expected: Any,
    steps: Any,
) -> Check:
    pieces = [items(piece, int) for piece in items(steps, list)]
    ends = np.cumsum([0, *(count for _, _, count in pieces)])
    at, values = (file.get_tensor(f"{i}.steps.{kind}") for kind in ("at", "is"))
    if len(at) != ends[-1]:
        raise ValueError("the values of steps are not as many as it says")
    parts = [slice(*ends[k : k + 2]) for k in range(len(pieces))]
    return Check(
        typed(program, str),
        named(symbols, int),
        {name: _whole(file.get_tensor(f"{i}.in.{name}"), shapes.get(name)) for name in items(inputs, str)},
        {name: _slice(*(file.get_tensor(f"{i}.{k}.{name}") for k in ("is", "at"))) for name in items(expected, str)},
        {(step, binding): _slice(values[p], at[p]) for (step, binding, _), p in zip(pieces, parts, strict=True)},
    )


def _whole(array: np.ndarray, shape: tuple[int, ...] | None) -> np.ndarray:
    """An input with the repetitions at the end of its last axis, which are not stored."""
    if not shape or not array.size or array.shape[:-1] != shape[:-1] or array.shape[-1] >= shape[-1]:
        return array
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, shape[-1] - array.shape[-1])], mode="edge")


def _slice(values: np.ndarray, at: np.ndarray) -> Slice:
    if at.shape != values.shape or at.ndim != 1 or not at.size or at.dtype.kind not in "iu" or at.min() < 0:
        raise ValueError("values and their places do not fit together")
    return Slice(values, at)


# running


def outputs(session: Session, checks: Iterable[Check], tolerance: float | None = None) -> Iterator[Result]:
    """Run every check and compare its outputs; `tolerance` replaces the programs' own. Raises BadBundle."""
    for i, check in enumerate(checks):
        try:
            made = session.run(check.program, check.inputs, check.symbols)
            rest = {name: session.read(name, check.symbols) for name in check.outputs.keys() - made.keys()}
        except (KeyError, ValueError) as error:
            raise _broken(FILE, error) from error
        for name, wanted in check.outputs.items():
            most = limit(check.program, wanted) if tolerance is None else tolerance
            yield compare((i, check.program, name), (made | rest)[name], wanted, most)


def steps(
    session: Session, graph: Graph, checks: Iterable[Check], tolerance: float | None = None
) -> Iterator[StepResult]:
    """Run every check step by step and compare what each step writes, in order. Raises BadBundle."""
    for i, check in enumerate(checks):
        found = {run.step: result for run in _replay(session, graph, check) if (result := run.result(i, tolerance))}
        readers = graph.readers(session.plan, check.program)
        wrong = _wrong(session.plan, session.plan.programs[check.program], readers, found)
        if wrong:
            first = next(run for run in _replay(session, graph, check) if run.step == min(wrong))
            found[first.step] = replace(found[first.step], inputs=tuple(first.inputs(found[first.step].worst)))
        for step, result in found.items():
            verdict = "wrong" if step in wrong else "ok" if result.worst.passed else "rough"
            yield replace(result, verdict=verdict, doubtful=_doubtful(step, readers, found))


def _wrong(plan: Plan, program: Program, readers: Sequence[set[int]], found: Mapping[int, StepResult]) -> set[int]:
    """The steps that are out of tolerance and whose error goes on to an output or a state.

    An error a hundred times smaller than what comes of it is not the cause.
    """
    spread: set[int] = set()
    for i, step in reversed(list(enumerate(program.steps))):
        bound = zip(step.buffers, plan.kernels[step.kernel].access, strict=True)
        kept = any(ACCESS[access].write and plan.buffers[b].kind in SEEN for b, access in bound)
        if (kept or readers[i] & spread) and _bad(i, found):
            spread.add(i)
    excess = {i: found[i].worst.excess for i in spread & found.keys()}
    most = max((e for e in excess.values() if math.isfinite(e)), default=0)
    return {i for i, e in excess.items() if e >= most / NEGLIGIBLE}


def _doubtful(step: int, readers: Sequence[set[int]], found: Mapping[int, StepResult]) -> tuple[int, ...]:
    result = {step}
    for i in reversed(range(step)):
        if readers[i] & result and _bad(i, found):
            result.add(i)
    return tuple(sorted(result - {step}))


def _bad(step: int, found: Mapping[int, StepResult]) -> bool:
    return step not in found or not found[step].worst.passed


def _replay(session: Session, graph: Graph, check: Check) -> Iterator[_Run]:
    try:
        known = session.feed(check.program, check.inputs, check.symbols)
    except (KeyError, ValueError) as error:
        raise _broken(FILE, error) from error
    for step in session.stepwise(check.program, known):
        yield _Run(session, graph, check, step, known)


class _Run:
    """A step that has just run, its operands still in place."""

    def __init__(self, session: Session, graph: Graph, check: Check, step: int, symbols: Mapping[str, int]) -> None:
        self.step, self._session, self._check, self._symbols = step, session, check, symbols
        self._operands = graph.work[check.program][step].operands
        self._nodes = graph.operation(check.program, step).nodes
        self._described = session.plan.programs[check.program].steps[step]
        self._access = session.plan.kernels[self._described.kernel].access

    def result(self, check: int, tolerance: float | None) -> StepResult | None:
        """How the step did in the check with this number, None if there is nothing to compare with."""
        wanted = {
            b: self._check.steps[self.step, b]
            for b in range(len(self._operands))
            if (self.step, b) in self._check.steps
        }
        found = []
        for binding, right in wanted.items():
            wrote, where = self._content(binding), (check, self._check.program, self._operands[binding].value)
            result = compare(where, wrote, right, self._most(binding, right, tolerance))
            found.append((result, wrote if right.at is None else wrote.reshape(-1)[right.at], right.values))
        if not found:
            return None
        worst, wrote, right = max(found, key=lambda f: (not f[0].passed, f[0].excess))
        return StepResult(self.step, self._described.kernel, self._nodes, worst, Range.of(wrote), Range.of(right))

    def _most(self, binding: int, right: Slice, tolerance: float | None) -> float:
        """The largest error: that of an output is one with it, and of other values is in proportion to them."""
        if self._session.plan.buffers[self._described.buffers[binding]].kind == "output":
            return limit(self._check.program, right) if tolerance is None else tolerance
        return _scale(right) * (TOLERANCES.get(self._check.program, TOLERANCE) if tolerance is None else tolerance)

    def inputs(self, worst: Result) -> Iterator[Input]:
        """What the step read."""
        written = next(self._shape(o) for o in self._operands if o.value == worst.output)
        for binding, (operand, access) in enumerate(zip(self._operands, self._access, strict=True)):
            shape = self._shape(operand)
            buffer = self._session.plan.buffers[self._described.buffers[binding]]
            packed = math.prod(shape) > buffer.bytes // buffer.each  # into fewer words than the weight has numbers
            if ACCESS[access].write or packed:
                continue
            content = self._content(binding)
            near = None if operand.layout not in ("", "flat") else _near(content, worst.index, written)
            type = f"{operand.dtype}[{','.join(map(str, shape))}]"
            yield Input(operand.name, operand.value, type, Range.of(content), near)

    def _content(self, binding: int) -> np.ndarray:
        operand = self._operands[binding]
        shape, first = self._shape(operand), evaluate_size(operand.offset, self._symbols)
        flat = self._session.content(self._described.buffers[binding], first, math.prod(shape), operand.dtype)
        return flat.reshape(shape)

    def _shape(self, operand: Operand) -> tuple[int, ...]:
        return tuple(evaluate_size(d, self._symbols) for d in operand.shape)


def _near(array: np.ndarray, index: tuple[int, ...], written: tuple[int, ...]) -> Range | None:
    """What `array` holds in the place of an element of what is written; None if their shapes have nothing in common."""
    lead = len(written) - array.ndim
    if lead >= 0 and all(d in (1, w) for d, w in zip(array.shape, written[lead:], strict=True)):
        place = tuple(0 if d == 1 else i for d, i in zip(array.shape, index[lead:], strict=True))
        return Range.of(array[place])
    if array.ndim > 1 and array.shape[:-1] == written[:-1]:
        return Range.of(array[index[:-1]])
    return None


def limit(program: str, wanted: Slice) -> float:
    """The largest error of an output of a program."""
    return TOLERANCES.get(program, TOLERANCE * _scale(wanted))


def _scale(wanted: Slice) -> float:
    finite = np.abs(wanted.values[np.isfinite(wanted.values)].astype(np.float64))
    return max(1.0, float(finite.max(initial=0)))


def compare(where: tuple[int, str, str], actual: np.ndarray, wanted: Slice, tolerance: float) -> Result:
    """The elements of `actual` that are compared, against what they should be; NaN is infinitely wrong."""
    flat, at = actual.reshape(-1), wanted.at if wanted.at is not None else np.arange(actual.size)
    if len(at) != wanted.values.size or at.max() >= flat.size:
        raise _broken(FILE, f"{where[2]} of {where[1]} has {flat.size} elements")
    values, right = (a.reshape(-1).astype(np.float64) for a in (flat[at], wanted.values))
    with np.errstate(invalid="ignore"):
        errors = np.where(values == right, 0, np.abs(values - right))
    errors[np.isnan(errors)] = np.inf
    worst = int(errors.argmax())
    index = tuple(map(int, np.unravel_index(at[worst], actual.shape)))
    return Result(
        *where, len(right), float(errors[worst]), float(tolerance), index, float(values[worst]), float(right[worst])
    )
