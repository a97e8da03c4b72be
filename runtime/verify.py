"""Golden values: what the programs of a bundle must give, kept in it, against what they give on this adapter.

A check may rest on the states that the ones before it left (a step on the prefill's cache), so all run, in order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from intaglio.runtime import plan as plans
from intaglio.runtime.plan import BadBundle

if TYPE_CHECKING:
    from intaglio.runtime.executor import Executor

FILE = "golden.safetensors"

# The largest absolute error of a program's outputs. Elsewhere: of values up to 1, and in proportion above.
TOLERANCES = {"mel": 1e-4, "encode": 1e-3, "prefill": 2e-3, "step": 2e-3}
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Result:
    """One output of one check: the largest error of `count` compared elements, where it is, and what stands there."""

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


def verify(executor: Executor, folder: Path, tolerance: float | None = None) -> list[Result]:
    """Run every golden check of the bundle in `folder`; `tolerance` replaces the programs' own. Raises BadBundle.

    There are none where the compiler did not know the model's sizes.
    """
    if FILE not in executor.plan.files:
        return []
    plans.verify_file(folder, executor.plan, FILE)
    try:
        with safe_open(folder / FILE, framework="numpy") as file:
            checks = json.loads((file.metadata() or {})["checks"])
            return [
                result for i, check in enumerate(checks) for result in _results(executor, file, i, check, tolerance)
            ]
    except BadBundle:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise BadBundle(f"{folder / FILE} is broken: {error}; compile the model again") from error


def _results(executor: Executor, file: Any, i: int, check: dict[str, Any], tolerance: float | None) -> Iterator[Result]:
    program, symbols = check["program"], check["symbols"]
    outputs = executor.run(program, {name: file.get_tensor(f"{i}.in.{name}") for name in check["inputs"]}, symbols)
    for name in check["expected"]:
        actual = outputs[name] if name in outputs else executor.read(name, symbols)
        at, expected = file.get_tensor(f"{i}.at.{name}"), file.get_tensor(f"{i}.is.{name}")
        yield compare((i, program, name), actual, at, expected, tolerance)


def compare(
    where: tuple[int, str, str],
    actual: np.ndarray,
    at: np.ndarray,
    expected: np.ndarray,
    tolerance: float | None = None,
) -> Result:
    """The elements of `actual` at the flat indices `at` against `expected`; NaN is infinitely wrong."""
    values, wanted = (a.astype(np.float64) for a in (actual.reshape(-1)[at], expected))
    with np.errstate(invalid="ignore"):
        errors = np.where(values == wanted, 0, np.abs(values - wanted))
    errors[np.isnan(errors)] = np.inf
    worst = int(errors.argmax())
    if tolerance is None:
        finite = np.abs(wanted[np.isfinite(wanted)])
        tolerance = TOLERANCES.get(where[1], TOLERANCE * max(1.0, finite.max(initial=0)))
    index = tuple(map(int, np.unravel_index(at[worst], actual.shape)))
    return Result(
        *where, len(wanted), float(errors[worst]), float(tolerance), index, float(values[worst]), float(wanted[worst])
    )
