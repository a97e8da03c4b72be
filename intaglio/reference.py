"""A bundle's golden runs by the oracle, on the model that was compiled: the right values of every output and step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from intaglio.errors import needing_compiler
from intaglio.runtime.instruments.golden import Check, Slice
from intaglio.runtime.instruments.provenance import Graph, Origin
from intaglio.runtime.plan import Plan
from intaglio.runtime.sizes import Size, evaluate_size

if TYPE_CHECKING:
    import onnx

    from intaglio.compiler.models.reference import Observed


def checks(
    golden: Iterable[Check],
    graph: Graph,
    plan: Plan,
    model: str | Path | onnx.ModelProto,
    bind: Mapping[str, Any] | None = None,
    dtype: str | None = None,
) -> Iterator[Check]:
    """The golden checks with the oracle's values instead of those in the bundle.

    Where an adapter stores states of f32 in f16, they are the oracle's plus what that changes of the bundle's values,
    at the places of the latter: the oracle computes all in f32.
    bind, dtype: the same as when the bundle was compiled.
    Raises BadModel, NoCompiler, OracleError, and ValueError if the bundle was compiled from another model.
    """
    with needing_compiler():
        import onnxruntime

        from intaglio.compiler.models import families
        from intaglio.compiler.models.oracle import Oracle
    assert onnxruntime  # the oracle imports it when it runs

    reference = families.reference(model, bind, dtype)
    if reference.parts.keys() != graph.models.keys():
        raise ValueError(f"the bundle was compiled from another model, whose parts are {', '.join(graph.models)}")
    origins = [o.origin for work in graph.work.values() for w in work for o in w.operands if o.origin]
    oracle = Oracle(reference.parts, {name: {o.name for o in origins if o.model == name} for name in reference.parts})
    for check in golden:
        observed = reference.observe(check.program, check.symbols, check.inputs, oracle.run)
        right = {name: _output(plan, check, name, y) for name, y in reference.outputs(check.program, observed).items()}
        outputs = {name: expected for name, expected in right.items() if expected is not None}
        own = replace(check, outputs=outputs, steps=_steps(check, graph, plan, observed), by=oracle.by)
        yield replace(own, rounded=check.rounded and _rounded(check, check.rounded, own))


def _rounded(before: Check, after: Check, right: Check) -> Check:
    """The check `right` of f32, changed as the bundle's values change from `before` to `after`."""
    outputs = {n: _changed(before.outputs[n], after.outputs[n], right.outputs[n]) for n in right.outputs}
    shared = [place for place in right.steps if place in before.steps]
    steps = {place: _changed(before.steps[place], after.steps[place], right.steps[place]) for place in shared}
    return replace(
        right,
        outputs={name: expected for name, expected in outputs.items() if expected is not None},
        steps={place: expected for place, expected in steps.items() if expected is not None},
    )


def _changed(before: Slice, after: Slice, right: Slice) -> Slice | None:
    """The values of `right` at the places that all have, plus the changes there; None if there are no such places."""
    places = [np.arange(s.values.size) if s.at is None else s.at for s in (before, right)]
    at, ours, oracles = np.intersect1d(*places, assume_unique=True, return_indices=True)
    if not at.size:
        return None
    old, new, values = before.values[ours], after.values[ours], right.values[oracles]
    return Slice(np.where(old == new, values, values + (new.astype(np.float64) - old)), at)


def _output(plan: Plan, check: Check, name: str, array: np.ndarray) -> Slice | None:
    """The oracle's values of an output or a state. Raises ValueError if their number is not the bundle's."""
    buffer = next(b for b in plan.buffers if b.name == name)
    shape = [evaluate_size(d, check.symbols) for d in buffer.shape]
    if array.size != np.prod(shape, dtype=int):
        raise ValueError(_sizes(name, array.shape, shape))
    return _finite(array)


def _sizes(name: str, actual: Sequence[int], expected: Sequence[int]) -> str:
    return (
        f"the model's {name} has shape {list(actual)}, the bundle's {list(expected)}; "
        "name the model that was compiled, with the same --bind"
    )


def _finite(array: np.ndarray) -> Slice | None:
    values = array.reshape(-1)
    at = np.flatnonzero(np.isfinite(values))
    return Slice(values[at], at) if at.size else None


def _steps(check: Check, graph: Graph, plan: Plan, values: Mapping[str, Observed]) -> dict[tuple[int, int], Slice]:
    steps: dict[tuple[int, int], Slice] = {}
    program = plan.programs[check.program]
    for i, (work, step) in enumerate(zip(graph.work[check.program], program.steps, strict=True)):
        for binding, (operand, _) in enumerate(zip(work.operands, step.buffers, strict=True)):
            origin = operand.origin
            if origin is None or not operand.whole or origin.model not in values:
                continue
            right = _slice(origin, operand.shape, check.symbols, values[origin.model])
            if right is not None:
                steps[i, binding] = right
    return steps


def _slice(origin: Origin, sizes: Sequence[Size], symbols: Mapping[str, int], observed: Observed) -> Slice | None:
    """The ONNX value that a step writes, as the step has it, None where the model has none.

    The model has computed all tokens so far; the program may have computed the last of them alone.
    """
    if origin.name not in observed.values:
        return None
    value, shape = observed.values[origin.name], tuple(evaluate_size(d, symbols) for d in sizes)
    try:
        array = origin.apply(value, observed.symbols)
        beyond = [a - d for a, d in zip(array.shape, shape, strict=True)]
        if any(n < 0 or (n and a not in observed.symbols.values()) for n, a in zip(beyond, array.shape, strict=True)):
            raise ValueError("sizes differ")
    except ValueError as error:
        raise ValueError(_sizes(origin.name, value.shape, shape)) from error
    return _finite(array[tuple(slice(n, None) for n in beyond)])
