"""Compares what the programs of a bundle and their steps compute on this adapter with the bundle's golden values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from intaglio.runtime.instruments.golden import Check, Slice, broken
from intaglio.runtime.plan import ACCESS, SEEN, Plan, Program
from intaglio.runtime.sizes import evaluate_size

if TYPE_CHECKING:
    from intaglio.runtime.instruments.provenance import Graph, Operand
    from intaglio.runtime.session import Session

NEGLIGIBLE = 100  # an error is not the cause of an error that is this many times larger


@dataclass(frozen=True)
class Result:
    """One tensor of one golden check: the largest absolute error of `count` elements, its index, and both values.

    by: what computed the expected values of an output, such as onnxruntime with its version.
    """

    check: int
    program: str
    output: str
    count: int
    error: float
    tolerance: float
    index: tuple[int, ...]
    value: float
    expected: float
    by: str = ""

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance

    @property
    def excess(self) -> float:
        """Return the error in units of the tolerance."""
        return self.error / max(self.tolerance, 1e-30)


@dataclass(frozen=True)
class Range:
    """The smallest and the largest finite number of an array, and how many of its numbers are infinite or NaN."""

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
    """What a step read: the operand `name` in its shader.

    range: the range of all its numbers. near: the range of the part that belongs to the worst element: one element if
    the operand is broadcast to what is written, or a row.
    """

    name: str
    value: str
    type: str
    range: Range
    near: Range | None


@dataclass(frozen=True)
class StepResult:
    """One step: the worst of the tensors that it wrote, and the ranges of the values it wrote and of the right ones.

    verdict: "ok", "wrong", or "rough": out of tolerance without an effect on the outputs.
    doubtful: earlier steps that this one depends on and that are out of tolerance or could not be compared.
    inputs: what the first wrong step read.
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


def _within(checks: Iterable[Check], plan: Plan, tolerance: float | None) -> Iterator[Check]:
    """Yield the checks for the storage of a plan, with `tolerance` instead of theirs unless it is None."""
    for check in (check.on(plan) for check in checks):
        if tolerance is None:
            yield check
        else:
            yield replace(check, tolerances=dict.fromkeys(check.outputs, tolerance), tolerance=tolerance)


def outputs(session: Session, checks: Iterable[Check], tolerance: float | None = None) -> Iterator[Result]:
    """Run every check and compare its outputs.

    tolerance: replaces those of the checks. Raises BadBundle if the checks do not fit the bundle.
    """
    for i, check in enumerate(_within(checks, session.plan, tolerance)):
        try:
            values = session.run(check.program, check.inputs, check.symbols)
            rest = {name: session.read(name, check.symbols) for name in check.outputs.keys() - values.keys()}
        except (KeyError, ValueError) as error:
            raise broken(error) from error
        for name, expected in check.outputs.items():
            allowed = check.output_tolerance(name, expected)
            yield replace(compare((i, check.program, name), (values | rest)[name], expected, allowed), by=check.by)


def steps(
    session: Session, graph: Graph, checks: Iterable[Check], tolerance: float | None = None
) -> Iterator[StepResult]:
    """Run every check step by step and compare what each step writes, in order.

    tolerance: replaces those of the checks. Raises BadBundle if the checks do not fit the bundle.
    """
    for i, check in enumerate(_within(checks, session.plan, tolerance)):
        results = {run.step: result for run in _replay(session, graph, check) if (result := run.result(i))}
        readers = graph.readers(session.plan, check.program)
        wrong = _wrong(session.plan, session.plan.programs[check.program], readers, results)
        if wrong:
            first = next(run for run in _replay(session, graph, check) if run.step == min(wrong))
            results[first.step] = replace(results[first.step], inputs=tuple(first.inputs(results[first.step].worst)))
        for step, result in results.items():
            verdict = "wrong" if step in wrong else "ok" if result.worst.passed else "rough"
            yield replace(result, verdict=verdict, doubtful=_doubtful(step, readers, results))


def _wrong(plan: Plan, program: Program, readers: Sequence[set[int]], results: Mapping[int, StepResult]) -> set[int]:
    """Return the steps that are out of tolerance and whose error reaches an output or a state.

    An error is not the cause of an error that is NEGLIGIBLE times larger.
    """
    spread: set[int] = set()
    for i, step in reversed(list(enumerate(program.steps))):
        bound = zip(step.buffers, plan.kernels[step.kernel].access, strict=True)
        seen = any(ACCESS[access].write and plan.buffers[b].kind in SEEN for b, access in bound)
        if (seen or readers[i] & spread) and _bad(i, results):
            spread.add(i)
    excess = {i: results[i].worst.excess for i in spread & results.keys()}
    most = max((e for e in excess.values() if math.isfinite(e)), default=0)
    return {i for i, e in excess.items() if e >= most / NEGLIGIBLE}


def _doubtful(step: int, readers: Sequence[set[int]], results: Mapping[int, StepResult]) -> tuple[int, ...]:
    result = {step}
    for i in reversed(range(step)):
        if readers[i] & result and _bad(i, results):
            result.add(i)
    return tuple(sorted(result - {step}))


def _bad(step: int, results: Mapping[int, StepResult]) -> bool:
    return step not in results or not results[step].worst.passed


