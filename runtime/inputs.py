"""Inputs: what users pass to a program, checked against the plan before anything is written to the adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from intaglio.runtime.contract import FREE, PLAIN
from intaglio.runtime.limits import WORD
from intaglio.runtime.memory import numpy
from intaglio.runtime.plan import SEEN, Buffer, Plan
from intaglio.runtime.sizes import evaluate_size, line

# Types of ml_dtypes, which is not needed here, with those of numpy that hold them.
_NARROW = {"bfloat16": np.float32, "int4": np.int8, "uint4": np.uint8}
_KINDS = {"f": "fiub", "i": "iub", "u": "iub", "b": "b"}  # numpy's kinds that an input of a kind accepts


def complete(plan: Plan, symbols: Mapping[str, int]) -> dict[str, int]:
    """A value for every symbol, in order: by its rule, else from `symbols`, else its lowest.

    Raises ValueError for one out of range.
    """
    values: dict[str, int] = {}
    for name, (low, high) in plan.symbols.items():
        rule = plan.rules.get(name)
        values[name] = rule.value(values) if rule else symbols.get(name, low)
        if not low <= values[name] <= high:
            raise ValueError(f"{name} is {values[name]}; this bundle was compiled for {low} to {high}")
    return values


def check(
    plan: Plan, program: str, inputs: Mapping[str, Any], symbols: Mapping[str, int]
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """The inputs of a program as arrays, and a value for every symbol. Sizes follow from the shapes of the inputs.

    Raises ValueError for inputs that are missing, unknown, of the wrong shape or type, or too large.
    """
    buffers = {b.name: b for b in plan.buffers if b.kind in SEEN}
    expected = plan.programs[program].inputs
    if missing := sorted(expected.keys() - inputs.keys()):
        raise ValueError(f"program {program} needs the inputs {', '.join(missing)}")
    if unknown := sorted(inputs.keys() - buffers.keys()):
        raise ValueError(f"program {program} has no inputs {', '.join(unknown)}; it takes {', '.join(expected)}")
    arrays = {name: _array(value) for name, value in inputs.items()}
    sizes = {
        symbol: size for name, array in arrays.items() for symbol, size in _sizes(plan, buffers[name], array).items()
    }
    if plan.kind == PLAIN:
        for name, array in arrays.items():
            _check_range(plan, buffers[name], array)
    values = complete(plan, sizes | dict(symbols))
    for name, array in arrays.items():
        _check(name, buffers[name], array, values, fixable=plan.kind == PLAIN)
    return arrays, values


def _array(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return array.astype(_NARROW[array.dtype.name]) if array.dtype.name in _NARROW else array


def _sizes(plan: Plan, buffer: Buffer, array: np.ndarray) -> dict[str, int]:
    """The symbols that give the dimensions of a buffer, with the values that give the shape of the array."""
    lines = ((line(d), size) for d, size in zip(buffer.shape, array.shape, strict=False))
    return {of[1]: (size - of[2]) // of[0] for of, size in lines if of and of[0] > 0 and of[1] in plan.bound}


def _check_range(plan: Plan, buffer: Buffer, array: np.ndarray) -> None:
    """Refuse a size that the bundle was not compiled for, with the option that allows it."""
    for axis, (d, size) in enumerate(zip(buffer.shape, array.shape, strict=False)):
        of = line(d)
        if not size or not of or not of[1].startswith(FREE) or of[1] not in plan.bound:
            continue
        step, symbol, rest = of
        low, high = (step * end + rest for end in plan.bound[symbol])
        where = f"input {buffer.name}: axis {axis} is {size}"
        if size > high or size < low:
            option = f"--bind {buffer.name}.{axis}={min(low, size)}..{max(high, size)}"
            compiled = f"this bundle was compiled for {low} to {high}"
            if size < low:
                raise ValueError(f"{where}; {compiled}; if the model takes it, compile it with {option}")
            raise ValueError(f"{where}; {compiled}; compile it with {option}")
        if (size - rest) % step:
            takes = f"multiples of {step}" if not rest else f"{low}, {low + step}, {low + 2 * step}, ..."
            raise ValueError(f"{where}; this model takes {takes} up to {high}")


def _check(name: str, buffer: Buffer, array: np.ndarray, values: Mapping[str, int], fixable: bool) -> None:
    if array.shape != tuple(evaluate_size(d, values) for d in buffer.shape):
        expected = ", ".join(str(d).removeprefix(FREE) for d in buffer.shape)
        sizes = "x".join(map(str, array.shape))
        same_rank = fixable and array.ndim == len(buffer.shape) > 1
        free = f"; if the model leaves those sizes free, compile it with --bind {name}={sizes}" if same_rank else ""
        raise ValueError(f"input {name}: expected the shape [{expected}], got {list(array.shape)}{free}")
    kind = numpy(buffer.dtype).kind
    if array.dtype.kind not in _KINDS[kind]:
        raise ValueError(f"input {name}: expected {buffer.dtype}, got {array.dtype}")
    if kind in "iu" and array.size:
        low, high = _range(buffer.dtype)
        if array.min() < low or array.max() > high:
            raise ValueError(f"input {name}: expected numbers from {low} to {high}, got {array.min()} to {array.max()}")


def _range(dtype: str) -> tuple[int, int]:
    """The smallest and largest integer of a type that also fits in 32 bits."""
    bits = min(int(dtype[1:]), 8 * WORD)
    return (0, (1 << bits) - 1) if dtype[0] == "u" else (-1 << (bits - 1), (1 << (bits - 1)) - 1)
