"""Writes and reads golden.safetensors: golden runs, and what programs and their steps must compute in them.

Check i of the file has the tensors "i.in.INPUT", "i.at.OUTPUT" (flat indices) and "i.is.OUTPUT" (the values there).
"i.steps.at" and "i.steps.is" hold those of all its steps. "i.f16.OUTPUT" and "i.f16.steps" are the values at the same
places where states of f32 are stored in f16. The rest is JSON in the file's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from intaglio.runtime import files
from intaglio.runtime.checked import items, named, typed
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.inputs import complete
from intaglio.runtime.plan import Plan

FILE = "golden.safetensors"


@dataclass(frozen=True)
class Slice:
    """What a tensor must hold: `values` at the flat indices `at`, or all values in order if `at` is None."""

    values: np.ndarray
    at: np.ndarray | None = None


@dataclass(frozen=True)
class Check:
    """A run of a program, and what it must give: `outputs` (and states) by name, `steps` by step and binding.

    rounded: the same run where states of f32 are stored in f16 (see Plan.rounded), or None if that changes nothing.
    tolerances: the largest absolute error of each output. tolerance: the largest absolute error of what the steps
    write, for values up to 1; for larger values it grows in proportion. by: what computed the outputs. A check may
    depend on the states that earlier checks left (a step on the prefill's cache), so all checks run, in order.
    """

    program: str
    symbols: Mapping[str, int]
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, Slice]
    steps: Mapping[tuple[int, int], Slice]
    tolerances: Mapping[str, float]
    tolerance: float
    by: str
    rounded: Check | None = None

    def on(self, plan: Plan) -> Check:
        """Return what the run must give with the storage of a plan."""
        return self.rounded if self.rounded and plan.rounded else self

    def output_tolerance(self, name: str, expected: Slice) -> float:
        """Return the largest allowed error of an output, or that of a step if the check does not list the output."""
        return self.tolerances.get(name, self.step_tolerance(expected))

    def step_tolerance(self, expected: Slice) -> float:
        """Return the largest allowed error of a value that a step writes."""
        return self.tolerance * _scale(expected)


def _scale(expected: Slice) -> float:
    finite = np.abs(expected.values[np.isfinite(expected.values)].astype(np.float64))
    return max(1.0, float(finite.max(initial=0)))


def write(checks: Iterable[Check], fixed: set[str]) -> bytes:
    """Return the content of golden.safetensors.

    fixed: inputs whose sizes are in the plan. Repeated values at the end of their last axis are left out.
    """
    tensors: dict[str, np.ndarray] = {}
    listed = []
    for i, check in enumerate(checks):
        tensors |= {f"{i}.in.{name}": _trimmed(a) if name in fixed else a for name, a in check.inputs.items()}
        for name, expected in check.outputs.items():
            tensors |= {f"{i}.at.{name}": _places(expected), f"{i}.is.{name}": expected.values}
        tensors[f"{i}.steps.at"] = _joined(map(_places, check.steps.values())).astype(np.uint32)
        tensors[f"{i}.steps.is"] = _step_values(check)
        if check.rounded is not None:
            tensors |= {f"{i}.f16.{name}": expected.values for name, expected in check.rounded.outputs.items()}
            tensors[f"{i}.f16.steps"] = _step_values(check.rounded)
        listed.append(
            {
                "program": check.program,
                "symbols": dict(check.symbols),
                "inputs": list(check.inputs),
                "expected": {name: check.output_tolerance(name, check.outputs[name]) for name in check.outputs},
                "tolerance": check.tolerance,
                "by": check.by,
                "f16": None if check.rounded is None else dict(check.rounded.tolerances),
                "steps": [[*place, expected.values.size] for place, expected in check.steps.items()],
            }
        )
    return save(tensors, metadata={"checks": json.dumps(listed)})


def _places(expected: Slice) -> np.ndarray:
    return np.arange(expected.values.size) if expected.at is None else expected.at


def _step_values(check: Check) -> np.ndarray:
    return _joined(expected.values for expected in check.steps.values()).astype(np.float64)


def _joined(arrays: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *arrays])


def _trimmed(array: np.ndarray) -> np.ndarray:
    """Cut the repeated values at the end of an array's last axis."""
    if not array.size or not array.ndim:
        return array
    changes = np.flatnonzero((array != array[..., -1:]).reshape(-1, array.shape[-1]).any(0))
    return np.ascontiguousarray(array[..., : changes.max(initial=-1) + 2])


def read(folder: Path, plan: Plan) -> list[Check]:
    """Return the golden checks of a bundle. There are none if the compiler did not know the model's sizes.

    Raises BadBundle if the file does not fit its bundle.
    """
    if FILE not in plan.files:
        return []
    files.verify_file(folder, plan, FILE)
    try:
        with safe_open(folder / FILE, framework="numpy") as file:
            checks = items(json.loads((file.metadata() or {})["checks"]), dict)
            shapes = {b.name: b.shape for b in plan.buffers if all(isinstance(d, int) for d in b.shape)}
            return [_completed(_check(file, shapes, i, **check), plan) for i, check in enumerate(checks)]
    except (SafetensorError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise broken(error, folder / FILE) from error


def _completed(check: Check, plan: Plan) -> Check:
    """Return the check with the symbols that follow from others. Raises ValueError for one out of range."""
    values = complete(plan, check.symbols)
    symbols = {**check.symbols, **{name: values[name] for name in plan.rules}}
    return replace(check, symbols=symbols, rounded=check.rounded and replace(check.rounded, symbols=symbols))


def broken(error: Exception | str, path: Path | str = FILE) -> BadBundle:
    """Return the error for a golden.safetensors that does not fit its bundle."""
    return BadBundle(f"{path} is broken: {error}; compile the model again")


def _check(
    file: Any,
    shapes: Mapping[str, Sequence[Any]],
    i: int,
    program: Any,
    symbols: Any,
    inputs: Any,
    expected: Any,
    tolerance: Any,
    by: Any,
    steps: Any,
    f16: Any,
) -> Check:
    pieces = [items(piece, int) for piece in items(steps, list)]
    ends = np.cumsum([0, *(count for _, _, count in pieces)])
    at, values = (file.get_tensor(f"{i}.steps.{kind}") for kind in ("at", "is"))
    if len(at) != ends[-1]:
        raise ValueError(f"check {i}: expected {ends[-1]} values of steps, got {len(at)}")
    parts = [slice(*ends[k : k + 2]) for k in range(len(pieces))]
    tolerances = named(expected, float)
    result = Check(
        typed(program, str),
        named(symbols, int),
        {name: _whole(file.get_tensor(f"{i}.in.{name}"), shapes.get(name)) for name in items(inputs, str)},
        {name: _slice(*(file.get_tensor(f"{i}.{k}.{name}") for k in ("is", "at"))) for name in tolerances},
        {(step, binding): _slice(values[p], at[p]) for (step, binding, _), p in zip(pieces, parts, strict=True)},
        {name: _positive(number) for name, number in tolerances.items()},
        _positive(typed(tolerance, float)),
        typed(by, str),
    )
    return result if f16 is None else replace(result, rounded=_rounded(file, result, named(f16, float), i))


def _rounded(file: Any, check: Check, tolerances: Mapping[str, float], i: int) -> Check:
    """Return the check with the values where states of f32 are stored in f16, at the same places."""
    if tolerances.keys() != check.outputs.keys():
        raise ValueError(f"check {i}: expected a tolerance for each output in f16")
    values = file.get_tensor(f"{i}.f16.steps")
    counts = [expected.values.size for expected in check.steps.values()]
    if values.shape != (sum(counts),):
        raise ValueError(f"check {i}: expected {sum(counts)} values of steps, got {values.size}")
    parts = np.split(values, np.cumsum(counts)[:-1])
    return replace(
        check,
        outputs={n: _slice(file.get_tensor(f"{i}.f16.{n}"), _places(right)) for n, right in check.outputs.items()},
        steps={place: replace(right, values=x) for (place, right), x in zip(check.steps.items(), parts, strict=False)},
        tolerances={name: _positive(number) for name, number in tolerances.items()},
    )


def _positive(number: float) -> float:
    if not number > 0:
        raise ValueError(f"expected tolerances above 0, got {number}")
    return number


def _whole(array: np.ndarray, shape: Sequence[Any] | None) -> np.ndarray:
    """Restore the repeated values at the end of an input's last axis, which are not stored."""
    if not shape or not array.size or array.shape[:-1] != tuple(shape[:-1]) or array.shape[-1] >= shape[-1]:
        return array
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, shape[-1] - array.shape[-1])], mode="edge")


def _slice(values: np.ndarray, at: np.ndarray) -> Slice:
    if at.shape != values.shape or at.ndim != 1 or not at.size or at.dtype.kind not in "iu" or at.min() < 0:
        raise ValueError("expected an index for each value")
    return Slice(values, at)