def _replay(session: Session, graph: Graph, check: Check) -> Iterator[_Run]:
    try:
        values = session.feed(check.program, check.inputs, check.symbols)
    except (KeyError, ValueError) as error:
        raise broken(error) from error
    for step in session.stepwise(check.program, values):
        yield _Run(session, graph, check, step, values)


class _Run:
    """A step that has just run. Its operands are still in their buffers."""

    def __init__(self, session: Session, graph: Graph, check: Check, step: int, symbols: Mapping[str, int]) -> None:
        self.step, self._session, self._check, self._symbols = step, session, check, symbols
        self._operands = graph.work[check.program][step].operands
        self._nodes = graph.operation(check.program, step).nodes
        self._step = session.plan.programs[check.program].steps[step]
        self._access = session.plan.kernels[self._step.kernel].access

    def result(self, check: int) -> StepResult | None:
        """Return the step's result in the check with this number, or None if the check does not have its values."""
        steps = self._check.steps
        expected = {b: steps[self.step, b] for b in range(len(self._operands)) if (self.step, b) in steps}
        comparisons = []
        for binding, right in expected.items():
            wrote, where = self._content(binding), (check, self._check.program, self._operands[binding].value)
            result = compare(where, wrote, right, self._allowed(binding, right))
            comparisons.append((result, wrote if right.at is None else wrote.reshape(-1)[right.at], right.values))
        if not comparisons:
            return None
        worst, wrote, right = max(comparisons, key=lambda f: (not f[0].passed, f[0].excess))
        name = self._step.name(self._symbols)
        return StepResult(self.step, name, self._nodes, worst, Range.of(wrote), Range.of(right))

    def _allowed(self, binding: int, right: Slice) -> float:
        """Return the largest allowed error of what the step writes at a binding."""
        buffer = self._session.plan.buffers[self._step.buffers[binding]]
        if buffer.kind == "output":
            return self._check.output_tolerance(buffer.name, right)
        return self._check.step_tolerance(right)

    def inputs(self, worst: Result) -> Iterator[Input]:
        """Yield what the step read, except packed weights, and weights that its variant here reads from another place.

        worst: the result with the worst element.
        """
        in_use = self._session.plan.in_use
        written = next(self._shape(o) for o in self._operands if o.value == worst.output)
        for binding, (operand, access) in enumerate(zip(self._operands, self._access, strict=True)):
            shape = self._shape(operand)
            buffer = self._session.plan.buffers[self._step.buffers[binding]]
            packed = math.prod(shape) > buffer.bytes // buffer.each  # into fewer words than the weight has numbers
            if ACCESS[access].write or packed or self._step.buffers[binding] not in in_use:
                continue
            content = self._content(binding)
            near = None if operand.layout not in ("", "flat") else _near(content, worst.index, written)
            type = f"{operand.dtype}[{','.join(map(str, shape))}]"
            yield Input(operand.name, operand.value, type, Range.of(content), near)

    def _content(self, binding: int) -> np.ndarray:
        operand = self._operands[binding]
        """Return an operand. Of a state it may be the first rows, and of a cache the first rows of each head."""
        shape, first = self._shape(operand), evaluate_size(operand.offset, self._symbols)
        index = self._step.buffers[binding]
        buffer = self._session.plan.buffers[index]
        whole = shape
        if buffer.kind == "state" and not first and len(buffer.shape) == len(shape):
            whole = tuple(evaluate_size(d, self._symbols) for d in buffer.shape)
        content = self._session.content(index, first, math.prod(whole), operand.dtype).reshape(whole)
        return content[tuple(map(slice, shape))]

    def _shape(self, operand: Operand) -> tuple[int, ...]:
        return tuple(evaluate_size(d, self._symbols) for d in operand.shape)


def _near(array: np.ndarray, index: tuple[int, ...], written: tuple[int, ...]) -> Range | None:
    """Return the range of the part of `array` that belongs to a written element, or None if the shapes do not match."""
    lead = len(written) - array.ndim
    if lead >= 0 and all(d in (1, w) for d, w in zip(array.shape, written[lead:], strict=True)):
        place = tuple(0 if d == 1 else i for d, i in zip(array.shape, index[lead:], strict=True))
        return Range.of(array[place])
    if array.ndim > 1 and array.shape[:-1] == written[:-1]:
        return Range.of(array[index[:-1]])
    return None


def compare(where: tuple[int, str, str], actual: np.ndarray, expected: Slice, tolerance: float) -> Result:
    """Compare elements of `actual` with the expected ones. The error of NaN is infinite.

    Raises BadBundle if `actual` does not have the elements that are expected.
    """
    flat, at = actual.reshape(-1), expected.at if expected.at is not None else np.arange(actual.size)
    if len(at) != expected.values.size or at.max() >= flat.size:
        raise broken(f"{where[2]} of {where[1]} has {flat.size} elements")
    values, right = (a.reshape(-1).astype(np.float64) for a in (flat[at], expected.values))
    with np.errstate(invalid="ignore"):
        errors = np.where(values == right, 0, np.abs(values - right))
    errors[np.isnan(errors)] = np.inf
    worst = int(errors.argmax())
    index = tuple(map(int, np.unravel_index(at[worst], actual.shape)))
    return Result(
        *where, len(right), float(errors[worst]), float(tolerance), index, float(values[worst]), float(right[worst])
    )
